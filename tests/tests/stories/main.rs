//! What went wrong in other systems, told again here: one file per story, its name is the story. Each opens with whose
//! failure it was and what must happen instead, and runs the real recorder, driver and sweep on the in-memory world of
//! `portcullis_engine::memory`, in which time, faults and other people's hands are the test's.
//!
//! A story ends with `assert_sound`: whatever happened, the cluster was never harmed, the ledger is whole and folds
//! into its head, and after a rollback began nothing moved forward.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

mod a_busy_branch_does_not_starve_an_approval;
mod a_canary_that_breaches_at_a_later_step;
mod a_colour_deleted_by_hand_after_its_rollback;
mod a_crash_between_the_selector_switch_and_the_ledger;
mod a_duplicate_alarm_during_a_rollback;
mod a_fix_is_deployed_over_a_live_version_that_is_sick;
mod a_hand_on_the_old_colour_after_live;
mod a_ledger_restored_from_a_backup;
mod a_new_push_during_a_switch_does_not_overwrite_it;
mod a_pattern_that_matches_no_alarm_does_not_pass;
mod a_redelivered_start_does_not_revive_a_finished_release;
mod a_rollback_decided_while_another_driver_switches;
mod a_rollback_target_that_was_itself_never_verified;
mod a_rollback_with_nothing_previous;
mod a_scan_complete_with_its_findings_seconds_later;
mod a_stop_acknowledged_between_the_gates_and_the_switch;
mod a_threshold_breached_while_waiting_for_a_person;
mod a_watch_on_a_suspended_machine;
mod an_alarm_that_rings_already_before_the_switch;
mod an_alarms_ok_that_arrives_before_it;
mod an_annotation_pruned_by_a_gitops_tool;
mod an_approval_clicked_twice_counts_once;
mod an_approval_given_and_then_the_tag_moves;
mod an_autoscaler_changes_replicas_during_a_release;
mod an_event_lost_entirely_is_found_by_the_sweep;
mod an_event_redelivered_after_the_release_settled;
mod an_old_commit_replayed_from_the_archive;
mod no_traffic_at_all_during_the_watch;
mod the_policy_changes_while_a_release_is_open;
mod traffic_that_stops_in_the_middle_of_the_watch;

mod slow_hand;

use portcullis_domain::event::{Reason, What};
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::signal::Command;
use portcullis_domain::target::Target;
use portcullis_domain::time::Millis;
use portcullis_domain::verdict::Verdict;
use portcullis_engine::memory::World;
use portcullis_engine::recorder::Commanded;

/// Both services' images of commit 1 are there; release 1 waits for its approval.
pub(crate) async fn gated() -> World {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    world
}

/// Release 1 serves and is watched; commit 0 is kept to return to.
pub(crate) async fn watching() -> World {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world
}

/// Release 1 is up and being tested: the tests take ten seconds, nothing of it serves yet.
pub(crate) async fn verifying() -> World {
    let mut world = World::new();
    world.cluster.set_test_takes(Millis::seconds(10));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("verifying").await;
    world
}

/// How many events of the ledger are so.
pub(crate) async fn count(world: &World, is_so: impl Fn(&What) -> bool) -> usize {
    world.events().await.iter().filter(|event| is_so(&event.what)).count()
}

/// How many releases were ever opened.
pub(crate) async fn opened(world: &World) -> usize {
    count(world, |what| matches!(what, What::Opened { .. })).await
}

/// What keeps a release back, as its screen shows it: `gate: why; clears when …`, one line per gate.
pub(crate) async fn holds(world: &World, release: ReleaseId) -> Vec<String> {
    let judgement = world.release(release).await.unwrap().judgement.unwrap();
    let open = judgement.gates.iter().filter(|gate| gate.verdict != Verdict::Pass);
    open.map(|gate| format!("{}: {}; clears when {}", gate.gate, gate.why, gate.clears_when.as_deref().unwrap_or("-")))
        .collect()
}

/// Why the way back of a release began; none = it did not.
pub(crate) async fn undone_because(world: &World, release: ReleaseId) -> Option<Reason> {
    world.events().await.into_iter().find_map(|event| match event.what {
        What::RollbackBegan { release: of, why, .. } if of == release => Some(why),
        _ => None,
    })
}

/// A person approves the plan that a release has now.
pub(crate) async fn approve(world: &World, who: &str, release: ReleaseId) -> Commanded {
    let plan = world.release(release).await.unwrap().plan.unwrap().id;
    world.command(who, Command::Approve { release, plan, typed: None }).await
}

/// A person asks for a release of commit `n`.
pub(crate) async fn start(world: &World, n: u32) -> Commanded {
    let (who, commit) = ("dev".parse().unwrap(), portcullis_engine::memory::world::commit(n));
    world.recorder.start(&world.target, &who, &commit, None, Some("by hand".to_owned()), false).await.unwrap()
}

/// The words of a refusal.
pub(crate) fn refusal(commanded: Commanded) -> String {
    match commanded {
        Commanded::Refused { why, .. } => why,
        Commanded::Accepted(recorded) => panic!("it was accepted: {:?}", recorded.events),
    }
}

/// Steps forward that were appended after this position.
pub(crate) async fn forward_since(world: &World, since: Seq) -> Vec<String> {
    let events = world.events().await;
    let later = events.iter().filter(|event| event.seq > since && event.what.moves_forward());
    later.map(|event| format!("{} {:?}", event.seq, event.what)).collect()
}

/// Whether a release is in this phase.
pub(crate) fn is(release: ReleaseId, phase: &'static str) -> impl Fn(&Target) -> bool {
    move |state| state.releases.get(&release).is_some_and(|release| release.phase.name() == phase)
}

/// Whether a release has left the state.
pub(crate) fn is_over(release: ReleaseId) -> impl Fn(&Target) -> bool {
    move |state| !state.releases.contains_key(&release)
}
