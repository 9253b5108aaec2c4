//! Octopus #4564: deployments blocked behind a pending approval broke backlogs. The opposite is as bad: on a busy
//! branch each push replaces the release that a person is reading, and none is ever approved. Devtron #6957: when
//! things open up, the latest only.
//! Here: newer releases replace one that waits, until it has its first approval; from then they queue behind it. After
//! it the newest goes, not all of them.

use portcullis_domain::event::End;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::Ending;

use crate::{approve, holds, is, refusal};

/// A push a minute.
async fn pushes(world: &mut World, commits: std::ops::RangeInclusive<u32>) {
    for n in commits {
        world.run_for(Millis::minutes(1)).await;
        world.push_all(n).await;
        world.settle().await;
    }
}

/// Two must approve; the first has, and the branch goes on.
async fn half_approved() -> World {
    let mut world = World::with(|policy| policy.gates.approvals[0].count = 2);
    pushes(&mut world, 1..=3).await;
    approve(&world, "kofi", ReleaseId(3)).await;
    pushes(&mut world, 4..=9).await;
    world
}

#[tokio::test(start_paused = true)]
async fn one_with_its_first_approval_is_not_replaced() {
    let mut world = half_approved().await;
    assert_eq!(world.ending(ReleaseId(1)).await, Some(Ending::Settled(End::Superseded)));
    assert_eq!(world.ending(ReleaseId(2)).await, Some(Ending::Settled(End::Superseded)));
    assert_eq!(world.phase(ReleaseId(3)).await.unwrap().name(), "gated", "kofi's approval still counts");
    let behind = holds(&world, ReleaseId(9)).await;
    assert!(
        behind.iter().any(|hold| hold == "turn: release 3 waits before it; clears when release 3 ends"),
        "{behind:?}"
    );
    approve(&world, "ama", ReleaseId(3)).await;
    world.run_until(Millis::minutes(30), "live", is(ReleaseId(3), "live")).await;
    assert!(world.all_serve(3));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn after_it_only_the_newest_goes() {
    let mut world = half_approved().await;
    approve(&world, "ama", ReleaseId(3)).await;
    world.run_until(Millis::minutes(30), "live", is(ReleaseId(3), "live")).await;
    for between in 4..=8 {
        let ending = world.ending(ReleaseId(between)).await;
        assert_eq!(ending, Some(Ending::Settled(End::Superseded)), "release {between}");
    }
    for who in ["kofi", "ama"] {
        approve(&world, who, ReleaseId(9)).await;
    }
    world.run_until(Millis::hours(2), "live", is(ReleaseId(9), "live")).await;
    assert!(world.all_serve(9));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn who_approves_what_was_replaced_meanwhile_is_told() {
    let mut world = World::new();
    pushes(&mut world, 1..=1).await;
    let plan = world.release(ReleaseId(1)).await.unwrap().plan.unwrap().id;
    pushes(&mut world, 2..=2).await;
    let command = portcullis_domain::signal::Command::Approve { release: ReleaseId(1), plan, typed: None };
    assert_eq!(refusal(world.command("kofi", command).await), "release 1 has ended");
    world.run_for(Millis::minutes(10)).await;
    assert!(world.cluster.effects().is_empty(), "an approval of one is none of another");
    world.assert_sound().await;
}
