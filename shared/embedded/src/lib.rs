//! The engine's ports in one process, with nothing to set up: a ledger and a queue in SQLite, blobs, images, scans and
//! commits as files, notices to a terminal and a file, people's tokens, and a local cluster that serves real traffic.
//!
//! | port | here |
//! | --- | --- |
//! | `Ledger`, `Queue` | [`sqlite::SqliteStore`]: one file, `portcullis.db` |
//! | `Blobs` | [`blobs::FileBlobs`]: one file per key |
//! | `Registry` | [`registry::FileRegistry`]: one JSON file per image |
//! | `Source` | [`source::FileSource`]: one JSON file per commit |
//! | `Notices` | [`notices::TerminalNotices`], [`notices::FileNotices`] |
//! | `Cluster`, `Metrics` | [`local`]: real HTTP servers on loopback behind small proxies |
//! | `Clock` | [`clock::SystemClock`] |
//!
//! [`people::People`] is no port: it tells a server who holds a token.
//!
//! It must not know: what an event means, how a policy judges, any cloud or network service. It stores and gives back
//! what the engine hands it, and passes the engine's contract tests like every other adapter. Start reading at
//! [`sqlite`].

pub mod blobs;
pub mod clock;
mod durable;
mod fields;
pub mod local;
pub mod notices;
pub mod people;
pub mod registry;
pub mod source;
pub mod sqlite;

use portcullis_engine::ports::{PortError, PortResult};

/// Work on files, off the async threads.
async fn blocking<T, F>(doing: &str, work: F) -> PortResult<T>
where
    T: Send + 'static,
    F: FnOnce() -> PortResult<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|stopped| PortError::new(doing, stopped))?
}
