//! Backups of a namespace: taken, stored, read, compared and brought back.
//!
//! | file | what |
//! | --- | --- |
//! | [`discover`], [`pages`] | which kinds there are; all objects of one, of one moment |
//! | [`leave`], [`clean`] | what is left out; what is taken away from the rest; each with its reason |
//! | [`mod@export`], [`about`] | the two together, and what a backup says of itself |
//! | [`seal`] | Secrets, encrypted to a key that only people have the other half of |
//! | [`stored`] | backups in the blob store, verified by reading them |
//! | [`yaml_write`], [`yaml_read`], [`bounds`] | YAML that every reader takes alike; hostile manifests refused with words |
//! | [`diff`], [`order`], [`immutable`], [`restore`] | what differs, in which order, what cannot change; bringing it back |
//! | [`wire`], [`object`] | one request and its answer; the fields that every object has |
//! | `cores` | many objects at once, on every core |
//!
//! Everything but `export`, `pages`, `discover`, `restore` and `stored` is plain functions over JSON. It must not know
//! releases, policies or the ledger.

pub mod about;
pub mod bounds;
pub mod clean;
mod cores;
pub mod diff;
pub mod discover;
pub mod export;
pub mod immutable;
pub mod leave;
pub mod object;
pub mod order;
pub mod pages;
mod removals;
pub mod restore;
pub mod seal;
pub mod stored;
pub mod wire;
pub mod yaml_read;
pub mod yaml_write;

pub use export::{Export, Wanted, export};
