//! The tables, how they came to be, and how a connection is opened.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use portcullis_domain::names::LedgerId;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::convert::Work;

/// The one file, beside which SQLite keeps its `-wal` and `-shm`.
pub(crate) const FILE: &str = "portcullis.db";

/// What has been done to the tables so far; `user_version` counts them. Only ever added to.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE heads (
        target     TEXT PRIMARY KEY,
        version    INTEGER NOT NULL,
        chain      BLOB NOT NULL,
        wake_at    INTEGER,
        min_reader INTEGER NOT NULL,
        snapshot   BLOB NOT NULL
    );
    CREATE INDEX heads_wake ON heads (wake_at) WHERE wake_at IS NOT NULL;
    -- Commits are large and only ever added: rows in order of arrival, found by their last event.
    CREATE TABLE commits (
        target TEXT NOT NULL,
        last   INTEGER NOT NULL,
        first  INTEGER NOT NULL,
        before BLOB NOT NULL,
        bytes  BLOB NOT NULL,
        UNIQUE (target, last)
    );
    CREATE TABLE releases (number INTEGER PRIMARY KEY, target TEXT NOT NULL);
    CREATE TABLE scopes (scope TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE deliveries (
        target   TEXT NOT NULL,
        delivery TEXT NOT NULL,
        at       INTEGER NOT NULL,
        PRIMARY KEY (target, delivery)
    ) WITHOUT ROWID;
    CREATE TABLE cursors (
        reader TEXT NOT NULL,
        target TEXT NOT NULL,
        seq    INTEGER NOT NULL,
        PRIMARY KEY (reader, target)
    ) WITHOUT ROWID;
    -- An id is never used twice: it is part of the receipt.
    CREATE TABLE wakes (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        target     TEXT NOT NULL,
        version    INTEGER NOT NULL,
        at         INTEGER NOT NULL,
        visible_at INTEGER NOT NULL,
        attempts   INTEGER NOT NULL DEFAULT 0,
        UNIQUE (target, version, at)
    );
    CREATE INDEX wakes_visible ON wakes (visible_at);
    CREATE TABLE people (
        name       TEXT PRIMARY KEY,
        token      BLOB NOT NULL,
        created_at INTEGER NOT NULL
    ) WITHOUT ROWID;
",
    // 0 where no event was appended since: the clock is not compared with it that once.
    "ALTER TABLE heads ADD COLUMN last_at INTEGER NOT NULL DEFAULT 0;",
];

/// Creates a directory for data that only its owner may read, if it is not there.
pub(crate) fn create_directory(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    // The name of a directory is part of the one above it.
    let above = directory.canonicalize()?.parent().map(fs::File::open).transpose()?;
    above.map_or(Ok(()), |above| above.sync_all())
}

/// A connection that writes: creates and migrates the tables where needed.
pub(crate) fn open_for_writing(directory: &Path) -> Work<Connection> {
    let mut connection = Connection::open(directory.join(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(format!("{FILE}: no write-ahead log on this file system (journal mode {mode})").into());
    }
    synchronous(&connection, true)?;
    // Only macOS needs to be told that a flush is to reach the disk.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// A connection that only reads an existing file.
pub(crate) fn open_for_reading(directory: &Path) -> Work<Connection> {
    let file = directory.join(FILE);
    if !file.exists() {
        return Err(format!("there is no {FILE}").into());
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(|error| format!("{FILE}: {error}"))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Whether a commit waits until it is on the disk.
pub(super) fn synchronous(connection: &Connection, on_disk: bool) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", if on_disk { "FULL" } else { "NORMAL" })
}

fn migrate(connection: &mut Connection) -> Work<()> {
    if version(connection)? == MIGRATIONS.len() {
        return Ok(());
    }
    // Another process may be doing the same: look again inside the transaction.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > MIGRATIONS.len() {
        return Err(newer(found).into());
    }
    for migration in &MIGRATIONS[found..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len())?)?;
    let label = format!("pl-{:08x}", rand::random::<u32>());
    transaction.execute("INSERT OR IGNORE INTO meta (name, value) VALUES ('ledger', ?1)", [label])?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Work<usize> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| format!("{FILE} has the version {version}: it is not one of ours").into())
}

fn newer(found: usize) -> String {
    let ours = MIGRATIONS.len();
    format!("{FILE} has version {found} and this Portcullis knows versions up to {ours}: use the newer one")
}

/// Refuses tables that a reader can not change into what it knows.
pub(super) fn same_version(connection: &Connection) -> Work<()> {
    let found = version(connection)?;
    let ours = MIGRATIONS.len();
    match found.cmp(&ours) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(newer(found).into()),
        std::cmp::Ordering::Less => {
            Err(format!("{FILE} has version {found}, older than {ours}: start the server on it once").into())
        }
    }
}

/// The ledger's own name, made with the tables.
pub(super) fn ledger_id(connection: &Connection) -> Work<LedgerId> {
    let name: String = connection.query_row("SELECT value FROM meta WHERE name = 'ledger'", [], |row| row.get(0))?;
    Ok(LedgerId::new(&name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writing_connection_waits_for_the_disk_at_every_commit() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_for_writing(directory.path()).unwrap();
        let full: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!(full, 2);
    }

    #[test]
    fn a_file_of_a_newer_portcullis_is_refused_by_writers_and_readers() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_for_writing(directory.path()).unwrap();
        connection.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).unwrap() + 1).unwrap();
        drop(connection);
        let writer = open_for_writing(directory.path()).unwrap_err().to_string();
        assert!(writer.contains("use the newer one"), "{writer}");
        let reader = same_version(&open_for_reading(directory.path()).unwrap()).unwrap_err().to_string();
        assert!(reader.contains("use the newer one"), "{reader}");
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "not a database, but long enough to have a header ".repeat(40)).unwrap();
        assert!(open_for_writing(directory.path()).unwrap_err().to_string().contains("not a database"));
    }

    #[test]
    fn the_ledger_keeps_the_name_it_was_made_with() {
        let directory = tempfile::tempdir().unwrap();
        let first = ledger_id(&open_for_writing(directory.path()).unwrap()).unwrap();
        let again = ledger_id(&open_for_writing(directory.path()).unwrap()).unwrap();
        assert_eq!(first, again);
        assert!(first.as_str().starts_with("pl-") && first.as_str().len() == 11, "{first}");
    }
}
