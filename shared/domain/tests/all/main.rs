//! The stories of the pure core, one file each; `world` is what they happen in.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "test code")]

mod world;

mod a_fact_concerns_its_targets;
mod a_finding_comes_after_live;
mod a_newer_scan_says_worse;
mod a_person_is_heard_or_refused;
mod a_person_steers_a_release;
mod a_reading_counts_by_its_fence;
mod a_release_cannot_be_undone;
mod a_release_goes_live;
mod a_release_is_promoted;
mod a_release_is_rolled_back;
mod a_release_is_watched;
mod a_release_runs_out_of_time;
mod a_release_waits_for_its_turn;
mod a_rule_stays_within_its_bounds;
mod a_service_changes_places;
mod a_service_goes_forward_and_back;
mod a_test_that_stops_nothing;
mod a_window_opens;
mod an_alarm_rings;
mod an_event_asks_for_another_look;
mod an_image_is_pushed;
mod another_hand_writes;
mod manifests_come_with_a_commit;
mod people_break_glass;
mod the_gates_ask_people;
mod the_gates_look_around;
mod the_gates_look_at_images;
mod the_policy_is_loosened;
mod the_scan_gate;
mod the_state_follows_the_events;
mod the_users_own_rules;
mod the_way_back_is_proven;
mod too_many_rollbacks;
mod traffic_moves_in_steps;
mod two_policies_are_compared;
mod what_is_told_and_read_back;
mod whatever_happens;
