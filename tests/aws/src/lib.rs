//! What the AWS tests stand on: the emulators of AWS ([`emulator`]), what a store needs to find in one ([`resources`]),
//! and a wire to it that a test can watch and cut ([`wire`]).
//!
//! The functions run as real processes under the Lambda Runtime API ([`host`]), wired as the templates of `infra/` say and
//! not otherwise ([`template`], [`stack`]). What is released on them is made by [`home`]; what came of it is read from the
//! ledger and from outside by [`told`]; [`proxy`] stands between the functions and AWS and fails.
//!
//! Everything here panics with what it saw: a test that can not go on has failed. `xtask test aws` installs the emulators,
//! builds the functions, and names them in `PORTCULLIS_MOTO`, `PORTCULLIS_DYNAMODB_LOCAL` and `PORTCULLIS_FUNCTIONS`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

pub mod emulator;
pub mod home;
pub mod host;
pub mod proxy;
pub mod resources;
pub mod stack;
pub mod template;
pub mod told;
pub mod wire;
