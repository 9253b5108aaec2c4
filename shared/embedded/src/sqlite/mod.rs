//! Ledger and queue in one SQLite file, `portcullis.db`.
//!
//! What is acknowledged is on disk: write-ahead log, `synchronous = FULL`, one writer. Only hints (wakes, readers'
//! cursors) are committed without waiting for the disk: a killed process loses none of them either, a power cut may
//! lose the last ones, and all of them are found again or harmlessly repeated.
//!
//! | part | what it holds |
//! | --- | --- |
//! | `schema` | tables, migrations, how a connection is opened |
//! | `writer` | the one thread that writes, several appends per disk flush |
//! | `readers` | connections that only read |
//! | `ledger` | the [`Ledger`](portcullis_engine::ports::Ledger) port |
//! | `queue` | the [`Queue`](portcullis_engine::ports::Queue) port |
//! | `verify` | the check of a target's hash chain |

mod convert;
mod ledger;
mod lock;
mod queue;
mod readers;
pub(crate) mod schema;
mod verify;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_domain::names::{LedgerId, Seq, TargetId};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{Clock, PortError, PortResult};
use rusqlite::Connection;
use tokio::sync::Notify;

use crate::clock::SystemClock;
use convert::Work;
use lock::Lock;
use readers::Readers;
pub use verify::{ChainError, Verified};
use writer::{Keep, Writer};

/// How a store works. The defaults are right for a server.
#[derive(Clone)]
pub struct SqliteOptions {
    /// What decides when a wake is visible, and stamps deliveries.
    pub clock: Arc<dyn Clock>,
    /// How long a received wake stays hidden until it is `done`; then it comes again. 60 s.
    pub visibility: Millis,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), visibility: Millis::seconds(60) }
    }
}

/// Ledger and queue of one installation, in one directory.
///
/// One process at a time opens it for writing; any number read beside it with [`SqliteStore::open_read_only`].
/// Calls may come from any task; none of them blocks the async runtime.
pub struct SqliteStore {
    directory: PathBuf,
    id: LedgerId,
    options: SqliteOptions,
    readers: Arc<Readers>,
    writer: Option<Writer>,
    /// Only this process writes, and a dead one must not hold up its successor: leases live in memory.
    leases: Mutex<BTreeMap<(TargetId, Seq), Timestamp>>,
    /// Told whenever a wake was stored.
    sent: Notify,
    /// Given back last.
    _lock: Option<Lock>,
}

impl SqliteStore {
    /// Opens or creates the store in a directory, for one server. Fails if another process has it open for writing,
    /// if a newer Portcullis wrote it, or if the disk refuses.
    pub fn open(directory: &Path) -> PortResult<Arc<Self>> {
        Self::open_with(directory, SqliteOptions::default())
    }

    /// As [`SqliteStore::open`], with a clock and a visibility of one's own.
    pub fn open_with(directory: &Path, options: SqliteOptions) -> PortResult<Arc<Self>> {
        let doing = || format!("opening the data directory {}", directory.display());
        schema::create_directory(directory).map_err(|error| PortError::new(doing(), error))?;
        let lock = Lock::take(directory)?;
        let connection = schema::open_for_writing(directory).map_err(|error| PortError::new(doing(), error))?;
        let id = schema::ledger_id(&connection).map_err(|error| PortError::new(doing(), error))?;
        queue::take_back(&connection).map_err(|error| PortError::new(doing(), error))?;
        let writer = Writer::start(connection).map_err(|error| PortError::new(doing(), error))?;
        Ok(Arc::new(Self::of(directory, id, options, Some(writer), Some(lock))))
    }

    /// Opens an existing store for reading only, also while a server writes to it. Every call that would write fails.
    /// Fails if there is none, or if its tables are of another version than this program's.
    pub fn open_read_only(directory: &Path) -> PortResult<Arc<Self>> {
        let doing = || format!("reading the data directory {}", directory.display());
        let connection = schema::open_for_reading(directory).map_err(|error| PortError::new(doing(), error))?;
        schema::same_version(&connection).map_err(|error| PortError::new(doing(), error))?;
        let id = schema::ledger_id(&connection).map_err(|error| PortError::new(doing(), error))?;
        Ok(Arc::new(Self::of(directory, id, SqliteOptions::default(), None, None)))
    }

    fn of(directory: &Path, id: LedgerId, options: SqliteOptions, writer: Option<Writer>, lock: Option<Lock>) -> Self {
        Self {
            directory: directory.to_owned(),
            id,
            options,
            readers: Arc::new(Readers::of(directory)),
            writer,
            leases: Mutex::default(),
            sent: Notify::new(),
            _lock: lock,
        }
    }

    /// The directory it is in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.writer.is_none()
    }

    async fn read<T, F>(&self, doing: &str, work: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Work<T> + Send + 'static,
    {
        self.readers.run(doing, work).await
    }

    async fn write<T, F>(&self, doing: &str, keep: Keep, work: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Work<T> + Send + 'static,
    {
        let writer = self.writer.as_ref().ok_or_else(|| self.refused(doing))?;
        writer.run(doing, keep, work).await
    }

    fn refused(&self, doing: &str) -> PortError {
        PortError::new(doing, format!("{} was opened for reading only", self.directory.display()))
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, BTreeMap<(TargetId, Seq), Timestamp>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // The writer's connection closes last, so that it can fold the log back into the file.
        self.readers.close();
        drop(self.writer.take());
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("directory", &self.directory).field("id", &self.id).finish_non_exhaustive()
    }
}
