//! The model checker: every interleaving of the real `decide`, `apply` and `next` with two drivers, delayed patches,
//! crashes, a lossy and doubling network, drift by hand and people, in several small worlds.
//!
//! It must not know: how a release is judged (the domain is asked, never copied), nor the engine (the simulator runs
//! that). Broken variants are made around the domain, never in it.
//!
//! Start reading at [`world::World`], then [`step`](model::Model) (what one step does), [`cluster`] (the fences),
//! [`property`] (the invariants), `canon.rs` (why two states are one).

pub mod action;
mod canon;
pub mod cast;
pub mod cluster;
pub mod drain;
pub mod ledger;
mod memory;
pub mod model;
pub mod note;
pub mod property;
pub mod run;
pub mod signal;
pub mod state;
mod step;
pub mod tell;
pub mod variant;
pub mod world;
pub mod worlds;
