//! Connections that only read. Each call sees everything that was acknowledged before it began.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_engine::ports::{PortError, PortResult};
use rusqlite::Connection;

use super::convert::Work;
use super::schema;

/// So many idle connections are kept; more are opened when more calls come at once.
const KEPT: usize = 4;

pub(super) struct Readers {
    directory: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), idle: Mutex::default() }
    }

    /// Runs work on a connection, off the async threads.
    pub(super) async fn run<T, F>(self: &Arc<Self>, doing: &str, work: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Work<T> + Send + 'static,
    {
        let readers = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let connection = readers.take()?;
            let result = work(&connection);
            readers.give_back(connection);
            result
        });
        match done.await {
            Ok(result) => result.map_err(|error| PortError::new(doing, error)),
            Err(stopped) => Err(PortError::new(doing, stopped)),
        }
    }

    fn take(&self) -> Work<Connection> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| schema::open_for_reading(&self.directory), Ok)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(connection);
        }
    }

    /// Closes the idle connections.
    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
