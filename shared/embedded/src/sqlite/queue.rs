//! The queue port on SQLite: wakes, visible from their moment on, taken for a while, gone when done.

use std::pin::pin;

use async_trait::async_trait;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{PortResult, Queue, Received, Wake};
use rusqlite::{Connection, params};

use super::SqliteStore;
use super::convert::{Work, first, moment, rows, seq_at, signed, target_at, time_at};
use super::writer::Keep;

/// At most so many wakes are taken by one call.
const MOST: usize = 100;

/// A wake that was taken and not done when the last process ended is visible at once: nobody holds it any more.
pub(super) fn take_back(connection: &Connection) -> Work<()> {
    connection.execute("UPDATE wakes SET visible_at = at, attempts = attempts + 1 WHERE attempts > 0", [])?;
    Ok(())
}

#[async_trait]
impl Queue for SqliteStore {
    async fn send(&self, wake: Wake) -> PortResult<()> {
        let doing = format!("sending a wake for {}", wake.target);
        self.write(&doing, Keep::Hint, move |connection| {
            // One that waits already is as good as two. One that was taken is being acted on, perhaps on an older
            // state: it becomes visible again, and its old receipt no longer ends it.
            connection
                .prepare_cached(
                    "INSERT INTO wakes (target, version, at, visible_at) VALUES (?1, ?2, ?3, ?3)
                     ON CONFLICT (target, version, at)
                     DO UPDATE SET visible_at = at, attempts = attempts + 1 WHERE attempts > 0",
                )?
                .execute(params![wake.target.to_string(), signed(wake.version.0)?, moment(wake.at)])?;
            Ok(())
        })
        .await?;
        self.sent.notify_waiters();
        Ok(())
    }

    async fn receive(&self, most: usize, wait: Millis) -> PortResult<Vec<Received>> {
        let clock = &self.options.clock;
        let deadline = clock.now() + wait;
        let most = most.min(MOST);
        loop {
            // Listening begins before looking, so that nothing sent in between is missed.
            let mut sent = pin!(self.sent.notified());
            sent.as_mut().enable();
            let next = self.next_visible().await?;
            let now = clock.now();
            if next.is_some_and(|next| next <= now) && most > 0 {
                let taken = self.take(most, now).await?;
                if !taken.is_empty() {
                    return Ok(taken);
                }
                // Somebody else was quicker.
                if now < deadline {
                    continue;
                }
            }
            if now >= deadline {
                return Ok(Vec::new());
            }
            let until = next.map_or(deadline, |next| next.min(deadline));
            tokio::select! {
                () = sent => {}
                () = clock.sleep_until(until) => {}
            }
        }
    }

    async fn done(&self, receipt: &str) -> PortResult<()> {
        // A receipt that names nothing is of a wake that was done or came again: nothing to do.
        let Some((id, attempts)) = parse(receipt) else { return Ok(()) };
        self.write("ending a wake", Keep::Hint, move |connection| {
            connection
                .prepare_cached("DELETE FROM wakes WHERE id = ?1 AND attempts = ?2")?
                .execute(params![id, attempts])?;
            Ok(())
        })
        .await
    }
}

impl SqliteStore {
    async fn next_visible(&self) -> PortResult<Option<Timestamp>> {
        self.read("looking for wakes", |connection| {
            let mut query = connection.prepare_cached("SELECT visible_at FROM wakes ORDER BY visible_at LIMIT 1")?;
            first(query.query([])?, |row| time_at(row, 0))
        })
        .await
    }

    async fn take(&self, most: usize, now: Timestamp) -> PortResult<Vec<Received>> {
        let hidden_until = now + self.options.visibility;
        self.write("receiving wakes", Keep::Hint, move |connection| {
            let mut update = connection.prepare_cached(
                "UPDATE wakes SET attempts = attempts + 1, visible_at = ?2
                 WHERE id IN (SELECT id FROM wakes WHERE visible_at <= ?1 ORDER BY visible_at LIMIT ?3)
                 RETURNING id, target, version, at, attempts",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            rows(update.query(params![moment(now), moment(hidden_until), most])?, |row| {
                Ok(Received {
                    wake: Wake { target: target_at(row, 1)?, version: seq_at(row, 2)?, at: time_at(row, 3)? },
                    receipt: format!("{}.{}", row.get::<_, i64>(0)?, row.get::<_, i64>(4)?),
                })
            })
        })
        .await
    }
}

fn parse(receipt: &str) -> Option<(i64, i64)> {
    let (id, attempts) = receipt.split_once('.')?;
    Some((id.parse().ok()?, attempts.parse().ok()?))
}
