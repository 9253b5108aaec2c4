//! The worlds: several small ones rather than one large. Each has what the others leave out.

use crate::cast::Shape;
use crate::signal::{Ask, Scan};
use crate::state::Left;
use crate::variant::Variant;
use crate::world::{Begin, Drift, World};

/// No budget at all.
const NONE: Left = Left {
    crashes: 0,
    losses: 0,
    doubles: 0,
    ticks: 0,
    approvals: 0,
    commands: 0,
    drifts: 0,
    pushes: 0,
    alarms: 0,
    scans: 0,
    stops: 0,
};

/// The worlds that are explored whole in every test run.
pub fn ci() -> Vec<World> {
    vec![
        World {
            left: Left { crashes: 2, ticks: 3, approvals: 1, ..NONE },
            ..World::plain("crashes", "one service; two drivers, two crashes, late patches, deadlines that pass")
        },
        World {
            begin: Begin::Gated,
            left: Left { crashes: 2, ticks: 1, approvals: 1, commands: 2, ..NONE },
            asks: &[Ask::RollBack, Ask::Cancel],
            ..World::plain("rollback", "a person rolls back or cancels at any time, twice; two crashes")
        },
        World {
            begin: Begin::Live,
            left: Left { crashes: 2, ticks: 3, commands: 2, ..NONE },
            asks: &[Ask::RollBack, Ask::CloseWindow],
            ..World::plain("live", "a live release: its old colour is let go while a person rolls back; two crashes")
        },
        World {
            left: Left { crashes: 1, ticks: 1, approvals: 2, commands: 1, pushes: 1, ..NONE },
            asks: &[Ask::RollBack],
            ..World::plain("two", "two releases of one target, the second pushed at any time; a crash, a rollback")
        },
        World {
            left: Left { losses: 2, doubles: 2, ticks: 3, approvals: 2, pushes: 1, ..NONE },
            patient: true,
            converges: true,
            people_come: true,
            ..World::plain("messages", "two pushes by a lossy, doubling, reordering queue; the end is always the same")
        },
        World {
            left: Left { crashes: 2, ticks: 3, approvals: 1, ..NONE },
            patient: true,
            converges: true,
            people_come: true,
            stale_reads: true,
            ..World::plain(
                "converges",
                "two crashes anywhere, reads that are old when recorded; the end is always the same",
            )
        },
        World {
            left: Left { crashes: 1, losses: 2, doubles: 1, ticks: 3, approvals: 1, ..NONE },
            wakes: true,
            patient: true,
            converges: true,
            people_come: true,
            drivers: 1,
            ..World::plain(
                "wakes",
                "a driver that acts only when woken; wakes are lost, the sweep finds what is overdue",
            )
        },
        World {
            quorum: 2,
            left: Left { ticks: 1, approvals: 4, drifts: 1, commands: 1, ..NONE },
            voters: &[0, 1, 2],
            asks: &[Ask::Reject],
            drifts: &[Drift::Traffic],
            ..World::plain("approvals", "two approvals needed; the author tries, older plans are approved, a veto")
        },
        World {
            scan: Scan::Running,
            left: Left { doubles: 1, losses: 1, ticks: 2, approvals: 2, scans: 1, pushes: 1, ..NONE },
            ..World::plain("scans", "a scan that runs is said to be clean; a second push replaces it")
        },
        World {
            left: Left { crashes: 1, losses: 1, ticks: 1, approvals: 1, scans: 1, ..NONE },
            ..World::plain("worse", "a clean scan turns out critical at any time; the message may be lost")
        },
        World {
            begin: Begin::Deploying,
            left: Left { crashes: 1, losses: 1, doubles: 1, ticks: 2, alarms: 1, commands: 1, ..NONE },
            asks: &[Ask::RollBack],
            ..World::plain("alarm", "an alarm rings at any time, its message lost or doubled; a crash, a person")
        },
        World {
            begin: Begin::Deploying,
            left: Left { crashes: 1, ticks: 1, commands: 1, drifts: 1, ..NONE },
            asks: &[Ask::RollBack, Ask::Resolve],
            drifts: &[Drift::Traffic, Drift::Scale],
            ..World::plain("drift", "a person moves traffic or scales by hand; a crash, a rollback or a resolve")
        },
        World {
            shape: Shape::Worker,
            begin: Begin::Gated,
            left: Left { crashes: 2, ticks: 1, approvals: 1, commands: 1, ..NONE },
            asks: &[Ask::RollBack],
            ..World::plain("worker", "a worker whose old and new never overlap; two crashes, a rollback")
        },
        World {
            shape: Shape::Rolling,
            begin: Begin::Gated,
            left: Left { crashes: 2, ticks: 1, approvals: 1, commands: 1, ..NONE },
            asks: &[Ask::RollBack],
            ..World::plain("rolling", "a service changed in place; two crashes, a rollback")
        },
        World {
            shape: Shape::WebAndWorker,
            begin: Begin::Switching,
            left: Left { crashes: 1, ticks: 0, commands: 1, ..NONE },
            asks: &[Ask::RollBack],
            ..World::plain("graph", "a service and a worker that may overlap, in two waves; a crash, a rollback")
        },
        World {
            left: Left { crashes: 1, ticks: 1, approvals: 1, stops: 2, commands: 2, ..NONE },
            asks: &[Ask::Pause, Ask::Resume],
            ..World::plain("stops", "everything is stopped and goes on; a person pauses; a crash")
        },
        World {
            begin: Begin::Gated,
            left: Left { crashes: 2, losses: 1, doubles: 1, ticks: 1, approvals: 2, commands: 1, pushes: 1, ..NONE },
            asks: &[Ask::RollBack],
            patient: true,
            ..World::plain("everything", "two releases, two drivers, a lossy and doubling queue, two crashes, a person")
        },
    ]
}

/// The broken variants, each in a world where it is caught, with the number of the invariant that is seen to fail.
pub fn broken() -> Vec<(World, usize)> {
    let gated = World { begin: Begin::Gated, ..World::plain("", "") };
    let rollback =
        World { left: Left { crashes: 1, approvals: 1, commands: 1, ..NONE }, asks: &[Ask::RollBack], ..gated.clone() };
    let patient = World { patient: true, converges: true, people_come: true, ..World::plain("", "") };
    let variant = |name, variant, world: &World| World { name, what: "", variant, ..world.clone() };
    vec![
        (variant("no fence", Variant::NoFence, &rollback), 4),
        (
            World {
                begin: Begin::LettingGo,
                left: Left { crashes: 1, commands: 1, ..NONE },
                ..variant("no claim", Variant::NoClaim, &rollback)
            },
            2,
        ),
        (variant("partial rollback", Variant::PartialRollback, &rollback), 4),
        (
            World {
                left: Left { approvals: 1, commands: 1, drifts: 1, crashes: 1, ..NONE },
                drifts: &[Drift::Prune],
                ..variant("absent annotation = 0", Variant::AbsentIsOlder, &rollback)
            },
            4,
        ),
        (variant("outcome without intention", Variant::OutcomeForAnyIntention, &rollback), 4),
        (
            World {
                scan: Scan::Running,
                left: Left { approvals: 1, scans: 1, ..NONE },
                ..variant("message passes a gate", Variant::MessagePassesGate, &gated)
            },
            1,
        ),
        (
            World {
                begin: Begin::Live,
                left: Left { approvals: 1, drifts: 1, pushes: 1, ..NONE },
                drifts: &[Drift::Traffic],
                ..variant("approval for any plan", Variant::ApprovalForAnyPlan, &gated)
            },
            3,
        ),
        (
            World {
                begin: Begin::LetGo,
                left: Left { commands: 1, pushes: 1, ..NONE },
                quorum: 0,
                drivers: 1,
                stale_reads: true,
                ..variant("append to any version", Variant::AppendToAnyVersion, &rollback)
            },
            5,
        ),
        (variant("backup not read back", Variant::BackupNotRead, &rollback), 6),
        (
            World {
                wakes: true,
                left: Left { losses: 1, ticks: 1, approvals: 1, ..NONE },
                ..variant("lost wakes, no sweep", Variant::NoSweep, &patient)
            },
            7,
        ),
        (
            World {
                left: Left { losses: 1, approvals: 1, ..NONE },
                ..variant("seen is done", Variant::SeenIsDone, &patient)
            },
            8,
        ),
        (
            World {
                left: Left { crashes: 1, approvals: 1, ..NONE },
                ..variant("only the driver knows", Variant::OnlyTheDriverKnows, &patient)
            },
            9,
        ),
        (variant("nothing recorded", Variant::NothingRecorded, &rollback), 10),
    ]
}

/// Larger ones, for a long run.
pub fn large() -> Vec<World> {
    let mut worlds = ci();
    for world in &mut worlds {
        world.left.ticks += 1;
        world.left.crashes += 1;
    }
    worlds
}

/// The world of this name.
pub fn named(name: &str) -> Option<World> {
    ci().into_iter().find(|world| world.name == name)
}
