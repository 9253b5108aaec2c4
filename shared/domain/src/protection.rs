//! What protects a target by its policy, and what a change of it loosens.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::names::{GroupName, Subject};
use crate::policy::{
    Gates, Governor, Mode, OnFailure, Policy, Quorum, RollBack, ScanAction, ScanRule, Severity, Strategy, Test,
    Trigger, Watch,
};

/// The part of a policy that protects: kept in the state, so that a change of it can be told from before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Protection {
    /// How much is done at all.
    pub mode: Mode,
    /// What must hold.
    pub gates: Gates,
    /// The watch.
    pub watch: Watch,
    /// The way back.
    pub roll_back: RollBack,
    /// How many rollbacks are too many.
    pub governor: Governor,
    /// Who may say yes.
    pub groups: BTreeMap<GroupName, BTreeSet<Subject>>,
    /// The tests of the new colour.
    #[serde(default)]
    pub verify: Vec<Test>,
    /// How new digests take over; none = recorded before it was part of this.
    #[serde(default)]
    pub strategy: Option<Strategy>,
}

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// What, by its key in the policy: `gates.approvals`.
    pub what: String,
    /// As it was; empty = it was not there.
    pub before: String,
    /// As it is; empty = it is gone.
    pub after: String,
    /// Whether less is asked for than before.
    pub loosens: bool,
}

impl Protection {
    /// What protects by this policy.
    pub fn of(policy: &Policy) -> Self {
        Self {
            mode: policy.mode,
            gates: policy.gates.clone(),
            watch: policy.watch.clone(),
            roll_back: policy.roll_back.clone(),
            governor: policy.governor,
            groups: policy.groups.clone(),
            verify: policy.verify.clone(),
            strategy: Some(policy.strategy.clone()),
        }
    }
}

/// Changes that are named; more are as one.
const MOST_CHANGES: usize = 50;
/// The longest text of one side.
const MOST_TEXT: usize = 300;

impl Protection {
    /// What changed from this to `after`, at most 50 things. What can not be told to be stricter counts as looser.
    pub fn changes(&self, after: &Protection) -> Vec<Change> {
        let mut found = Changes::default();
        // Less is done: nothing can go wrong that did not before. More is done: more is trusted to the policy.
        found.compare("mode", &self.mode, &after.mode, after.mode > self.mode);
        self.gate_changes(after, &mut found);
        self.watch_changes(after, &mut found);
        let fewer = self.verify.iter().any(|test| !after.verify.iter().any(|now| is_as_strict(test, now)));
        found.compare("tests", &self.verify, &after.verify, fewer);
        if let (Some(was), Some(is)) = (&self.strategy, &after.strategy) {
            found.compare("strategy", was, is, is_hastier(was, is));
        }
        let groups: BTreeSet<&GroupName> = self.groups.keys().chain(after.groups.keys()).collect();
        for group in groups {
            let (had, has) = (self.groups.get(group), after.groups.get(group));
            // Whoever joins may say yes from now on.
            let joins = has.is_some_and(|has| had.is_none_or(|had| !has.is_subset(had)));
            found.compare(&format!("groups.{group}"), &had, &has, joins);
        }
        found.all
    }

    fn gate_changes(&self, after: &Protection, found: &mut Changes) {
        let (was, is) = (&self.gates, &after.gates);
        let asks_less = was
            .approvals
            .iter()
            .any(|quorum| !is.approvals.iter().any(|other| other.group == quorum.group && other.count >= quorum.count));
        found.compare("gates.approvals", &texts(&was.approvals), &texts(&is.approvals), asks_less);
        let weaker = match (&was.scan, &is.scan) {
            (Some(was), Some(is)) => is_weaker(was, is),
            (was, is) => was.is_some() && is.is_none(),
        };
        found.compare("gates.scan", &was.scan, &is.scan, weaker);
        let (text, now) = (&was.typed_confirmation, &is.typed_confirmation);
        found.compare("gates.typed_confirmation", text, now, now.is_none());
        let stricter = match (&was.promoted_from, &is.promoted_from) {
            (None, _) => true,
            (Some(was), Some(is)) => {
                let sooner = match (was.within, is.within) {
                    (Some(was), Some(is)) => is <= was,
                    (was, _) => was.is_none(),
                };
                was.environment == is.environment && is.same <= was.same && sooner
            }
            (Some(_), None) => false,
        };
        found.compare("gates.promoted_from", &was.promoted_from, &is.promoted_from, !stricter);
        let thaws = was.calendar.freeze.iter().any(|window| !is.calendar.freeze.contains(window));
        found.compare("gates.freeze", &was.calendar.freeze, &is.calendar.freeze, thaws);
        let (opened, opens) = (&was.calendar.open, &is.calendar.open);
        // No window at all is always open; a new one opens more, unless it is the first.
        let opens_more = opens.is_empty() || (!opened.is_empty() && opens.iter().any(|one| !opened.contains(one)));
        found.compare("gates.open", opened, opens, opens_more);
        let gone = was.rules.iter().any(|rule| !is.rules.contains(rule));
        found.compare("gates.rules", &was.rules, &is.rules, gone);
        let (glass, now) = (&was.break_glass, &is.break_glass);
        let easier = now
            .as_ref()
            .is_some_and(|now| glass.as_ref().is_none_or(|glass| glass.group != now.group || now.count < glass.count));
        found.compare("gates.break_glass", glass, now, easier);
        found.compare("gates.expire", &was.expire, &is.expire, is.expire > was.expire);
    }

    fn watch_changes(&self, after: &Protection, found: &mut Changes) {
        let (was, is) = (&self.watch, &after.watch);
        found.compare("watch.for", &was.length, &is.length, is.length < was.length);
        let gone = |was: &[Trigger], is: &[Trigger]| was.iter().any(|trigger| !is.contains(trigger));
        found.compare("watch.healthy", &was.healthy, &is.healthy, gone(&was.healthy, &is.healthy));
        found.compare("watch.traffic", &was.traffic, &is.traffic, is.traffic < was.traffic);
        found.compare("watch.extend", &was.extend, &is.extend, is.extend > was.extend);
        let fewer = |was: &[String], is: &[String]| was.iter().any(|pattern| !is.contains(pattern));
        let (rolls, asks) = (&is.alarms_roll_back, &is.alarms_ask);
        found.compare("watch.alarms.roll_back", &was.alarms_roll_back, rolls, fewer(&was.alarms_roll_back, rolls));
        found.compare("watch.alarms.ask", &was.alarms_ask, asks, fewer(&was.alarms_ask, asks));
        let (was, is) = (&self.roll_back, &after.roll_back);
        found.compare("roll_back.window", &was.window, &is.window, is.window < was.window);
        found.compare("roll_back.keep_old", &was.keep_old, &is.keep_old, is.keep_old < was.keep_old);
        found.compare("roll_back.when", &was.when, &is.when, gone(&was.when, &is.when));
        let slower = match (was.health_failing_for, is.health_failing_for) {
            (Some(was), Some(is)) => is > was,
            (was, _) => was.is_some(),
        };
        found.compare("roll_back.when.health", &was.health_failing_for, &is.health_failing_for, slower);
        let blinder = match (was.vulnerability, is.vulnerability) {
            // A severity is lower the worse it is: a lower limit sees less.
            (Some(was), Some(is)) => is < was,
            (was, _) => was.is_some(),
        };
        found.compare("roll_back.when.vulnerability", &was.vulnerability, &is.vulnerability, blinder);
        let (was, is) = (self.governor, after.governor);
        let looser = is.rollbacks > was.rollbacks || is.within < was.within;
        found.compare("roll_back.most", &(was.rollbacks, was.within), &(is.rollbacks, is.within), looser);
        let looser = is.fleet > was.fleet || is.fleet_within < was.fleet_within;
        found.compare("breaker", &(was.fleet, was.fleet_within), &(is.fleet, is.fleet_within), looser);
    }
}

/// Whether a scan rule lets something through that the one before did not.
fn is_weaker(was: &ScanRule, is: &ScanRule) -> bool {
    let rank = |action: Option<&ScanAction>| match action {
        Some(ScanAction::Block { above }) => (0, *above),
        Some(ScanAction::Review { above, .. }) => (1, *above),
        None => (2, 0),
    };
    Severity::ALL.iter().any(|severity| rank(is.severities.get(severity)) > rank(was.severities.get(severity)))
        || is.max_age > was.max_age
        || is.settle < was.settle
        || is.waivers.iter().any(|waiver| !was.waivers.contains(waiver))
}

/// Whether a test is the one before, and stops at least what that one stopped.
fn is_as_strict(was: &Test, is: &Test) -> bool {
    *is == Test { on_failure: is.on_failure, ..was.clone() } && (is.on_failure == OnFailure::Stop || is == was)
}

/// Whether traffic moves with a step less than before, is watched for less at one, or waits for nobody any more.
fn is_hastier(was: &Strategy, is: &Strategy) -> bool {
    let manual = |strategy: &Strategy| matches!(strategy, Strategy::BlueGreen { manual: true, .. });
    let rolling = |strategy: &Strategy| matches!(strategy, Strategy::Rolling);
    let fewer = was.steps().iter().any(|step| !is.steps().contains(step));
    (rolling(is) && !rolling(was))
        || fewer
        || (is.steps().len() > 1 && is.every() < was.every())
        || (manual(was) && !manual(is))
}

fn texts(quorums: &[Quorum]) -> Vec<String> {
    quorums.iter().map(ToString::to_string).collect()
}

/// Differences as they are found.
#[derive(Default)]
struct Changes {
    all: Vec<Change>,
}

impl Changes {
    fn compare<T: PartialEq + Serialize>(&mut self, what: &str, before: &T, after: &T, loosens: bool) {
        if before == after || self.all.len() >= MOST_CHANGES {
            return;
        }
        self.all.push(Change { what: what.to_owned(), before: text(before), after: text(after), loosens });
    }
}

/// A value as JSON, cut; nothing for what is not there.
fn text(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    match text.as_str() {
        "null" | "[]" => String::new(),
        text => text.trim_matches('"').chars().take(MOST_TEXT).collect(),
    }
}
