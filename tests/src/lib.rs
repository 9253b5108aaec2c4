//! What the tests of the real `portcullis` process stand on: the binary is started as a user starts it, spoken to over
//! HTTP and its command line, killed as a machine kills it, and its ledger is read behind its back.
//!
//! It must not know: the inside of the binary. What it writes into a data directory (images, commits, a baseline) it
//! writes with the embedded adapters, as an operator would put them there; what it reads of the ledger it folds itself.
//!
//! Start reading at [`installation::Installation`], a data directory with everything in it, then [`server::Server`],
//! a process that runs on it. `xtask test` names the binary in `PORTCULLIS_BIN`; see [`binary`].
//!
//! Everything here panics with what it saw: a test that can not go on has failed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

pub mod api;
pub mod binary;
pub mod installation;
pub mod ledger;
pub mod policy;
pub mod samples;
pub mod server;
pub mod traffic;
pub mod wait;
