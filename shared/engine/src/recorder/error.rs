//! Why a signal could not be recorded.

use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::Millis;

use crate::codec::CodecError;
use crate::ports::PortError;

/// Why a signal could not be recorded. Nothing of it is in the ledger, unless the store itself failed: then recording
/// it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// No policy speaks of this target, and no release in flight has one of its own.
    #[error("{target} is in no policy; write it into the policy file, or check its spelling")]
    NoPolicy {
        /// The target.
        target: TargetId,
    },
    /// This machine's clock is behind the ledger.
    #[error(
        "{target}: this machine's clock is {behind} behind the ledger's last entry; set it before anything is decided"
    )]
    Clock {
        /// The target.
        target: TargetId,
        /// How far.
        behind: Millis,
    },
    /// A newer engine wrote this ledger.
    #[error("{target}: its ledger was written by a newer engine (reader {needs}); update this one")]
    NewerReader {
        /// The target.
        target: TargetId,
        /// The reader version it needs.
        needs: u32,
    },
    /// Stored bytes can not be read, or a state not be stored.
    #[error("{target}: its ledger: {why}")]
    Codec {
        /// The target.
        target: TargetId,
        /// Why.
        #[source]
        why: CodecError,
    },
    /// The ledger ends before its head.
    #[error("{target}: its ledger ends at {ends}, its head says {head}: entries are missing")]
    Broken {
        /// The target.
        target: TargetId,
        /// The last entry there is.
        ends: Seq,
        /// What the head says.
        head: Seq,
    },
    /// Others appended faster, again and again.
    #[error("{target}: {attempts} attempts to append were each overtaken; try again")]
    Contended {
        /// The target.
        target: TargetId,
        /// How many were made.
        attempts: u32,
    },
}
