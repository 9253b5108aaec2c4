//! Faults on purpose: calls that fail, that do their work and then fail, or that are held until a test lets them go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::locked;
use crate::ports::{PortError, PortResult};

/// A call of a port that can be made to fail or wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the port's call of that name")]
pub enum Op {
    Head,
    Append,
    Lease,
    Send,
    Put,
    Get,
    Image,
    Scan,
    List,
    Commit,
    Observe,
    Manifests,
    Write,
    Look,
    Export,
    Test,
    Measure,
    Alarms,
}

#[derive(Debug, Default, Clone, Copy)]
struct Rule {
    calls: u64,
    fail_before: u32,
    fail_after: u32,
    hold_before: bool,
    hold_from: Option<u64>,
    hold_after_from: Option<u64>,
    hold_after: bool,
    held: u32,
}

/// The faults of one world, shared by its fakes.
#[derive(Clone)]
pub struct Faults {
    rules: Arc<Mutex<BTreeMap<Op, Rule>>>,
    changed: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rules: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Faults {
    /// Fails for ever, until [`Faults::heal`].
    pub const ALWAYS: u32 = u32::MAX;

    /// The next so many calls fail and do nothing.
    pub fn fail(&self, op: Op, times: u32) {
        self.change(op, |rule| rule.fail_before = times);
    }

    /// The next so many calls do their work, and then fail.
    pub fn fail_after(&self, op: Op, times: u32) {
        self.change(op, |rule| rule.fail_after = times);
    }

    /// Calls wait before they do anything.
    pub fn hold_before(&self, op: Op) {
        self.change(op, |rule| rule.hold_before = true);
    }

    /// Calls wait before they do anything, after so many more of them went through.
    pub fn hold_before_nth(&self, op: Op, more: u64) {
        self.change(op, |rule| rule.hold_from = Some(rule.calls + more));
    }

    /// Calls do their work and then do not return.
    pub fn hold_after(&self, op: Op) {
        self.change(op, |rule| rule.hold_after = true);
    }

    /// Calls do their work and then do not return, after so many more of them went through.
    pub fn hold_after_nth(&self, op: Op, more: u64) {
        self.change(op, |rule| rule.hold_after_from = Some(rule.calls + more));
    }

    /// Nothing fails or is held any more.
    pub fn heal(&self, op: Op) {
        self.change(op, |rule| *rule = Rule { calls: rule.calls, held: rule.held, ..Rule::default() });
    }

    /// How often a call was made.
    pub fn calls(&self, op: Op) -> u64 {
        locked(&self.rules).get(&op).map_or(0, |rule| rule.calls)
    }

    /// How many calls are held at the moment.
    pub fn held(&self, op: Op) -> u32 {
        locked(&self.rules).get(&op).map_or(0, |rule| rule.held)
    }

    /// What a fake does before its work.
    pub(super) async fn before(&self, op: Op) -> PortResult<()> {
        let count = |rules: &mut BTreeMap<Op, Rule>| rules.entry(op).or_default().calls += 1;
        count(&mut locked(&self.rules));
        self.wait(op, |rule| rule.hold_before || rule.hold_from.is_some_and(|from| rule.calls > from)).await;
        self.maybe_fail(op, "nothing was done", |rule| &mut rule.fail_before)
    }

    /// What a fake does after its work.
    pub(super) async fn after(&self, op: Op) -> PortResult<()> {
        self.wait(op, |rule| rule.hold_after || rule.hold_after_from.is_some_and(|from| rule.calls > from)).await;
        self.maybe_fail(op, "no answer; it was done", |rule| &mut rule.fail_after)
    }

    fn maybe_fail(&self, op: Op, found: &str, left: fn(&mut Rule) -> &mut u32) -> PortResult<()> {
        let mut rules = locked(&self.rules);
        let left = left(rules.entry(op).or_default());
        if *left == 0 {
            return Ok(());
        }
        if *left != Self::ALWAYS {
            *left -= 1;
        }
        Err(PortError::new(format!("{op:?}"), format!("a fault on purpose: {found}")))
    }

    async fn wait(&self, op: Op, held: fn(&Rule) -> bool) {
        if !locked(&self.rules).get(&op).is_some_and(held) {
            return;
        }
        let mut changed = self.changed.subscribe();
        let counted = Held::begin(self, op);
        while locked(&self.rules).get(&op).is_some_and(held) {
            if changed.changed().await.is_err() {
                return;
            }
        }
        drop(counted);
    }

    fn change(&self, op: Op, how: impl FnOnce(&mut Rule)) {
        how(locked(&self.rules).entry(op).or_default());
        self.changed.send_modify(|version| *version += 1);
    }
}

/// A call that is held; counted even if its task is dropped.
struct Held<'a> {
    faults: &'a Faults,
    op: Op,
}

impl<'a> Held<'a> {
    fn begin(faults: &'a Faults, op: Op) -> Self {
        locked(&faults.rules).entry(op).or_default().held += 1;
        Self { faults, op }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        locked(&self.faults.rules).entry(self.op).or_default().held -= 1;
    }
}
