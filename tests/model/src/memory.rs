//! What the invariants remember of what was appended, and the judging that needs the world's truth: what was really
//! read, stored, said and stopped.

use crate::cast::PARTS;
use crate::cluster::release_index;
use crate::ledger::Decided;
use crate::model::Model;
use crate::note::Note;
use crate::signal::Object;
use crate::state::{OfRelease, Read, State, WAKE};

impl Model {
    /// Takes what was appended into the state, and into what the invariants remember.
    pub(crate) fn absorb(&self, state: &mut State, decided: &Decided) {
        if self.world.wakes && decided.node.id != state.node.id {
            state.messages[WAKE] = 1;
        }
        state.node = decided.node.clone();
        for note in &decided.notes {
            self.remember(state, note);
        }
    }

    fn remember(&self, state: &mut State, note: &Note) {
        let quorum = u32::from(self.world.quorum);
        let stopped = state.outside.stopped;
        let of = |release: &u64| release_index(*release);
        match note {
            Note::Looked(release, clean) => {
                state.seen.releases[of(release)].read = if *clean { Read::Clean } else { Read::Dirty };
            }
            Note::Opened(release, commit) => {
                state.seen.releases[of(release)] = OfRelease { commit: *commit, ..OfRelease::default() };
            }
            Note::Planned(release, plan) => {
                let of = &mut state.seen.releases[of(release)];
                let same_again = if of.older == Some(*plan) { of.older_yes } else { 0 };
                (of.older, of.older_yes) = (of.plan, of.yes);
                (of.plan, of.yes) = (Some(*plan), same_again);
            }
            Note::Approved(release, who, plan, seen) => {
                let of = &mut state.seen.releases[of(release)];
                let counts = *who < 2 && Some(*plan) == of.plan && Some(*plan) == *seen;
                of.yes |= if counts { 1 << who } else { 0 };
            }
            Note::Began(release, plan) => {
                let of = &mut state.seen.releases[of(release)];
                let approved = of.yes.count_ones() >= quorum && of.plan == Some(*plan);
                of.began = approved && of.read == Read::Clean && !stopped;
                state.seen.bad |= if approved { 0 } else { 1 << 3 };
            }
            Note::MayServe(release) => {
                let of = &mut state.seen.releases[of(release)];
                let approved = of.yes.count_ones() >= quorum;
                of.may_serve = of.began && approved && of.read == Read::Clean && !stopped;
                state.seen.bad |= if approved { 0 } else { 1 << 3 };
            }
            Note::Intended(release, _, forward) => {
                let of = &state.seen.releases[of(release)];
                if *forward && of.back > 0 {
                    state.seen.bad |= 1 << 4;
                }
                if state.outside.stored & (1 << release) == 0 {
                    state.seen.bad |= 1 << 6;
                }
            }
            Note::BackBegan(release, seq) => state.seen.releases[of(release)].back = *seq,
            Note::RolledBack(release, objects) => {
                state.seen.releases[of(release)].rolled_back = true;
                let back = state.seen.releases[of(release)].back;
                if !self.is_covered(state, back, *objects) {
                    state.seen.bad |= 1 << 4;
                }
            }
            Note::Met(met) => self.meet(*met),
            Note::Unrecorded(_) => state.seen.bad |= 1 << 10,
        }
    }

    /// Whether every object that a release could have named is fenced by its way back (or was changed by hand since).
    fn is_covered(&self, state: &State, back: u64, named: u8) -> bool {
        let rolling = !crate::ledger::is_blue_green(&self.cast.policy);
        let covered = |(at, object): (usize, &Object)| {
            let never_named = rolling && at % PARTS != 0;
            named & (1 << at) == 0
                || !self.cast.exists(at)
                || never_named
                || object.by_hand
                || object.pruned
                || object.fence >= back
        };
        state.objects.iter().enumerate().all(covered)
    }
}
