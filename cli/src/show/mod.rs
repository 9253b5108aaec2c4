//! What people see: pure functions from what the ledger says to text, at most 100 columns wide.
//!
//! The order is the same everywhere: are users all right; what is running; why; what, by whom; what must I do.

pub(crate) mod gates;
pub(crate) mod glass;
pub(crate) mod list;
pub(crate) mod release;
pub(crate) mod screen;
pub(crate) mod sections;
pub(crate) mod status;
pub(crate) mod text;
pub(crate) mod timeline;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
