//! The pure core of Portcullis: its words as types, and the functions [`apply`], [`decide`], [`next`] and [`route`].
//!
//! It must not know: any I/O, async, a clock, randomness, a wire format, a cloud, a cluster.
//! Start reading at [`target::Target`], then [`event::What`], then the `decide` module.

pub mod action;
mod apply;
pub mod calendar;
mod decide;
pub mod digest;
pub mod event;
pub mod facts;
pub mod gate;
pub mod given;
pub mod glob;
pub mod names;
mod next;
pub mod plan;
pub mod policy;
pub mod protection;
pub mod route;
pub mod rules;
pub mod scope;
pub mod signal;
mod switching;
pub mod tags;
pub mod target;
mod threshold;
pub mod time;
pub mod verdict;

pub use apply::apply;
pub use decide::decide;
pub use next::{Due, Next, next};
