//! Appends to the SQLite ledger, against a bare insert of the same bytes with the same care for the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use portcullis_domain::event::What;
use portcullis_domain::names::{DeliveryId, ReleaseId, Seq, TargetId};
use portcullis_domain::signal::Signal;
use portcullis_domain::target::Target;
use portcullis_domain::{apply, next};
use portcullis_embedded::sqlite::SqliteStore;
use portcullis_engine::codec::{Commit, ENGINE, READER, chain, encode_head, genesis};
use portcullis_engine::ports::{Append, Head, Ledger as _};
use rusqlite::{Connection, params};

use crate::decide::count;
use crate::report::{Goal, Line};
use crate::story::Story;

const ROUNDS: usize = 7;
/// Appends in a row, per round.
const IN_A_ROW: usize = 300;
/// Targets that are appended to at once, and appends to each, per round.
const TARGETS: usize = 8;
const EACH: usize = 100;
const GOAL_PERCENT: f64 = 60.0;

pub(crate) fn measure(dir: &Path) -> Result<Vec<Line>> {
    let lives = Story::of(4_800)?;
    let folder = tempfile::Builder::new().prefix("bench-ledger-").tempdir_in(dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let store = SqliteStore::open(folder.path())?;
    let bare = Bare::open(folder.path())?;
    let alone = appends(&lives, &"app-0/alone".parse()?, 0)?;
    ensure!(alone.len() >= ROUNDS * IN_A_ROW, "the story has only {} appends", alone.len());
    let mut beside = Vec::new();
    for target in 1..=TARGETS {
        let name = format!("app-{target}/production").parse()?;
        beside.push(appends(&lives, &name, 1_000_000 * u64::try_from(target)?)?);
    }
    let bytes =
        alone.iter().map(|append| append.commit.len() + append.head.snapshot.len()).sum::<usize>() / alone.len();

    let mut rounds: Vec<Round> = Vec::new();
    for round in 0..ROUNDS {
        let one = &alone[round * IN_A_ROW..(round + 1) * IN_A_ROW];
        let bare_rate = rate(IN_A_ROW, || bare.both(one))?;
        let single = rate(IN_A_ROW, || runtime.block_on(in_a_row(&store, one.to_vec())))?;
        let bare_commits = rate(IN_A_ROW, || bare.commits(one))?;
        let many: Vec<Vec<Append>> = beside.iter().map(|all| all[round * EACH..(round + 1) * EACH].to_vec()).collect();
        let concurrent = rate(TARGETS * EACH, || runtime.block_on(at_once(&store, many)))?;
        rounds.push(Round { bare: bare_rate, bare_commits, single, concurrent });
    }
    ensure!(runtime.block_on(store.targets())?.len() == TARGETS + 1, "not every target has a head");

    let middle = |which: fn(&Round) -> f64| median(rounds.iter().map(which));
    let (bare_rate, commits_rate) = (middle(|round| round.bare), middle(|round| round.bare_commits));
    let line = |name, what: &str, which: fn(&Round) -> f64| {
        let ratio = middle(which) / bare_rate;
        let stricter = middle(which) / commits_rate;
        Line::new(name, what, 100.0 * ratio, "% of bare inserts")
            .goal(Goal::AtLeast(GOAL_PERCENT))
            .beside_at("bare prepared INSERT of commit and head, a transaction each", bare_rate, "inserts/s", ratio)
            .detail("appends/s", middle(which).round())
            .detail(
                "of commit alone",
                format!("{:.0}% of bare inserts of the commit without its head", 100.0 * stricter),
            )
    };
    let single = line("ledger", "appends to the SQLite ledger one after the other, median of 7 rounds", |r| r.single)
        .detail("bytes", format!("{bytes} per append (commit and head) on average"));
    let eight = line("ledger x 8", "appends to 8 targets at once, median of 7 rounds", |r| r.concurrent);
    Ok(vec![single, eight])
}

/// Per second, in one round.
struct Round {
    bare: f64,
    bare_commits: f64,
    single: f64,
    concurrent: f64,
}

fn rate(number: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(count(number) / begin.elapsed().as_secs_f64())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn in_a_row(store: &SqliteStore, appends: Vec<Append>) -> Result<()> {
    for append in appends {
        store.append(append).await?;
    }
    Ok(())
}

async fn at_once(store: &Arc<SqliteStore>, targets: Vec<Vec<Append>>) -> Result<()> {
    let spawn = |appends| {
        let store = store.clone();
        tokio::spawn(async move { in_a_row(&store, appends).await })
    };
    let tasks: Vec<_> = targets.into_iter().map(spawn).collect();
    for task in tasks {
        task.await.context("a task that appends")??;
    }
    Ok(())
}

/// The story as the recorder would append it, for a target of this name and release numbers from `first` on.
fn appends(story: &Story, target: &TargetId, first: u64) -> Result<Vec<Append>> {
    let (mut state, mut before, mut appends) = (Target::default(), genesis(), Vec::new());
    for (step, n) in story.steps.iter().filter(|step| !step.events.is_empty()).zip(0_u64..) {
        let expected: Seq = state.seq;
        step.events.iter().for_each(|event| apply(&mut state, event));
        let commit = Commit { events: step.events.clone(), policy: story.policy.hash(), engine: ENGINE.to_owned() };
        let commit = commit.encode()?;
        before = chain(before, &commit);
        let opens = step.events.iter().filter_map(|event| match event.what {
            What::Opened { release, .. } => Some(ReleaseId(release.0 + first)),
            _ => None,
        });
        let from_outside =
            matches!(step.signal, Signal::Pushed(_) | Signal::ScanReported { .. } | Signal::Alarm { .. });
        let forward = step.events.iter().any(|event| event.what.moves_forward());
        appends.push(Append {
            target: target.clone(),
            expected,
            head: Head {
                version: state.seq,
                snapshot: encode_head(&state)?,
                chain: before,
                last_at: step.events.iter().map(|event| event.at).max().unwrap_or_default(),
                wake_at: next(&state).wake_at,
                min_reader: READER,
            },
            commit,
            scopes: if forward {
                step.given.scopes.iter().map(|(s, state)| (s.clone(), state.version)).collect()
            } else {
                Vec::new()
            },
            opens: opens.collect(),
            delivery: if from_outside { Some(DeliveryId::new(&format!("delivery-{n}"))?) } else { None },
        });
    }
    Ok(appends)
}

/// The least that could be done: one table, one prepared statement, the same pragmas, a transaction per insert.
struct Bare(Connection);

impl Bare {
    fn open(dir: &Path) -> Result<Self> {
        let connection = Connection::open(dir.join("bare.db"))?;
        let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        ensure!(mode == "wal", "no write-ahead log here");
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.execute_batch(
            "CREATE TABLE both (bytes BLOB NOT NULL, head BLOB NOT NULL); CREATE TABLE commits (bytes BLOB NOT NULL);",
        )?;
        Ok(Self(connection))
    }

    fn both(&self, appends: &[Append]) -> Result<()> {
        let mut insert = self.0.prepare_cached("INSERT INTO both (bytes, head) VALUES (?1, ?2)")?;
        for append in appends {
            insert.execute(params![append.commit, append.head.snapshot])?;
        }
        Ok(())
    }

    fn commits(&self, appends: &[Append]) -> Result<()> {
        let mut insert = self.0.prepare_cached("INSERT INTO commits (bytes) VALUES (?1)")?;
        for append in appends {
            insert.execute([&append.commit])?;
        }
        Ok(())
    }
}
