//! How commits and heads are stored: JSON that a person can read in twenty years, the larger heads compressed (Brotli,
//! RFC 7932).

use std::io::Read;
use std::sync::Arc;

use brotli::enc::BrotliEncoderParams;
use portcullis_domain::digest::{Digest, FieldHasher};
use portcullis_domain::event::Event;
use portcullis_domain::target::Target;
use serde::{Deserialize, Serialize};

/// The version of this engine, written into every commit: `audit verify` says which engine decided.
pub const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// What this engine can read. A head that asks for more is left alone.
pub const READER: u32 = 1;

/// What an encoded head should not exceed, in bytes: tested at the largest allowed policy.
pub const MOST_HEAD: usize = 32 * 1024;

/// What it can not exceed: below DynamoDB's item limit of 400 KB. Between the two a head is stored with a warning,
/// because refusing it could refuse a rollback.
pub const MOST_STORED: usize = 300 * 1024;

/// From this size on a head is compressed.
const COMPRESS_ABOVE: usize = 8 * 1024;
/// A decompressed head larger than this was not written by us.
const MOST_DECOMPRESSED: u64 = 4 * 1024 * 1024;
/// The window covers the whole state, as a power of two between these: a digest that comes again anywhere in it costs
/// a few bytes, not 64 digits, and a small state does not pay for the buffers of a large one.
const WINDOW: std::ops::RangeInclusive<u32> = 16..=22;
/// Of 0 to 11. With 5, which searches longer, a head is 7% smaller (18.9 KB instead of 20.1 for the largest of the tests) and
/// takes nearly five times as long (2.4 ms instead of 0.5 for 98 KB of JSON, measured on an AMD EPYC).
const QUALITY: i32 = 3;
/// Read at a time when decompressing.
const BUFFER: usize = 16 * 1024;
/// Raised when `apply` folds the same events into another state: then a snapshot is folded anew from the ledger.
const FOLD: u8 = 5;
/// The commit format.
const COMMIT: u32 = 1;

const PLAIN: u8 = b'j';
const COMPRESSED: u8 = b'b';

/// Why stored bytes could not be read, or a state not be stored.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not what this format has.
    #[error("not readable: {0}")]
    Json(#[from] serde_json::Error),
    /// A format this engine does not know.
    #[error("format {found} is unknown to engine {ENGINE}")]
    Format {
        /// The version or tag found.
        found: u32,
    },
    /// The snapshot was folded by another version of the fold: it must be folded anew.
    #[error("the snapshot was folded by version {found} of the fold, this engine has {FOLD}")]
    Fold {
        /// The fold's version found.
        found: u8,
    },
    /// The state is too large to store.
    #[error("the state takes {size} bytes, more than {MOST_STORED}")]
    TooLarge {
        /// Its encoded size.
        size: usize,
    },
    /// A compressed head could not be decompressed.
    #[error("compressed bytes are damaged: {0}")]
    Compression(#[from] std::io::Error),
}

/// What one append stores: events and what they were decided with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The events, in order, at least one.
    pub events: Vec<Event>,
    /// The hash of the policy they were decided with.
    pub policy: Digest,
    /// The version of the engine that decided.
    pub engine: String,
}

#[derive(Serialize)]
struct WireOut<'a> {
    v: u32,
    engine: &'a str,
    policy: Digest,
    events: &'a [Event],
}

#[derive(Deserialize)]
struct WireVersion {
    v: u32,
}

#[derive(Deserialize)]
struct WireIn {
    v: u32,
    engine: String,
    policy: Digest,
    events: Vec<Event>,
}

impl Commit {
    /// The bytes that are stored and hashed.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        #[cfg(any(test, feature = "memory"))]
        if let Some(kept) = crate::memory::kept::keep_commit(self) {
            return Ok(kept);
        }
        let wire = WireOut { v: COMMIT, engine: &self.engine, policy: self.policy, events: &self.events };
        Ok(serde_json::to_vec(&wire)?)
    }

    /// Reads stored bytes, of this version or an older one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        #[cfg(any(test, feature = "memory"))]
        if let Some(kept) = crate::memory::kept::commit(bytes) {
            return Ok(Self::clone(&kept));
        }
        let wire = match serde_json::from_slice::<WireIn>(bytes) {
            Ok(wire) if wire.v == COMMIT => wire,
            // One of another version may look different altogether: its version says more than what is missing in it.
            read => {
                let WireVersion { v } = serde_json::from_slice(bytes)?;
                return Err(if v == COMMIT {
                    read.err().map_or(CodecError::Format { found: v }, Into::into)
                } else {
                    CodecError::Format { found: v }
                });
            }
        };
        Ok(Self { events: wire.events, policy: wire.policy, engine: wire.engine })
    }
}

/// Encodes a state: a tag for the form, the fold's version, then JSON, compressed above 8 KiB.
pub fn encode_head(state: &Target) -> Result<Vec<u8>, CodecError> {
    let json = serde_json::to_vec(state)?;
    let mut bytes = Vec::with_capacity(json.len().min(MOST_HEAD) + 2);
    if json.len() > COMPRESS_ABOVE {
        bytes.extend([COMPRESSED, FOLD]);
        let bits = (usize::BITS - json.len().leading_zeros()).clamp(*WINDOW.start(), *WINDOW.end());
        let lgwin = i32::try_from(bits).unwrap_or(i32::MAX);
        let params =
            BrotliEncoderParams { lgwin, size_hint: json.len(), quality: QUALITY, ..BrotliEncoderParams::default() };
        brotli::BrotliCompress(&mut json.as_slice(), &mut bytes, &params)?;
    } else {
        bytes.extend([PLAIN, FOLD]);
        bytes.extend(json);
    }
    if bytes.len() > MOST_STORED {
        return Err(CodecError::TooLarge { size: bytes.len() });
    }
    Ok(bytes)
}

/// Reads what [`encode_head`] wrote. No bytes at all are the empty state.
pub fn decode_head(bytes: &[u8]) -> Result<Target, CodecError> {
    #[cfg(any(test, feature = "memory"))]
    if let Some(kept) = crate::memory::kept::state(bytes) {
        return Ok(Target::clone(&kept));
    }
    let (form, fold, body) = match bytes {
        [] => return Ok(Target::default()),
        [form, fold, body @ ..] => (*form, *fold, body),
        [form] => return Err(CodecError::Format { found: u32::from(*form) }),
    };
    if fold != FOLD {
        return Err(CodecError::Fold { found: fold });
    }
    match form {
        PLAIN => Ok(serde_json::from_slice(body)?),
        COMPRESSED => {
            let mut json = Vec::new();
            brotli::Decompressor::new(body, BUFFER).take(MOST_DECOMPRESSED).read_to_end(&mut json)?;
            Ok(serde_json::from_slice(&json)?)
        }
        other => Err(CodecError::Format { found: u32::from(other) }),
    }
}

/// Encodes a shared state; where a simulation keeps states, this one is kept.
pub(crate) fn encode_shared(state: &Arc<Target>) -> Result<Vec<u8>, CodecError> {
    #[cfg(any(test, feature = "memory"))]
    if let Some(kept) = crate::memory::kept::keep_state(state) {
        return Ok(kept);
    }
    encode_head(state)
}

/// Reads what [`encode_shared`] wrote.
pub(crate) fn decode_shared(bytes: &[u8]) -> Result<Arc<Target>, CodecError> {
    #[cfg(any(test, feature = "memory"))]
    if let Some(kept) = crate::memory::kept::state(bytes) {
        return Ok(kept);
    }
    decode_head(bytes).map(Arc::new)
}

/// The chain hash before the first commit of a ledger: 32 zero bytes.
pub fn genesis() -> Digest {
    Digest::from_bytes([0; 32])
}

/// The chain hash after a commit: of the one before and of the bytes as stored.
pub fn chain(before: Digest, bytes: &[u8]) -> Digest {
    let mut hasher = FieldHasher::new("portcullis chain 1");
    hasher.field(before.bytes()).field(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use portcullis_domain::digest::Digest;
    use portcullis_domain::event::{Actor, What};
    use portcullis_domain::names::{ReleaseId, Seq};
    use portcullis_domain::time::Timestamp;

    use super::*;

    fn commit() -> Commit {
        let what = What::Reminded { release: ReleaseId(7), next_at: Timestamp(9) };
        let event = Event { seq: Seq(1), at: Timestamp(5), actor: Actor::Portcullis, what };
        Commit { events: vec![event], policy: Digest::of(b"policy"), engine: ENGINE.to_owned() }
    }

    #[test]
    fn a_commit_reads_back_and_one_of_another_version_says_so() {
        let commit = commit();
        let bytes = commit.encode().unwrap();
        assert_eq!(Commit::decode(&bytes).unwrap(), commit);
        let newer = String::from_utf8(bytes).unwrap().replace("\"v\":1", "\"v\":2");
        assert!(matches!(Commit::decode(newer.as_bytes()), Err(CodecError::Format { found: 2 })));
    }

    #[test]
    fn a_head_reads_back_plain_and_compressed() {
        let mut state = Target { seq: Seq(3), ..Target::default() };
        assert_eq!(decode_head(&encode_head(&state).unwrap()).unwrap(), state);
        for n in 0..200_u64 {
            state.quarantine.insert(Digest::of(&n.to_be_bytes()), ReleaseId(n));
        }
        let bytes = encode_head(&state).unwrap();
        assert_eq!(bytes[0], COMPRESSED);
        assert_eq!(decode_head(&bytes).unwrap(), state);
        assert_eq!(decode_head(&[]).unwrap(), Target::default());
    }

    #[test]
    fn a_head_of_another_fold_or_form_or_size_is_an_error_in_words() {
        let mut bytes = encode_head(&Target::default()).unwrap();
        bytes[1] = 9;
        assert!(matches!(decode_head(&bytes), Err(CodecError::Fold { found: 9 })));
        assert!(matches!(decode_head(&[b'x', FOLD]), Err(CodecError::Format { .. })));
        let mut state = Target::default();
        for n in 0..20_000_u64 {
            state.quarantine.insert(Digest::of(&n.to_be_bytes()), ReleaseId(n));
        }
        assert!(matches!(encode_head(&state), Err(CodecError::TooLarge { .. })));
    }

    #[test]
    fn the_chain_depends_on_everything_before_it() {
        let (a, b) = (chain(genesis(), b"a"), chain(genesis(), b"b"));
        assert_ne!(chain(a, b"c"), chain(b, b"c"));
    }
}
