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
    let gated = |name, what| World { begin: Begin::Gated, asks: &[Ask::RollBack], ..World::plain(name, what) };
    let same_end = |name, what| World { patient: true, converges: true, people_come: true, ..World::plain(name, what) };
    vec![
        moved_first(),
        World {
            left: Left { crashes: 3, ticks: 4, approvals: 1, ..NONE },
            ..World::plain("crashes", "two drivers, three crashes, late patches, deadlines that pass")
        },
        World {
            left: Left { crashes: 2, ticks: 2, approvals: 1, commands: 3, ..NONE },
            asks: &[Ask::RollBack, Ask::Cancel],
            ..gated("rollback", "a person rolls back or cancels at any time; two crashes")
        },
        World {
            left: Left { crashes: 1, ticks: 2, approvals: 1, commands: 2, ..NONE },
            asks: &[Ask::RollBack, Ask::Resolve],
            ..gated("resolved", "a person takes what is there while patches are under way; a crash")
        },
        World {
            begin: Begin::Live,
            left: Left { crashes: 2, ticks: 4, commands: 2, ..NONE },
            asks: &[Ask::RollBack, Ask::CloseWindow],
            ..World::plain("live", "the old colour is let go while a person rolls back; two crashes")
        },
        World {
            left: Left { crashes: 1, ticks: 1, approvals: 2, commands: 1, pushes: 1, ..NONE },
            ..gated("two", "two releases, the second pushed at any time; a crash, a rollback")
        },
        World {
            left: Left { ticks: 1, approvals: 2, commands: 1, pushes: 1, ..NONE },
            stale_reads: true,
            patient: true,
            ..gated("stale", "two releases; whatever is read may be old when it is recorded; a rollback")
        },
        World {
            left: Left { crashes: 1, losses: 3, doubles: 2, ticks: 3, approvals: 2, pushes: 1, ..NONE },
            ..same_end("messages", "two pushes by a lossy, doubling, reordering queue, a crash; always the same end")
        },
        World {
            left: Left { crashes: 4, ticks: 3, approvals: 1, ..NONE },
            stale_reads: true,
            ..same_end("converges", "four crashes anywhere, reads that are old when recorded; always the same end")
        },
        World {
            left: Left { crashes: 2, losses: 3, doubles: 2, ticks: 3, approvals: 1, ..NONE },
            wakes: true,
            ..same_end("wakes", "drivers act only when woken; wakes are lost, the sweep finds what is overdue")
        },
        World {
            quorum: 2,
            left: Left { ticks: 1, approvals: 4, drifts: 1, commands: 1, ..NONE },
            voters: &[0, 1, 2],
            asks: &[Ask::Reject],
            drifts: &[Drift::Traffic],
            ..World::plain("approvals", "two are needed; the author tries, older plans are approved, a veto")
        },
        World {
            scan: Scan::Running,
            left: Left { doubles: 1, losses: 1, ticks: 1, approvals: 2, scans: 1, pushes: 1, ..NONE },
            ..World::plain("scans", "a scan that runs is said to be clean; a second push replaces it")
        },
        World {
            left: Left { crashes: 2, losses: 1, doubles: 1, ticks: 2, approvals: 1, scans: 1, ..NONE },
            ..World::plain("worse", "a clean scan turns out critical at any time; its message lost or doubled")
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
            ..World::plain("drift", "traffic moved or pods scaled by hand; a crash, a rollback or a resolve")
        },
        World {
            left: Left { approvals: 1, commands: 1, drifts: 1, ..NONE },
            drifts: &[Drift::Prune],
            patches: 2,
            ..gated("pruned", "an annotation is taken off at any time; a rollback, a late patch")
        },
        World {
            shape: Shape::Worker,
            left: Left { crashes: 3, ticks: 2, approvals: 1, commands: 2, ..NONE },
            asks: &[Ask::RollBack, Ask::Resolve],
            ..gated("worker", "a worker whose old and new never overlap; three crashes, a rollback")
        },
        World {
            shape: Shape::Rolling,
            left: Left { crashes: 3, ticks: 2, approvals: 1, commands: 2, ..NONE },
            asks: &[Ask::RollBack, Ask::Resolve],
            ..gated("rolling", "a service changed in place; three crashes, a rollback")
        },
        World {
            shape: Shape::WebAndWorker,
            begin: Begin::Deploying,
            left: Left { crashes: 2, ticks: 1, commands: 1, ..NONE },
            asks: &[Ask::RollBack],
            ..World::plain("graph", "a service and a worker in two waves; two crashes, a rollback")
        },
        World {
            left: Left { crashes: 2, ticks: 1, approvals: 1, stops: 2, commands: 2, ..NONE },
            asks: &[Ask::Pause, Ask::Resume],
            ..World::plain("stops", "everything is stopped and goes on; a person pauses; two crashes")
        },
        World {
            left: Left { crashes: 2, losses: 1, doubles: 1, ticks: 1, approvals: 2, commands: 1, pushes: 1, ..NONE },
            patient: true,
            ..gated("everything", "two releases, two drivers, a lossy and doubling queue, two crashes, a person")
        },
    ]
}

/// Traffic that a person moved before the release began: the gate holds, until they move it back or the release expires.
fn moved_first() -> World {
    World {
        left: Left { approvals: 1, drifts: 1, ..NONE },
        drifts: &[Drift::Traffic],
        marks_own: true,
        ..World::plain("moved first", "traffic is moved by hand to a colour that is not there yet, then released to")
    }
}

/// What is not kept, with the number of the invariant: kept here so that it is known, and seen when it changes.
pub fn known() -> Vec<(World, usize)> {
    // The way back's annotation is taken off; a late double of the mark takes the object for never fenced; then a late
    // switch finds the mark it expects.
    let pruned = World {
        begin: Begin::Gated,
        left: Left { approvals: 1, commands: 1, drifts: 1, ..NONE },
        asks: &[Ask::RollBack],
        drifts: &[Drift::Prune],
        ..World::plain("pruned twice late", "an annotation is taken off, and two patches of one release come late")
    };
    // A rollback has put the new colour to rest and somebody deletes it; a late double of the mark that created it does
    // so again; then a late deploy finds the mark it expects.
    let deleted = World {
        begin: Begin::Gated,
        left: Left { approvals: 1, commands: 1, drifts: 1, ..NONE },
        asks: &[Ask::RollBack],
        drifts: &[Drift::Delete],
        ..World::plain("deleted twice late", "a colour at rest is deleted, and two patches of one release come late")
    };
    vec![(pruned, 2), (deleted, 4)]
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

/// Larger ones, for a long run: each with one more crash and one more passing of time, and time that never waits.
pub fn large() -> Vec<World> {
    let mut worlds = ci();
    for world in &mut worlds {
        world.left.ticks += 1;
        world.left.crashes += 1;
        world.patient &= world.converges;
    }
    // `rollback` and `resolved` of every run are two narrow cuts of this one.
    worlds.push(World {
        begin: Begin::Gated,
        left: Left { crashes: 2, ticks: 2, approvals: 1, commands: 3, ..NONE },
        asks: &[Ask::RollBack, Ask::Cancel, Ask::Resolve],
        ..World::plain("any word", "a person rolls back, cancels or resolves at any time; two crashes")
    });
    worlds
}
