//! The ledger port on SQLite.

use async_trait::async_trait;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{DeliveryId, LedgerId, ReleaseId, Seq, TargetId};
use portcullis_domain::scope::{Scope, ScopeState};
use portcullis_domain::time::Timestamp;
use portcullis_engine::codec::genesis;
use portcullis_engine::ports::{Append, AppendError, Head, Ledger, PortError, PortResult, StoredCommit};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::convert::{Work, digest_at, first, moment, rows, seq_at, signed, target_at, time_at, unsigned};
use super::writer::Keep;

#[async_trait]
impl Ledger for SqliteStore {
    fn id(&self) -> LedgerId {
        self.id.clone()
    }

    async fn head(&self, target: &TargetId) -> PortResult<Option<Head>> {
        let target = target.to_string();
        self.read(&format!("reading the ledger of {target}"), move |connection| head(connection, &target)).await
    }

    async fn append(&self, append: Append) -> Result<(), AppendError> {
        let doing = format!("appending to the ledger of {}", append.target);
        if append.head.version <= append.expected {
            return Err(PortError::new(doing, "a commit holds at least one event").into());
        }
        let now = self.options.clock.now();
        self.write(&doing, Keep::OnDisk, move |connection| insert(connection, &append, now)).await?
    }

    async fn commits(&self, target: &TargetId, after: Seq, most: usize) -> PortResult<Vec<StoredCommit>> {
        let target = target.to_string();
        self.read(&format!("reading the ledger of {target}"), move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT first, last, before, bytes FROM commits WHERE target = ?1 AND last > ?2 ORDER BY last LIMIT ?3",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            rows(query.query(params![target, signed(after.0)?, most])?, |row| {
                Ok(StoredCommit {
                    first: seq_at(row, 0)?,
                    last: seq_at(row, 1)?,
                    before: digest_at(row, 2)?,
                    bytes: row.get(3)?,
                })
            })
        })
        .await
    }

    async fn targets(&self) -> PortResult<Vec<TargetId>> {
        self.read("reading the targets", |connection| {
            let mut query = connection.prepare_cached("SELECT target FROM heads ORDER BY target")?;
            rows(query.query([])?, |row| target_at(row, 0))
        })
        .await
    }

    async fn overdue(&self, at: Timestamp) -> PortResult<Vec<TargetId>> {
        self.read("reading the overdue targets", move |connection| {
            let mut query =
                connection.prepare_cached("SELECT target FROM heads WHERE wake_at <= ?1 ORDER BY wake_at, target")?;
            rows(query.query([moment(at)])?, |row| target_at(row, 0))
        })
        .await
    }

    async fn delivered(&self, target: &TargetId, delivery: &DeliveryId) -> PortResult<bool> {
        let (target, delivery) = (target.to_string(), delivery.to_string());
        self.read(&format!("looking for a delivery to {target}"), move |connection| {
            let mut query =
                connection.prepare_cached("SELECT 1 FROM deliveries WHERE target = ?1 AND delivery = ?2")?;
            Ok(query.exists([&target, &delivery])?)
        })
        .await
    }

    async fn release(&self, release: ReleaseId) -> PortResult<Option<TargetId>> {
        self.read(&format!("looking for release {release}"), move |connection| {
            // A number that is too large to store was never given out.
            let Ok(number) = i64::try_from(release.0) else { return Ok(None) };
            let mut query = connection.prepare_cached("SELECT target FROM releases WHERE number = ?1")?;
            first(query.query([number])?, |row| target_at(row, 0))
        })
        .await
    }

    async fn next_release(&self) -> PortResult<ReleaseId> {
        self.read("looking for the next release number", |connection| {
            let mut query = connection.prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM releases")?;
            Ok(ReleaseId(unsigned(query.query_row([], |row| row.get(0))?)?))
        })
        .await
    }

    async fn scopes(&self, scopes: &[Scope]) -> PortResult<Vec<ScopeState>> {
        let keys: Vec<String> = scopes.iter().map(scope_key).collect::<Work<_>>().map_err(reading_scopes)?;
        self.read("reading the stops", move |connection| {
            let mut query = connection.prepare_cached("SELECT state FROM scopes WHERE scope = ?1")?;
            let state = |key: &String| -> Work<ScopeState> {
                let text: Option<String> = first(query.query([key])?, |row| Ok(row.get(0)?))?;
                Ok(text.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default())
            };
            keys.iter().map(state).collect()
        })
        .await
    }

    async fn all_scopes(&self) -> PortResult<Vec<(Scope, ScopeState)>> {
        self.read("reading the stops", |connection| {
            let mut query = connection.prepare_cached("SELECT scope, state FROM scopes")?;
            let mut all = rows(query.query([])?, |row| {
                let (scope, state) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
                Ok((serde_json::from_str(scope)?, serde_json::from_str(state)?))
            })?;
            all.sort_by(|(one, _): &(Scope, ScopeState), (other, _)| one.cmp(other));
            Ok(all)
        })
        .await
    }

    async fn set_scope(&self, scope: &Scope, state: &ScopeState) -> PortResult<bool> {
        let doing = format!("changing the stop of {scope}");
        // Version 0 is what a scope has that was never changed: none is before it.
        let Some(before) = state.version.checked_sub(1) else { return Ok(false) };
        let key = scope_key(scope).map_err(|error| PortError::new(&doing, error))?;
        let state = state.clone();
        self.write(&doing, Keep::OnDisk, move |connection| {
            if scope_version(connection, &key)? != before {
                return Ok(false);
            }
            connection
                .prepare_cached("INSERT OR REPLACE INTO scopes (scope, version, state) VALUES (?1, ?2, ?3)")?
                .execute(params![key, signed(state.version)?, serde_json::to_string(&state)?])?;
            Ok(true)
        })
        .await
    }

    async fn lease(&self, target: &TargetId, intention: Seq, now: Timestamp, until: Timestamp) -> PortResult<bool> {
        if self.is_read_only() {
            return Err(self.refused(&format!("taking a lease on {target} {intention}")));
        }
        let mut leases = self.leases();
        leases.retain(|_, until| *until > now);
        let key = (target.clone(), intention);
        if leases.contains_key(&key) {
            return Ok(false);
        }
        leases.insert(key, until);
        Ok(true)
    }

    async fn end_lease(&self, target: &TargetId, intention: Seq) -> PortResult<()> {
        self.leases().remove(&(target.clone(), intention));
        Ok(())
    }

    async fn cursor(&self, reader: &str, target: &TargetId) -> PortResult<Seq> {
        let (reader, target) = (reader.to_owned(), target.to_string());
        self.read(&format!("reading how far {reader} came in {target}"), move |connection| {
            let mut query = connection.prepare_cached("SELECT seq FROM cursors WHERE reader = ?1 AND target = ?2")?;
            Ok(first(query.query([&reader, &target])?, |row| seq_at(row, 0))?.unwrap_or_default())
        })
        .await
    }

    async fn set_cursor(&self, reader: &str, target: &TargetId, at: Seq) -> PortResult<()> {
        let (reader, target) = (reader.to_owned(), target.to_string());
        let doing = format!("storing how far {reader} came in {target}");
        self.write(&doing, Keep::Hint, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO cursors (reader, target, seq) VALUES (?1, ?2, ?3)
                     ON CONFLICT (reader, target) DO UPDATE SET seq = max(seq, excluded.seq)",
                )?
                .execute(params![reader, target, signed(at.0)?])?;
            Ok(())
        })
        .await
    }
}

fn head(connection: &Connection, target: &str) -> Work<Option<Head>> {
    let mut query = connection
        .prepare_cached("SELECT version, snapshot, chain, wake_at, min_reader, last_at FROM heads WHERE target = ?1")?;
    first(query.query([target])?, |row| {
        let waits = row.get::<_, Option<i64>>(3)?.is_some();
        Ok(Head {
            version: seq_at(row, 0)?,
            snapshot: row.get(1)?,
            chain: digest_at(row, 2)?,
            wake_at: if waits { Some(time_at(row, 3)?) } else { None },
            min_reader: row.get(4)?,
            last_at: time_at(row, 5)?,
        })
    })
}

/// Looks at every condition first and writes only if all of them hold, so that a refusal leaves nothing to undo.
fn insert(connection: &Connection, append: &Append, now: Timestamp) -> Work<Result<(), AppendError>> {
    let target = append.target.to_string();
    let expected = signed(append.expected.0)?;
    let mut query = connection.prepare_cached("SELECT version, chain FROM heads WHERE target = ?1")?;
    let (version, before) = first(query.query([&target])?, |row| Ok((row.get::<_, i64>(0)?, digest_at(row, 1)?)))?
        .unwrap_or_else(|| (0, genesis()));
    if version != expected {
        return Ok(Err(AppendError::Conflict));
    }
    for (scope, expected) in &append.scopes {
        if scope_version(connection, &scope_key(scope)?)? != *expected {
            return Ok(Err(AppendError::ScopeMoved));
        }
    }
    for number in &append.opens {
        if connection.prepare_cached("SELECT 1 FROM releases WHERE number = ?1")?.exists([signed(number.0)?])? {
            return Ok(Err(AppendError::NumberTaken));
        }
    }
    store(connection, append, &target, &before, now)?;
    Ok(Ok(()))
}

fn store(connection: &Connection, append: &Append, target: &str, before: &Digest, now: Timestamp) -> Work<()> {
    let head = &append.head;
    let last = signed(head.version.0)?;
    connection
        .prepare_cached("INSERT INTO commits (target, last, first, before, bytes) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![target, last, signed(append.expected.0)? + 1, before.bytes(), append.commit])?;
    connection
        .prepare_cached(
            "INSERT INTO heads (target, version, chain, wake_at, min_reader, snapshot, last_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (target) DO UPDATE SET version = excluded.version, chain = excluded.chain,
                 wake_at = excluded.wake_at, min_reader = excluded.min_reader, snapshot = excluded.snapshot,
                 last_at = excluded.last_at",
        )?
        .execute(params![
            target,
            last,
            head.chain.bytes(),
            head.wake_at.map(moment),
            head.min_reader,
            head.snapshot,
            moment(head.last_at)
        ])?;
    for number in &append.opens {
        connection
            .prepare_cached("INSERT INTO releases (number, target) VALUES (?1, ?2)")?
            .execute(params![signed(number.0)?, target])?;
    }
    if let Some(delivery) = &append.delivery {
        connection
            .prepare_cached("INSERT OR IGNORE INTO deliveries (target, delivery, at) VALUES (?1, ?2, ?3)")?
            .execute(params![target, delivery.as_str(), moment(now)])?;
    }
    Ok(())
}

fn scope_version(connection: &Connection, key: &str) -> Work<u64> {
    let mut query = connection.prepare_cached("SELECT version FROM scopes WHERE scope = ?1")?;
    unsigned(first(query.query([key])?, |row| Ok(row.get(0)?))?.unwrap_or(0))
}

fn scope_key(scope: &Scope) -> Work<String> {
    Ok(serde_json::to_string(scope)?)
}

fn reading_scopes(error: Box<dyn std::error::Error + Send + Sync>) -> PortError {
    PortError::new("reading the stops", error)
}
