//! The simulator: the real engine (recorder, drivers, sweep, readers) on its in-memory outside, with a seeded scheduler
//! and seeded faults, through the whole life of a few releases per seed.
//!
//! It must not know: how the engine or the core decide anything. It sees what they append and what they write on the
//! cluster, and judges by the invariants of the design. One seed is one thread, one sequence of steps, one trace: it
//! uses no clock, no randomness but its dice, and no order that a hash table or an operating system has.
//!
//! Start reading at [`Simulator::simulate`], then `run.rs` (what happens), `hub.rs` (time, order, faults), `judge.rs` (what must
//! hold).

mod broken;
mod dice;
mod hub;
mod judge;
mod line;
mod panics;
mod people;
pub mod report;
mod run;
mod scene;
mod story;
mod weather;

use std::cell::Cell;

use portcullis_domain::names::ReleaseId;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::Keeping;
use tokio::runtime::{Builder, Runtime};

pub use self::broken::Broken;
pub use self::judge::{Ending, Reached};
pub use self::weather::{Fault, Tally};

/// How a seed is played.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the trace is kept as text.
    pub traced: bool,
    /// The same story without faults: for comparing speeds.
    pub calm: bool,
    /// An outside that does not keep its contract.
    pub broken: Option<Broken>,
}

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The hash of everything that happened.
    pub hash: u64,
    /// How every release that was opened ended.
    pub endings: Vec<(ReleaseId, Ending)>,
    /// What its releases went through.
    pub reached: Reached,
    /// Events appended.
    pub appended: u64,
    /// How long it lasted, in its own time.
    pub lasted: Millis,
    /// Steps of the scheduler.
    pub steps: u64,
    /// Faults injected, by [`Fault`].
    pub faults: Tally,
    /// What was wrong; none = every invariant held.
    pub failure: Option<String>,
    /// The ledger as one line per event, if something was wrong.
    pub story: Option<String>,
    /// The trace, if it was wanted.
    pub trace: Option<String>,
}

/// Plays seeds on one thread.
pub struct Simulator {
    runtime: Runtime,
}

/// One seed in so many stores its commits and heads as the product does, and takes some ten times as long; the others
/// keep them in memory.
const ENCODED: u64 = 256;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a seed runs on this thread.
fn is_running() -> bool {
    RUNNING.with(Cell::get)
}

impl Simulator {
    /// A simulator for the current thread.
    ///
    /// # Errors
    /// When the operating system refuses what a runtime needs.
    pub fn new() -> std::io::Result<Self> {
        panics::watch();
        Ok(Self { runtime: Builder::new_current_thread().build()? })
    }

    /// Plays one seed to its end.
    pub fn simulate(&self, seed: u64, options: Options) -> Outcome {
        RUNNING.with(|running| running.set(true));
        // Encoding and hashing would take most of the time, and have tests of their own: a few seeds do all of it.
        let keeping = (!seed.is_multiple_of(ENCODED)).then(Keeping::begin);
        let outcome = match run::Run::new(seed, options) {
            Some(run) => self.runtime.block_on(run.play()),
            None => Outcome::broken(seed, "its scene could not be built"),
        };
        drop(keeping);
        RUNNING.with(|running| running.set(false));
        outcome
    }
}

impl Outcome {
    fn broken(seed: u64, why: &str) -> Self {
        Self {
            seed,
            hash: 0,
            endings: Vec::new(),
            reached: Reached::default(),
            appended: 0,
            lasted: Millis(0),
            steps: 0,
            faults: Tally::default(),
            failure: Some(why.to_owned()),
            story: None,
            trace: None,
        }
    }
}
