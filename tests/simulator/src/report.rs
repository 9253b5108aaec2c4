//! Many seeds: played on every core, added up, told in a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::{Ending, Fault, Options, Outcome, Reached, Simulator, Tally};

/// Seeds taken by a thread at a time.
const BATCH: u64 = 64;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

/// What is told while seeds are played.
#[derive(Debug, Clone)]
pub enum Progress {
    /// So many were played.
    Seeds(u64),
    /// One failed, and why.
    Failed(u64, String),
}

/// What many seeds came to.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Seeds played.
    pub seeds: u64,
    /// Releases that came to an end.
    pub releases: u64,
    /// Events appended.
    pub appended: u64,
    /// Steps of the schedulers.
    pub steps: u64,
    /// How the releases ended.
    pub endings: BTreeMap<Ending, u64>,
    /// What they went through.
    pub reached: Reached,
    /// Faults injected.
    pub faults: Tally,
    /// Time spent playing, added over all threads.
    pub busy: Duration,
    /// Time that passed.
    pub took: Duration,
    /// The hash over all seeds' hashes, whatever the order in which they were played.
    pub hash: u64,
    /// The failing seed with the lowest number, if one failed.
    pub failed: Option<Box<Outcome>>,
    /// Every seed that failed, with what was wrong.
    pub failures: BTreeMap<u64, String>,
}

impl Totals {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.releases += outcome.endings.len() as u64;
        self.appended += outcome.appended;
        self.steps += outcome.steps;
        self.hash ^= outcome.hash.rotate_left(u32::try_from(outcome.seed % 63).unwrap_or(0));
        for (_, ending) in &outcome.endings {
            *self.endings.entry(*ending).or_default() += 1;
        }
        for (name, count) in &outcome.reached {
            *self.reached.entry(name).or_default() += count;
        }
        for (all, one) in self.faults.iter_mut().zip(outcome.faults) {
            *all += one;
        }
        if let Some(why) = &outcome.failure {
            self.failures.insert(outcome.seed, why.clone());
        }
        if outcome.failure.is_some() && self.failed.as_ref().is_none_or(|failed| outcome.seed < failed.seed) {
            self.failed = Some(Box::new(outcome));
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.releases += other.releases;
        self.appended += other.appended;
        self.steps += other.steps;
        self.hash ^= other.hash;
        self.busy += other.busy;
        self.failures.extend(other.failures);
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        for (name, count) in other.reached {
            *self.reached.entry(name).or_default() += count;
        }
        for (all, one) in self.faults.iter_mut().zip(other.faults) {
            *all += one;
        }
        if let Some(outcome) = other.failed
            && self.failed.as_ref().is_none_or(|failed| outcome.seed < failed.seed)
        {
            self.failed = Some(outcome);
        }
    }

    /// Whole releases per second of one core.
    pub fn releases_per_second(&self) -> f64 {
        per_second(self.releases, self.busy)
    }

    /// The table that is printed at the end.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} seeds, {} releases, {} events, {} steps in {:.1} s ({:.1} s of cores): {:.0} releases/s per core",
            self.seeds,
            self.releases,
            self.appended,
            self.steps,
            self.took.as_secs_f64(),
            self.busy.as_secs_f64(),
            self.releases_per_second(),
        );
        let _ = writeln!(text, "\nhow the releases ended");
        for (ending, name) in Ending::ALL {
            let _ = writeln!(text, "  {name:<32} {:>12}", self.endings.get(&ending).copied().unwrap_or(0));
        }
        let _ = writeln!(text, "\nwhat they went through");
        for (name, count) in &self.reached {
            let _ = writeln!(text, "  {name:<32} {count:>12}");
        }
        let _ = writeln!(text, "\nfaults injected");
        for (fault, name) in Fault::ALL {
            let _ = writeln!(text, "  {name:<32} {:>12}", self.faults[fault as usize]);
        }
        let _ = write!(text, "\nhash of all traces {:016x}", self.hash);
        text
    }
}

/// Something per second.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

/// Plays `count` seeds from `from` on, on so many threads; stops at the first that fails, unless it is to
/// `keep_going`. `progress` is told now and
/// then how many seeds were played.
///
/// # Errors
/// When a thread can not get what it needs from the operating system.
pub fn play(
    from: u64,
    count: u64,
    jobs: usize,
    options: Options,
    keep_going: bool,
    progress: impl Fn(Progress),
) -> std::io::Result<Totals> {
    let (taken, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let mut totals = Totals::default();
    let (played, heard) = mpsc::channel::<Progress>();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1))
            .map(|_| {
                let (taken, failed, played) = (&taken, &failed, played.clone());
                scope.spawn(move || {
                    let on = || keep_going || !failed.load(Ordering::Relaxed);
                    thread(from, count, options, taken, on, failed, &played)
                })
            })
            .collect();
        drop(played);
        let (mut seeds, mut told) = (0, Instant::now());
        while let Ok(more) = heard.recv() {
            match more {
                Progress::Seeds(more) => seeds += more,
                failed @ Progress::Failed(..) => progress(failed),
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                progress(Progress::Seeds(seeds));
            }
        }
        for thread in threads {
            match thread.join() {
                Ok(part) => totals.merge(part?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok::<(), std::io::Error>(())
    })?;
    totals.took = begun.elapsed();
    Ok(totals)
}

fn thread(
    from: u64,
    count: u64,
    options: Options,
    taken: &AtomicU64,
    on: impl Fn() -> bool,
    failed: &AtomicBool,
    played: &mpsc::Sender<Progress>,
) -> std::io::Result<Totals> {
    let simulator = Simulator::new()?;
    let mut totals = Totals::default();
    let begun = Instant::now();
    while on() {
        let first = taken.fetch_add(BATCH, Ordering::Relaxed);
        if first >= count {
            break;
        }
        let last = count.min(first + BATCH);
        for seed in first..last {
            let outcome = simulator.simulate(from + seed, options);
            if let Some(why) = &outcome.failure {
                failed.store(true, Ordering::Relaxed);
                // Nobody listens any more only if the listener panicked.
                let _ = played.send(Progress::Failed(outcome.seed, why.clone()));
            }
            totals.add(outcome);
        }
        // As above.
        let _ = played.send(Progress::Seeds(last - first));
    }
    totals.busy = begun.elapsed();
    Ok(totals)
}
