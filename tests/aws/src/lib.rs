//! What the AWS tests stand on: the emulators of AWS ([`emulator`]), what a store needs to find in one ([`resources`]),
//! and a wire to it that a test can watch and cut ([`wire`]).
//!
//! Everything here panics with what it saw: a test that can not go on has failed. `xtask test aws` installs the emulators
//! and names them in `PORTCULLIS_MOTO` and `PORTCULLIS_DYNAMODB_LOCAL`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

pub mod emulator;
pub mod host;
pub mod resources;
pub mod stack;
pub mod template;
pub mod wire;
