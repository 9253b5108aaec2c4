//! How rough it is in one seed: how often calls fail or wait, how often messages are lost.

use crate::dice::Dice;

/// A kind of fault. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// A call failed before it did anything.
    FailedBefore,
    /// A call did its work, and its answer was lost.
    FailedAfter,
    /// A call took seconds.
    Slow,
    /// A call did not answer for more than a minute.
    Hung,
    /// A wake was lost.
    WakeLost,
    /// A wake came twice.
    WakeDoubled,
    /// A wake came late.
    WakeLate,
    /// An event of the outside was lost.
    EventLost,
    /// An event of the outside came twice.
    EventDoubled,
    /// An event of the outside came late, after others.
    EventLate,
    /// A patch landed on the cluster long after its sender had given up, or died.
    PatchLate,
    /// A registry's list did not have the newest images yet.
    ListStale,
    /// A process died with everything it had in memory.
    Crash,
    /// A process's clock was off.
    ClockSkew,
    /// An append met another's.
    Conflict,
    /// Somebody changed the cluster by hand.
    HandEdit,
    /// An alarm rang.
    Alarm,
    /// Requests failed, or no metric came.
    BadMetrics,
    /// A test failed.
    TestFails,
    /// Pods that were never, or no longer, ready.
    Sick,
    /// A scan found something critical.
    BadScan,
}

impl Fault {
    /// All, in the order of the report.
    pub const ALL: [(Fault, &'static str); 21] = [
        (Fault::FailedBefore, "calls failed, nothing done"),
        (Fault::FailedAfter, "calls done, answer lost"),
        (Fault::Slow, "calls that took seconds"),
        (Fault::Hung, "calls that hung over a minute"),
        (Fault::WakeLost, "wakes lost"),
        (Fault::WakeDoubled, "wakes doubled"),
        (Fault::WakeLate, "wakes late"),
        (Fault::EventLost, "events lost"),
        (Fault::EventDoubled, "events doubled"),
        (Fault::EventLate, "events late or reordered"),
        (Fault::PatchLate, "patches landed late"),
        (Fault::ListStale, "registry lists stale"),
        (Fault::Crash, "processes crashed"),
        (Fault::ClockSkew, "clocks skewed"),
        (Fault::Conflict, "appends in conflict"),
        (Fault::HandEdit, "edits by hand"),
        (Fault::Alarm, "alarms rang"),
        (Fault::BadMetrics, "bad or missing metrics"),
        (Fault::TestFails, "tests failed"),
        (Fault::Sick, "pods not ready"),
        (Fault::BadScan, "scans with findings"),
    ];
}

/// How often each fault was injected, by [`Fault`].
pub type Tally = [u64; Fault::ALL.len()];

/// How often, in a thousand, something goes wrong with a call or a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// A call gives others a turn before and after its work.
    pub(crate) turns: u32,
    /// A call fails before its work.
    pub(crate) before: u32,
    /// A call fails after its work.
    pub(crate) after: u32,
    /// A call takes seconds.
    pub(crate) slow: u32,
    /// A call does not answer for more than a minute.
    pub(crate) hangs: u32,
    /// A message is lost.
    pub(crate) lost: u32,
    /// A message comes twice.
    pub(crate) doubled: u32,
    /// A message comes late.
    pub(crate) late: u32,
    /// A patch leaves its sender and lands later.
    pub(crate) patches: u32,
    /// A registry's list is stale.
    pub(crate) stale: u32,
}

impl Weather {
    /// Nothing fails; calls still take turns.
    pub(crate) const CALM: Weather = Weather {
        turns: 60,
        before: 0,
        after: 0,
        slow: 0,
        hangs: 0,
        lost: 0,
        doubled: 0,
        late: 0,
        patches: 0,
        stale: 0,
    };

    /// The weather of a seed: a few are calm, most are rough in some respects, some are wild.
    pub(crate) fn of(dice: &mut Dice) -> Self {
        let turns = dice.pick(&[30, 80, 150, 400]);
        let wild = match dice.below(10) {
            0 => return Weather { turns, ..Weather::CALM },
            1 => 4,
            _ => 1,
        };
        // Each respect is quiet in every second seed or so: one fault alone must not hide behind the others.
        let mut rate = |most: u64| {
            if dice.chance(500) { 0 } else { u32::try_from(dice.between(1, most)).unwrap_or(0) * wild }
        };
        Self {
            turns,
            before: rate(25),
            after: rate(25),
            slow: rate(20),
            hangs: rate(4),
            lost: rate(100),
            doubled: rate(100),
            late: rate(100),
            patches: rate(80),
            stale: rate(150),
        }
    }
}
