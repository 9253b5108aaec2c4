//! The invariants of the design as named properties, and what must happen somewhere.

use stateright::Property;

use crate::model::Model;
use crate::note::Met;
use crate::state::State;

/// The ten invariants, in the design's order.
pub const INVARIANTS: [&str; 10] = [
    "1. No traffic ever reaches a digest set whose gates did not hold at its commit point for exactly that plan",
    "2. No act of ours points a Service at, or scales down, a colour so that fewer ready pods serve than required",
    "3. An approval counts only for its plan, once per human, never from an excluded person",
    "4. After RollbackBegan nothing moves forward, whichever driver is how late",
    "5. At most one release in flight per target",
    "6. The backup is durable and verified before the first change",
    "7. Every release settles, or waits for a named person and escalates at each expiry",
    "8. Duplicates, reordering and loss of messages do not change where a release ends",
    "9. A crash at any point between any two effects converges to the same end",
    "10. Every decision is in the ledger with its facts, its policy hash and its actor",
];

/// The properties of a world. All ten are asked of every world; the last but one only mean something where the world
/// names the ends they compare with.
pub(crate) fn of() -> Vec<Property<Model>> {
    let conditions: [fn(&Model, &State) -> bool; 10] = [
        |_, state| is_good(state, 1),
        |_, state| is_good(state, 2),
        |_, state| is_good(state, 3),
        |_, state| is_good(state, 4),
        |_, state| one_in_flight(state),
        |_, state| is_good(state, 6),
        |model, state| is_broken(state) || !model.end(state).stuck,
        |model, state| !model.world.loses_messages() || ends_as_allowed(model, state),
        |model, state| !model.world.crashes() || ends_as_allowed(model, state),
        |_, state| is_good(state, 10),
    ];
    let mut properties: Vec<Property<Model>> =
        INVARIANTS.into_iter().zip(conditions).map(|(name, condition)| Property::always(name, condition)).collect();
    for (index, (_, name)) in Met::ALL.into_iter().enumerate() {
        properties.push(Property::sometimes(name, SOMETIMES[index]));
    }
    properties
}

fn is_good(state: &State, invariant: u8) -> bool {
    state.seen.bad & (1 << invariant) == 0
}

fn ends_as_allowed(model: &Model, state: &State) -> bool {
    is_broken(state) || model.allowed.contains(&model.end(state))
}

/// Whether an invariant of the moment is broken in a state.
pub(crate) fn is_broken(state: &State) -> bool {
    state.seen.bad != 0 || !one_in_flight(state)
}

fn one_in_flight(state: &State) -> bool {
    let target = &state.node.target;
    let mut flying = target.releases.values().filter(|release| release.phase.in_flight());
    let first = flying.next().map(|release| release.id);
    flying.next().is_none() && first == target.in_flight
}

macro_rules! sometimes {
    ($($index:literal)*) => {
        [$(|model: &Model, _: &State| model.tell(Met::ALL[$index].0)),*]
    };
}

/// Whether something happened on any path so far: a state does not remember how it was reached.
const SOMETIMES: [fn(&Model, &State) -> bool; Met::ALL.len()] =
    sometimes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27);
