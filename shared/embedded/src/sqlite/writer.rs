//! The one thread that writes. Whatever is queued while the disk is flushed goes into the next transaction together;
//! each piece of work has its own savepoint, so that one that fails takes none of the others with it. Nobody is
//! answered before the transaction that holds their work is committed.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use portcullis_engine::ports::{PortError, PortResult};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::convert::Work;
use super::schema;

/// At most so many pieces of work in one transaction: bounds how long the first of them waits.
const GROUP: usize = 256;

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is on the disk.
    OnDisk,
    /// It outlives this process; a power cut may lose it.
    Hint,
}

pub(super) struct Writer {
    jobs: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let thread =
            std::thread::Builder::new().name("ledger-writer".to_owned()).spawn(move || serve(&connection, &queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Does the work in a transaction and answers when it is committed. If the caller goes away, the work is done all
    /// the same.
    pub(super) async fn run<T, F>(&self, doing: &str, keep: Keep, work: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Work<T> + Send + 'static,
    {
        let stopped = || PortError::new(doing, "the store's writer has stopped");
        let (reply, answer) = oneshot::channel();
        let job = Write { doing: doing.to_owned(), keep, work: Some(work), result: None, reply };
        self.jobs.as_ref().ok_or_else(stopped)?.send(Box::new(job)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Waits for the work that was queued, and closes the file.
impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended by a panic");
        }
    }
}

trait Job: Send {
    fn keep(&self) -> Keep;
    /// Does the work; false = it failed and must leave nothing behind.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers, after the transaction was committed or lost.
    fn reply(self: Box<Self>, committed: Result<(), &str>);
}

struct Write<T, F> {
    doing: String,
    keep: Keep,
    work: Option<F>,
    result: Option<Work<T>>,
    reply: oneshot::Sender<PortResult<T>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Work<T> + Send,
{
    fn keep(&self) -> Keep {
        self.keep
    }

    fn run(&mut self, connection: &Connection) -> bool {
        let result = self.work.take().map(|work| work(connection));
        let done = matches!(result, Some(Ok(_)));
        self.result = result;
        done
    }

    fn reply(self: Box<Self>, committed: Result<(), &str>) {
        let answer = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(PortError::new(self.doing, error)),
            (_, Err(lost)) => Err(PortError::new(self.doing, lost)),
            (None, Ok(())) => Err(PortError::new(self.doing, "it was not begun")),
        };
        // Whoever asked may have gone away.
        let _ = reply_to(self.reply, answer);
    }
}

fn reply_to<T>(reply: oneshot::Sender<PortResult<T>>, answer: PortResult<T>) -> Result<(), PortResult<T>> {
    reply.send(answer)
}

fn serve(connection: &Connection, queue: &Receiver<Box<dyn Job>>) {
    let mut on_disk = true;
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        group.extend(queue.try_iter().take(GROUP - 1));
        let wanted = group.iter().any(|job| job.keep() == Keep::OnDisk);
        let committed = (|| {
            if wanted != on_disk {
                schema::synchronous(connection, wanted)?;
                on_disk = wanted;
            }
            transact(connection, &mut group)
        })();
        let committed = committed.map_err(|error| {
            if !connection.is_autocommit()
                && let Err(error) = execute(connection, "ROLLBACK")
            {
                tracing::error!(%error, "a transaction could not be rolled back");
            }
            error.to_string()
        });
        for job in group {
            job.reply(committed.as_ref().copied().map_err(String::as_str));
        }
    }
}

fn transact(connection: &Connection, group: &mut [Box<dyn Job>]) -> Work<()> {
    execute(connection, "BEGIN IMMEDIATE")?;
    if let [alone] = group {
        return Ok(execute(connection, if alone.run(connection) { "COMMIT" } else { "ROLLBACK" })?);
    }
    for job in group {
        execute(connection, "SAVEPOINT job")?;
        if !job.run(connection) {
            if connection.is_autocommit() {
                return Err("the disk failed under a transaction".into());
            }
            execute(connection, "ROLLBACK TO job")?;
        }
        execute(connection, "RELEASE job")?;
    }
    Ok(execute(connection, "COMMIT")?)
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(directory: &std::path::Path) -> Writer {
        let connection = schema::open_for_writing(directory).unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)").unwrap();
        Writer::start(connection).unwrap()
    }

    fn insert(n: i64) -> impl FnOnce(&Connection) -> Work<()> + Send + 'static {
        move |connection| {
            connection.execute("INSERT INTO t VALUES (?1)", [n])?;
            if n % 10 == 0 { Err("no tens".into()) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn a_piece_of_work_that_fails_takes_none_of_its_group_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(directory.path());
        // The first one holds the thread while the others queue up behind it as one group.
        let (go, held) = std::sync::mpsc::channel::<()>();
        let first = writer.run("holding", Keep::OnDisk, move |_| Ok(held.recv()?));
        let others = async {
            let mut calls = Vec::new();
            for n in 1..=30 {
                calls.push(Box::pin(writer.run("inserting", Keep::OnDisk, insert(n))));
            }
            // Each is queued by its first poll.
            for call in &mut calls {
                assert!(std::future::poll_fn(|c| std::task::Poll::Ready(call.as_mut().poll(c))).await.is_pending());
            }
            go.send(()).unwrap();
            let mut failed = Vec::new();
            for (n, call) in (1..).zip(calls) {
                if let Err(error) = call.await {
                    failed.push((n, error.to_string()));
                }
            }
            failed
        };
        let (held, failed) = tokio::join!(first, others);
        held.unwrap();
        assert_eq!(failed, [10, 20, 30].map(|n| (n, "inserting: no tens".to_owned())));
        let count = writer.run("counting", Keep::Hint, |connection| {
            Ok(connection.query_row("SELECT count(*), sum(n % 10 = 0) FROM t", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })?)
        });
        assert_eq!(count.await.unwrap(), (27, 0));
    }

    #[tokio::test]
    async fn work_that_fails_alone_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(directory.path());
        assert!(writer.run("inserting", Keep::OnDisk, insert(10)).await.is_err());
        assert!(writer.run("inserting", Keep::OnDisk, insert(11)).await.is_ok());
        drop(writer);
        let reader = schema::open_for_reading(directory.path()).unwrap();
        let all: Vec<i64> = reader
            .prepare("SELECT n FROM t")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(all, [11]);
    }
}
