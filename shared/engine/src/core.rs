//! The pure core's functions, in one place: everything else of the engine calls them from here.

pub(crate) use portcullis_domain::{apply, decide, next, route};
