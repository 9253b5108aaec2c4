//! The cluster: the fence protocol where a patch lands, and what must never happen there.

use portcullis_domain::action::Purpose;

use crate::cast::{ALL, Held, MOST_OBJECTS, PARTS, REQUIRED};
use crate::ledger::FencedWrite;
use crate::model::Model;
use crate::note::Met;
use crate::signal::Object;
use crate::state::{Patch, State};
use crate::variant::Variant;

/// What an object is created as before it is patched: it does nothing.
fn inert(held: Held) -> Held {
    match held {
        Held::Pods { image, .. } => Held::Pods { image, replicas: 0 },
        Held::Green(_) => held,
    }
}

/// Whether an object holds exactly what a write leaves.
pub(crate) fn is_written(object: &Object, seq: u64, write: &FencedWrite) -> bool {
    object.fence == seq && object.value == Some(write.to)
}

/// Whether a write may land on what is there: what it expects, with no newer fence.
pub(crate) fn accepts(variant: Variant, object: &Object, seq: u64, write: &FencedWrite) -> bool {
    if variant == Variant::NoFence {
        return true;
    }
    let found = object.value.map(|value| (object.fence, value));
    let own = object.fence == seq && (object.value == Some(write.to) || object.value == Some(inert(write.to)));
    let older = variant == Variant::AbsentIsOlder && object.fence == 0 && object.value.is_some();
    own || older || (write.from.contains(&found) && object.fence <= seq)
}

/// Ready pods that a workload really has, and goes on having.
fn serving_pods(object: &Object) -> u8 {
    match object.value {
        Some(Held::Pods { replicas, .. }) => object.ready.min(replicas),
        _ => 0,
    }
}

/// The index of the colour that has most of a service's traffic.
fn serving_colour(objects: &[Object; MOST_OBJECTS], service: usize) -> Option<usize> {
    match objects[service * PARTS + 2].value? {
        Held::Green(green) => Some(service * PARTS + usize::from(green >= ALL / 2)),
        Held::Pods { .. } => None,
    }
}

impl Model {
    /// A patch arrives: atomic test and write, or refused.
    pub(crate) fn land(&self, state: &mut State, at: usize) {
        let Patch { seq, write, orphan } = state.patches.remove(at);
        let index = usize::from(write.object);
        let object = state.objects[index];
        let wanted = state.node.target.outstanding.contains_key(&portcullis_domain::names::Seq(seq));
        if !accepts(self.world.variant, &object, seq, &write) {
            self.meet(Met::PatchRefused);
            return;
        }
        if is_written(&object, seq, &write) {
            return;
        }
        if !wanted {
            self.meet(Met::PatchLate);
        }
        if orphan {
            self.meet(Met::PatchOrphaned);
        }
        self.judge_write(state, &write);
        let created = object.value.is_none() && inert(write.to) != write.to;
        let value = if created { inert(write.to) } else { write.to };
        let image = |held: Option<Held>| match held {
            Some(Held::Pods { image, .. }) => Some(image),
            _ => None,
        };
        // New pods are not ready before they come up; scaling keeps those that are there.
        let ready = if image(object.value) == image(Some(value)) { object.ready } else { 0 };
        // A mark takes what it finds: what a person moved stays theirs.
        let by_hand = object.by_hand && object.value == Some(value) && !self.world.marks_own;
        let pruned = object.pruned && write.purpose == Purpose::Mark;
        state.objects[index] = Object { value: Some(value), fence: seq, ready, by_hand, pruned };
        if created {
            // It came up inert under its fence; the patch itself follows.
            state.patches.push(Patch { seq, write, orphan });
        }
        self.judge_traffic(state);
    }

    /// What no write of ours may do.
    fn judge_write(&self, state: &mut State, write: &FencedWrite) {
        let index = usize::from(write.object);
        let of = &state.seen.releases[release_index(write.release)];
        let back = of.back > 0 && (of.rolled_back || state.objects[index].fence >= of.back);
        // A mark moves nothing: it only fences what it found.
        if !matches!(write.purpose, Purpose::Restore | Purpose::Mark) && back {
            state.seen.bad |= 1 << 4;
        }
        if state.outside.stored & (1 << write.release) == 0 {
            state.seen.bad |= 1 << 6;
        }
        let service = index / PARTS;
        // Where a person moved the traffic, what that does is theirs: no write can test two objects at once.
        if self.cast.workers[service] || state.objects[service * PARTS + 2].by_hand {
            return;
        }
        let Some(now) = serving_colour(&state.objects, service) else { return };
        let before = serving_pods(&state.objects[now]);
        let after = match write.to {
            Held::Green(green) => serving_pods(&state.objects[service * PARTS + usize::from(green >= ALL / 2)]),
            Held::Pods { replicas, .. } if index == now => before.min(replicas),
            Held::Pods { .. } => return,
        };
        if after < REQUIRED && after < before {
            state.seen.bad |= 1 << 2;
        }
    }

    /// What serves, of every service, must be allowed to; what a person moved by hand is theirs.
    pub(crate) fn judge_traffic(&self, state: &mut State) {
        for service in 0..self.cast.services.len() {
            let first = service * PARTS;
            let serving = if self.cast.workers[service] {
                [true, true]
            } else {
                match state.objects[first + 2] {
                    Object { by_hand: true, .. } | Object { value: None | Some(Held::Pods { .. }), .. } => continue,
                    Object { value: Some(Held::Green(green)), .. } => [green < ALL, green > 0],
                }
            };
            for (colour, serves) in serving.into_iter().enumerate() {
                let object = state.objects[first + colour];
                if let (true, false, Some(Held::Pods { image, replicas: 1.. })) = (serves, object.by_hand, object.value)
                    && !self.may_serve(state, image)
                {
                    state.seen.bad |= 1 << 1;
                }
            }
        }
    }

    fn may_serve(&self, state: &State, image: u8) -> bool {
        let commit = self.cast.commit_of(image);
        commit == 1 || state.seen.releases.iter().any(|release| release.commit == commit && release.may_serve)
    }
}

/// Where a release is remembered.
pub(crate) fn release_index(release: u64) -> usize {
    usize::try_from(release.saturating_sub(1)).unwrap_or(0).min(crate::state::MOST_RELEASES - 1)
}
