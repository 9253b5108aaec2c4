//! One release of the demo, told from its ledger as it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_domain::action::{Action, Part, Purpose, Value};
use portcullis_domain::event::{Event, Reason, What};
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::plan::PlanId;
use portcullis_domain::policy::Metric;
use portcullis_domain::target::Phase;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_domain::verdict::{GateResult, Judgement, Verdict};

use super::Teller;
use super::world::{Version, World};
use crate::api::Ask;
use crate::exit;
use crate::show::screen::{Screen, Tone};
use crate::show::text::{count, pad};
use crate::view::{Fold, traffic_back};
use crate::words::{Line, Narrator};

/// How often the ledger is read.
const LOOK: Duration = Duration::from_millis(20);
/// A release that is not over after so long without a question to a person did not go as shown: on this machine, and on
/// a cluster, where images may have to be pulled.
const PATIENCE: (Millis, Millis) = (Millis::seconds(90), Millis::minutes(6));
/// The pods of before are let go within so long.
const SETTLING: (Millis, Millis) = (Millis::seconds(10), Millis::seconds(60));
/// Columns of the verb.
const VERB: usize = 17;

/// How a release is meant to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Live.
    Live,
    /// Rolled back.
    RolledBack,
}

/// What a release was, and when it hurt.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Its number.
    pub(crate) id: ReleaseId,
    /// What was released.
    pub(crate) version: Version,
    /// When the way back was decided.
    pub(crate) noticed: Option<Timestamp>,
    /// When traffic was back.
    pub(crate) restored: Option<Timestamp>,
}

/// Tells releases.
pub(crate) struct Story<'a> {
    world: &'a World,
    teller: Teller,
    screen: Screen,
    yes: bool,
    fold: Fold,
    narrator: Narrator,
    serving: String,
    last_saw: String,
}

/// One release on its way.
struct Running {
    id: Option<ReleaseId>,
    version: Version,
    asked: Option<PlanId>,
    switches: BTreeMap<Seq, Timestamp>,
    switched: Option<(Timestamp, Timestamp)>,
    lost_before: u64,
    noticed: Option<Timestamp>,
    restored: Option<Timestamp>,
    events: Vec<Event>,
    ended: bool,
}

impl<'a> Story<'a> {
    /// With `yes` it answers itself.
    pub(crate) fn new(world: &'a World, teller: Teller, yes: bool) -> Self {
        Self {
            screen: teller.out.screen,
            serving: world.baseline.name.clone(),
            fold: Fold::new(world.target.clone()),
            narrator: Narrator::default(),
            last_saw: String::new(),
            world,
            teller,
            yes,
        }
    }

    /// Pushes a version and tells what comes of it, to its end.
    pub(crate) async fn release(&mut self, version: &Version, expect: Expect, what: &str) -> anyhow::Result<Told> {
        let before = self.serving.clone();
        let mut running = Running {
            id: None,
            version: version.clone(),
            asked: None,
            switches: BTreeMap::new(),
            switched: None,
            lost_before: self.lost(),
            noticed: None,
            restored: None,
            events: Vec::new(),
            ended: false,
        };
        self.catch_up().await?;
        let next = self.world.stack.ports.ledger.next_release().await?;
        let title = format!("{}   release {next}   {before} -> {}", self.world.target, version.name);
        self.teller.say(&format!("\n{}", self.screen.sides(&title, what, Tone::Plain)))?;
        let pushed = self.now();
        let images = self.world.push(version).await?;
        let source = "events/ecr/image-action-push.json";
        self.line(
            pushed,
            "image pushed",
            &format!("{} {source}", pad(&format!("{images} of {images}"), 28)),
            Tone::Plain,
        )?;
        let patience = self.either(PATIENCE);
        let mut deadline = self.now() + patience;
        while !running.ended {
            if self.now() > deadline {
                let state = self.fold.summaries().next().map(|release| release.state.name());
                let state = state.unwrap_or("not even opened");
                anyhow::bail!("release {next} took longer than {patience}: it is {state}");
            }
            for event in self.news().await? {
                self.fold.absorb(&event);
                self.tell(&event, &mut running)?;
            }
            if self.ask(&mut running).await? {
                deadline = self.now() + patience;
            }
            tokio::time::sleep(LOOK).await;
        }
        if expect == Expect::Live && running.restored.is_none() {
            self.serving.clone_from(&version.name);
        }
        let id = running.id.unwrap_or(next);
        Ok(Told { id, version: version.clone(), noticed: running.noticed, restored: running.restored })
    }

    /// Reads what is in the ledger already, and waits until the pods of before are let go: until then the next
    /// release would wait for its turn.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        let deadline = self.now() + self.either(SETTLING);
        loop {
            for event in self.news().await? {
                self.fold.absorb(&event);
                self.narrator.tell(&event);
            }
            let state = self.fold.state();
            let live = state.live_release.and_then(|id| state.releases.get(&id));
            let kept = live.is_some_and(|release| release.keep_old_until.is_some());
            if !kept || self.now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The first of them on this machine, the second on a cluster.
    fn either(&self, (here, elsewhere): (Millis, Millis)) -> Millis {
        if self.world.is_elsewhere() { elsewhere } else { here }
    }

    async fn news(&self) -> anyhow::Result<Vec<Event>> {
        self.world.library.events(&self.world.target, self.fold.state().seq).await
    }

    fn now(&self) -> Timestamp {
        self.world.stack.ports.clock.now()
    }

    fn lost(&self) -> u64 {
        self.world.reports().iter().map(|report| report.lost).sum()
    }

    /// `  13.6 s   switched         ...`
    fn line(&self, at: Timestamp, verb: &str, detail: &str, tone: Tone) -> anyhow::Result<()> {
        let since = at.since(self.world.began).0;
        let moment = format!("{}.{} s", since / 1_000, since % 1_000 / 100);
        let verb = self.screen.paint(tone, &pad(verb, VERB));
        self.teller.say(format!("{moment:>9}   {verb}{}", self.screen.cut(&self.screen.safe(detail), 71)).trim_end())
    }

    fn tell(&mut self, event: &Event, running: &mut Running) -> anyhow::Result<()> {
        let lines = self.narrator.tell(event);
        match &event.what {
            What::Opened { release, .. } if running.id.is_none() => running.id = Some(*release),
            What::Approved { .. } => self.world.allow([&self.serving, &running.version.name]),
            What::Intended { intention, .. } => {
                if let Action::Write(write) = &intention.action
                    && write.object.part == Part::Traffic
                    && matches!((write.purpose, write.to), (Purpose::Switch, Value::Traffic { .. }))
                {
                    running.switches.insert(event.seq, event.at);
                }
            }
            What::Done { intention, .. } => {
                if let Some(began) = running.switches.get(intention) {
                    let from = running.switched.map_or(*began, |(from, _)| from);
                    running.switched = Some((from, event.at));
                }
            }
            _ => {}
        }
        self.tell_turn(event, running)?;
        for line in lines.into_iter().filter(is_told) {
            self.line(line.at, &line.verb, &line.plain(), line.tone)?;
        }
        running.events.push(event.clone());
        if let (None, Some(since)) = (running.restored, running.noticed)
            && let Some(at) = traffic_back(&running.events)
        {
            self.restored(at, since, running)?;
        }
        Ok(())
    }

    /// The turns of a release that the demo tells in its own words: with versions instead of colours.
    fn tell_turn(&mut self, event: &Event, running: &mut Running) -> anyhow::Result<()> {
        match &event.what {
            What::Entered { phase: Phase::Watching, .. } => {
                if let Some((from, to)) = running.switched {
                    let lost = self.lost().saturating_sub(running.lost_before);
                    let bar = self.screen.bar(10_000);
                    let took = pad(&format!("{} ms", to.since(from).0), 8);
                    let lost = format!("{} lost", count(lost, "request"));
                    let detail = format!("{} {bar} {}      {took}{lost}", self.serving, running.version.name);
                    self.line(to, "switched", &detail, Tone::Plain)?;
                }
            }
            What::RollbackBegan { why, .. } => {
                running.noticed = Some(event.at);
                let words = match why {
                    Reason::Threshold { service, metric, value, rule, .. } => {
                        let metric_name = if *metric == Metric::ErrorRate { "errors" } else { metric.name() };
                        format!("{metric_name} {}, {rule}    ({service})", metric.show(*value))
                    }
                    other => other.to_string(),
                };
                self.line(event.at, "watch", &words, Tone::Warn)?;
            }
            What::WentLive { .. } => {
                let watch = self.fold.state().live_release.and_then(|id| self.fold.state().releases.get(&id));
                let watched = watch.and_then(|release| release.watch.as_ref()).map_or(Millis(0), |watch| watch.healthy);
                let saw = self.last_saw.split("  ").next().unwrap_or_default();
                let words = format!("watched {watched}: {saw}");
                self.line(event.at, "LIVE", &words, Tone::Good)?;
                self.world.allow([&running.version.name]);
                running.ended = true;
            }
            What::RolledBack { restored_at, .. } => {
                if running.restored.is_none() {
                    let since = running.noticed.unwrap_or(*restored_at);
                    self.restored(*restored_at, since, running)?;
                }
                self.world.allow([&self.serving]);
                running.ended = true;
            }
            What::Settled { why, end, .. } if event.what.release() == running.id => {
                let words = format!("release {} ended {end:?}: {why}", running.id.map_or(0, |id| id.0));
                return Err(exit::refused(words));
            }
            What::NeedsHelp { why, .. } => anyhow::bail!("a person is needed: {why}"),
            What::Measured { saw, .. } => self.last_saw.clone_from(saw),
            _ => {}
        }
        Ok(())
    }

    fn restored(&self, at: Timestamp, since: Timestamp, running: &mut Running) -> anyhow::Result<()> {
        running.restored = Some(at);
        let bar = self.screen.bar(10_000);
        let took = at.since(since).0;
        let words = format!("{} {bar} {}      {took} ms after the decision", running.version.name, self.serving);
        self.line(at, "ROLLED BACK", &words, Tone::Warn)
    }

    /// Asks for an approval once everything else holds; true if somebody was asked.
    async fn ask(&mut self, running: &mut Running) -> anyhow::Result<bool> {
        let Some(id) = running.id else { return Ok(false) };
        let Some(release) = self.fold.state().releases.get(&id) else { return Ok(false) };
        let (Some(plan), Some(judgement)) = (release.plan.as_ref().map(|plan| plan.id), &release.judgement) else {
            return Ok(false);
        };
        if release.phase != Phase::Gated || running.asked == Some(plan) || !waits_for_approval_only(judgement) {
            return Ok(false);
        }
        running.asked = Some(plan);
        let gates: Vec<String> = judgement.gates.iter().filter_map(|gate| gate_in_words(self.screen, gate)).collect();
        let (at, gates) = (judgement.at, gates.join("   "));
        self.line(at, "gates", &gates, Tone::Plain)?;
        let question = format!("{}Approve plan {plan} for {}?", " ".repeat(12), self.world.target);
        let approved = if self.yes {
            self.teller.say(&format!("{question} --yes                       (as demo)"))?;
            true
        } else {
            tokio::task::spawn_blocking(move || crate::ask::yes(&question)).await??
        };
        if !approved {
            let reason = "not approved at the terminal".to_owned();
            self.world.ask(&Ask::Reject { release: id, reason }).await?;
            return Ok(true);
        }
        self.world.ask(&Ask::Approve { release: id, plan, typed: None }).await?;
        Ok(true)
    }
}

/// One gate in a few words; `None` for one that need not be shown.
fn gate_in_words(screen: Screen, gate: &GateResult) -> Option<String> {
    // Without colour: the line is made safe as a whole, and would lose the escape codes their beginning.
    let mark = Screen { colour: false, ..screen }.mark(gate.verdict);
    match gate.gate.as_str() {
        "images" => Some(format!("{} images", mark.trim_end())),
        "scan" => {
            let critical = gate.why.split(',').next().unwrap_or_default();
            Some(format!("{} scan {critical}", mark.trim_end()))
        }
        "approval" => Some(format!("{} approval {}", mark.trim_end(), gate.why)),
        _ if gate.verdict != Verdict::Pass => Some(format!("{} {}", mark.trim_end(), gate.gate)),
        _ => None,
    }
}

/// Whether the only gate that holds is the approval.
fn waits_for_approval_only(judgement: &Judgement) -> bool {
    let mut held = judgement.gates.iter().filter(|gate| gate.verdict != Verdict::Pass);
    held.next().is_some_and(|gate| gate.gate == "approval") && held.next().is_none()
}

/// Lines in the common words; the others are told in the demo's own.
fn is_told(line: &Line) -> bool {
    let up = line.verb.ends_with(" up");
    let known = matches!(line.verb.as_str(), "backed up" | "verified");
    let odd = matches!(line.tone, Tone::Bad)
        || matches!(line.verb.as_str(), "not ready" | "drift" | "doubt" | "refused" | "tag moved");
    (up || known || odd) && line.moved.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_in_words_survives_being_made_safe_on_a_screen_with_colour() {
        let screen = Screen { ascii: false, colour: true };
        for gate in [GateResult::pass("images", "3 of 3"), GateResult::hold("approval", "0 of 1", "kofi approves")] {
            let words = gate_in_words(screen, &gate).unwrap();
            assert_eq!(screen.safe(&words), words);
            assert!(!words.contains('['), "{words}");
        }
    }
}
