//! What of a target counts, as one number: two targets with equal numbers (and equal ranks of their fences) behave
//! alike under `decide`, `next` and `apply`, whatever comes.
//!
//! Why the reduction is sound:
//! - **Ledger positions** are only ever compared with one another, for order and for equality, and a new one is greater
//!   than all before. So they are replaced by their rank among all positions that still occur anywhere in the world.
//!   The head's own position is left out: it is at least as great as all the others, and only that is ever asked.
//! - **Moments** are only ever compared with now and with one another. So they count by their distance to now; where
//!   only "is it over" is asked, everything that is over is one.
//! - **Evidence** (the judgement's text, why something was asked, the backup's place, when something was opened) is read
//!   by people, not by the three functions; where only its being there is asked, only that counts.
//! - **What never changes** in a world counts as there or not: the frozen policy, what the source says of a commit.
//!
//! Every struct is taken apart field by field and without `..`: a field that is added to the domain does not compile
//! here until somebody decided on which side it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use ahash::{AHasher, RandomState};

use portcullis_domain::action::{Action, AwaitReady, Fence, Found, Intention, Stamp, Write};
use portcullis_domain::facts::{AlarmFact, Facts};
use portcullis_domain::names::Seq;
use portcullis_domain::plan::Plan;
use portcullis_domain::target::{
    Approval, Asking, BackStep, Ended, Known, Outstanding, Progress, Release, Rollback, Step, Target, WatchState,
};
use portcullis_domain::time::{Millis, Timestamp};

/// Facts older than this are fetched again before a commit point; older is all the same.
const FRESH: Millis = Millis::minutes(1);

/// A hasher that gives the same numbers in every run.
pub(crate) fn hasher() -> AHasher {
    RandomState::with_seeds(1, 2, 3, 4).build_hasher()
}

/// A map by such numbers.
pub(crate) type Numbered<V> = HashMap<u64, V, RandomState>;

/// An empty one.
pub(crate) fn numbered<V>() -> Numbered<V> {
    HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4))
}

/// The number of a target, and the positions in it in the order in which they occur.
pub(crate) struct Canon {
    hasher: AHasher,
    seqs: Vec<u64>,
    now: Timestamp,
}

/// A target's number and its positions.
pub(crate) fn canon(target: &Target, now: Timestamp) -> (u64, Box<[u64]>) {
    let mut canon = Canon { hasher: hasher(), seqs: Vec::new(), now };
    canon.target(target);
    (canon.hasher.finish(), canon.seqs.into_boxed_slice())
}

impl Canon {
    fn plain(&mut self, value: &impl Hash) {
        value.hash(&mut self.hasher);
    }

    /// A position: by where it occurred first. Its rank in the world is added by the state.
    fn seq(&mut self, seq: Seq) {
        let at = self.seqs.iter().position(|known| *known == seq.0).unwrap_or_else(|| {
            self.seqs.push(seq.0);
            self.seqs.len() - 1
        });
        self.hasher.write_usize(at);
    }

    /// A moment, by its distance to now.
    fn moment(&mut self, at: Timestamp) {
        self.plain(&(at.0.wrapping_sub(self.now.0)));
    }

    /// A moment of which only is asked whether it is over.
    fn due(&mut self, at: Timestamp) {
        self.plain(&at.since(self.now));
    }

    fn due_if(&mut self, at: Option<Timestamp>) {
        self.plain(&at.map(|at| at.since(self.now)));
    }

    fn target(&mut self, target: &Target) {
        let Target {
            seq: _,
            ledger,
            epoch,
            raised,
            adopted,
            live,
            objects,
            releases,
            in_flight,
            live_release,
            outstanding,
            commits,
            outdated,
            quarantine,
            alarms,
            hands_off,
            rollbacks,
            line_stopped,
            vulnerable,
            policy,
            protection,
            last_return: _, // Shown as the time the way back would take.
            ended,
        } = target;
        self.plain(&(ledger.is_some(), epoch, adopted, live, in_flight, live_release));
        self.plain(&raised.len());
        for seq in raised {
            self.seq(*seq);
        }
        self.plain(&objects.len());
        for (key, Known { confirmed, meant }) in objects {
            self.plain(key);
            self.stamp(confirmed.as_ref());
            self.plain(&meant.len());
            for (seq, value) in meant {
                self.seq(*seq);
                self.plain(value);
            }
        }
        self.plain(&releases.len());
        for release in releases.values() {
            self.release(release);
        }
        self.plain(&outstanding.len());
        for (seq, Outstanding { release, intention }) in outstanding {
            self.seq(*seq);
            self.plain(release);
            self.intention(intention);
        }
        self.plain(&(commits, outdated, quarantine));
        self.plain(&alarms.len());
        for (name, AlarmFact { state, changed_at }) in alarms {
            self.plain(&(name, state));
            self.moment(*changed_at);
        }
        self.due_if(*hands_off);
        self.plain(&rollbacks.len());
        for at in rollbacks {
            self.moment(*at);
        }
        self.plain(&(line_stopped.is_some(), vulnerable, policy.is_some(), protection.is_some()));
        self.plain(&ended.len());
        for Ended { release, commit, verified, at: _, digests, tree } in ended {
            self.plain(&(release, commit, verified, digests, tree));
        }
    }

    fn release(&mut self, release: &Release) {
        let Release {
            id,
            commit,
            opened_at: _,
            requested_by,
            typed,
            forward_only,
            commit_facts,
            phase,
            phase_since: _,
            until,
            remind_at,
            artifacts,
            moved_tags,
            facts,
            doubt,
            plan,
            judgement,
            approvals,
            glass,
            findings,
            accepted_alarms,
            paused,
            promoted,
            policy,
            before,
            backup,
            progress,
            bundles,
            tests_passed,
            serving_since,
            watch,
            rollback,
            asking,
            resolving,
            live_at: _,
            keep_old_until,
        } = release;
        self.plain(&(id, commit, requested_by, typed, forward_only, commit_facts.is_some(), phase));
        self.due_if(*until);
        self.due_if(*remind_at);
        self.plain(&(artifacts, moved_tags, doubt.is_some()));
        self.plain(&facts.is_some());
        if let Some(facts) = facts {
            self.facts(facts);
        }
        self.plain(&plan.as_ref().map(|Plan { id, hash: _, policy: _, evidence }| (id, evidence)));
        self.plain(&judgement.as_ref().map(portcullis_domain::verdict::Judgement::verdict));
        let mut voters: Vec<_> =
            approvals.iter().map(|Approval { plan, who, at: _, typed }| (plan, who, typed)).collect();
        voters.sort();
        self.plain(&voters);
        self.plain(&(glass, findings, accepted_alarms, paused, promoted, policy.is_some(), before, backup.is_some()));
        self.plain(bundles);
        for (service, Progress { colour, replicas, changes, step, share }) in progress {
            self.plain(&(service, colour, replicas, changes, share));
            self.step(*step);
        }
        self.plain(tests_passed);
        self.plain(&serving_since.map(|at| at.0.wrapping_sub(self.now.0)));
        self.plain(&watch.is_some());
        if let Some(watch) = watch {
            self.watch(watch);
        }
        self.plain(&rollback.is_some());
        if let Some(rollback) = rollback {
            self.rollback(rollback);
        }
        // How loud it is does not change what is done.
        self.due_if(asking.as_ref().map(|Asking { why: _, until, level: _ }| *until));
        self.plain(&resolving.is_some());
        self.due_if(*keep_old_until);
    }

    fn watch(&mut self, watch: &WatchState) {
        let WatchState { since: _, measured_to, healthy, inconclusive, requests: _, failed: _, breaches, unready } =
            watch;
        self.moment(*measured_to);
        self.plain(&(healthy, inconclusive, breaches, unready.len()));
        for (service, since) in unready {
            self.plain(service);
            self.moment(*since);
        }
    }

    fn rollback(&mut self, rollback: &Rollback) {
        // Its own position is what the world's invariants ask for; they keep it themselves.
        let Rollback { why: _, since: _, seq: _, to, steps, restored_at, stuck } = rollback;
        self.plain(&(to, restored_at.is_some(), stuck));
        for (service, step) in steps {
            self.plain(service);
            self.back_step(*step);
        }
    }

    fn step(&mut self, step: Step) {
        self.plain(&std::mem::discriminant(&step));
        match step {
            Step::Deploying(seq)
            | Step::Deployed(seq)
            | Step::Rising(seq)
            | Step::Claiming(seq)
            | Step::Claimed(seq)
            | Step::Confirming(seq)
            | Step::Switching(seq)
            | Step::Stopping(seq)
            | Step::Stopped(seq)
            | Step::Ending(seq) => self.seq(seq),
            Step::Idle | Step::Up | Step::Firm | Step::Switched | Step::Clear => {}
        }
    }

    fn back_step(&mut self, step: BackStep) {
        self.plain(&std::mem::discriminant(&step));
        match step {
            BackStep::Stopping(seq)
            | BackStep::Stopped(seq)
            | BackStep::Ending(seq)
            | BackStep::Claiming(seq)
            | BackStep::Claimed(seq)
            | BackStep::Confirming(seq)
            | BackStep::Switching(seq)
            | BackStep::Draining(seq) => self.seq(seq),
            BackStep::Idle | BackStep::Clear | BackStep::Firm | BackStep::Back | BackStep::Done => {}
        }
    }

    fn stamp(&mut self, stamp: Option<&Stamp>) {
        let Some(Stamp { fence, value }) = stamp else { return self.plain(&0_u8) };
        match fence {
            None => self.plain(&1_u8),
            Some(Fence { ledger, epoch, seq }) => {
                self.plain(&(2_u8, ledger, epoch));
                self.seq(*seq);
            }
        }
        self.plain(value);
    }

    fn intention(&mut self, intention: &Intention) {
        // The place is the policy's and never changes here.
        let Intention { action, place: _, not_before, every, deadline } = intention;
        self.due(*not_before);
        self.due(*deadline);
        self.plain(&(every, std::mem::discriminant(action)));
        match action {
            Action::Write(Write { object, from, to, purpose, bundle }) => {
                self.plain(&(object, to, purpose, bundle, from.len()));
                for stamp in from {
                    self.stamp(stamp.as_ref());
                }
            }
            Action::AwaitReady(AwaitReady { object, digest, replicas, after }) => {
                self.plain(&(object, digest, replicas));
                self.seq(*after);
            }
            Action::Look(look) => self.plain(look),
            Action::BackUp { prefix, keep, secrets } => self.plain(&(prefix, keep, secrets)),
            Action::RunTest { test, against } => self.plain(&(test, against)),
            Action::Measure(measure) => self.plain(measure),
            Action::Observe => {}
        }
    }

    fn facts(&mut self, facts: &Facts) {
        let Facts { fetched_at, images, scans, alarms, commit, objects, manifests, bundles, promoted, room, missing } =
            facts;
        self.plain(&self.now.since(*fetched_at).min(Millis(FRESH.0 + 1)));
        self.plain(&(images, scans, commit.is_some(), manifests, bundles, promoted, room, missing));
        for (name, AlarmFact { state, changed_at }) in alarms {
            self.plain(&(name, state));
            self.moment(*changed_at);
        }
        for (key, Found { stamp, ready: _, foreign, written_by: _, moved_by: _, wanted: _, problems: _ }) in objects {
            self.plain(&(key, foreign));
            self.stamp(stamp.as_ref());
        }
    }
}
