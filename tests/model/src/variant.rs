//! The broken variants: each takes one rule of the design away, so that the invariant it carries is seen to fail.
//! The domain is never changed; what it is told, what is made of its answer, or what drivers and the cluster do, is.

use std::sync::Arc;

use portcullis_domain::event::{Actor, Event, What};
use portcullis_domain::given::Given;
use portcullis_domain::names::Seq;
use portcullis_domain::target::{BackStep, Phase, Target};
use portcullis_domain::{apply, decide};

use crate::cast::{Cast, MOST_OBJECTS};
use crate::ledger::Node;
use crate::signal::{Ask, Hand, Object, Scan, Sig, Snapshot, facts};

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// None.
    Sound,
    /// Writes land whatever is there.
    NoFence,
    /// A claim is reported as written, without writing.
    NoClaim,
    /// `RolledBack` as soon as the traffic of what was switched is back.
    PartialRollback,
    /// An object without an annotation is taken for an older one.
    AbsentIsOlder,
    /// An outcome counts for whatever is outstanding on its object.
    OutcomeForAnyIntention,
    /// A scan message's clean counts are taken as facts.
    MessagePassesGate,
    /// An approval counts for whatever plan there is now.
    ApprovalForAnyPlan,
    /// A decision is appended to whatever the ledger is by then.
    AppendToAnyVersion,
    /// The backup is reported before it is stored and read back.
    BackupNotRead,
    /// Lost wakes stay lost.
    NoSweep,
    /// A message is done when it was seen.
    SeenIsDone,
    /// What is being done is known only to the driver that does it.
    OnlyTheDriverKnows,
    /// Facts and judgements do not go into the ledger.
    NothingRecorded,
}

/// What is heard instead of what was said.
pub(crate) fn heard(variant: Variant, node: &Node, sig: &Sig) -> Sig {
    match (variant, sig) {
        (Variant::ApprovalForAnyPlan, Sig::Person { who, ask: Ask::Approve, release, .. }) => {
            let found = node.target.releases.values().find(|known| known.id.0 == *release);
            let plan = found.and_then(|release| release.plan.as_ref()).map(|plan| plan.id);
            Sig::Person { who: *who, ask: Ask::Approve, release: *release, plan }
        }
        (Variant::OutcomeForAnyIntention, Sig::Outcome { seq, hand: Hand::Written(object) })
            if !node.target.outstanding.contains_key(&Seq(*seq)) =>
        {
            let on_object = node
                .due
                .iter()
                .find(|due| matches!(&due.task, crate::ledger::Task::Write(write) if write.object == *object));
            let seq = on_object.map_or(*seq, |due| due.seq);
            Sig::Outcome { seq, hand: Hand::Written(*object) }
        }
        _ => sig.clone(),
    }
}

/// What is decided instead; `None` = the real decision.
pub(crate) fn instead(variant: Variant, cast: &Cast, node: &Node, sig: &Sig, given: &Given) -> Option<Vec<Event>> {
    let (Variant::MessagePassesGate, Sig::Scan { clean: true, .. }) = (variant, sig) else { return None };
    let mut target = node.target.clone();
    let waiting = target.releases.values().find(|release| release.phase == Phase::Gated)?;
    let (release, known) = (waiting.id, waiting.facts.clone()?);
    let nothing_found = Snapshot { objects: [Object::default(); MOST_OBJECTS], scans: [Scan::Clean; 3], alarm: None };
    let scans = facts(cast, node, Seq(0), &nothing_found).scans;
    let told = Arc::new(portcullis_domain::facts::Facts { fetched_at: given.now, scans, ..(*known).clone() });
    let what = What::FactsRead { release, facts: told };
    let first = Event { seq: Seq(target.seq.0 + 1), at: given.now, actor: Actor::Outside, what };
    apply(&mut target, &first);
    let more = decide(&target, &cast.policy, &portcullis_domain::signal::Signal::Wake, given);
    Some(std::iter::once(first).chain(more).collect())
}

/// What is appended of what was decided.
pub(crate) fn appended(variant: Variant, before: &Target, mut events: Vec<Event>) -> Vec<Event> {
    match variant {
        Variant::NothingRecorded => {
            events.retain(|event| !matches!(event.what, What::FactsRead { .. } | What::Judged { .. }));
        }
        Variant::PartialRollback => {
            let mut target = before.clone();
            for at in 0..events.len() {
                apply(&mut target, &events[at]);
                if let Some(what) = returned(&target) {
                    let (when, actor) = (events[at].at, events[at].actor.clone());
                    events.truncate(at + 1);
                    events.push(Event { seq: Seq(target.seq.0 + 1), at: when, actor, what });
                    break;
                }
            }
        }
        _ => {}
    }
    events
}

/// `RolledBack`, if the traffic of every service that was switched is back.
fn returned(target: &Target) -> Option<What> {
    let release = target.releases.values().find(|release| release.phase == Phase::RollingBack)?;
    let rollback = release.rollback.as_ref()?;
    let back = rollback.steps.iter().all(|(service, step)| {
        let switched = release.progress.get(service).is_some_and(|progress| progress.share > 0);
        !switched || matches!(step, BackStep::Back | BackStep::Draining(_) | BackStep::Done)
    });
    back.then_some(What::RolledBack { release: release.id, restored_at: rollback.since })
}
