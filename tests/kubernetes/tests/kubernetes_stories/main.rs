//! Releases, backups and rights on a real control plane, a story in each file. In one program, so that several go on at
//! once: each has a namespace of its own, and mostly waits for pods.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod a_driver_wakes_up_after_the_rollback;
mod a_fix_goes_over_a_version_that_is_sick;
mod a_namespace_is_backed_up_and_brought_back;
mod a_person_changed_the_service_by_hand;
mod a_rolling_release_goes_there_and_back;
mod a_selector_is_not_flipped_behind_a_load_balancer;
mod a_service_that_is_not_there_yet;
mod a_worker_that_must_not_run_twice;
mod an_autoscaler_acts_in_the_middle_of_a_release;
mod everything_runs_under_the_generated_role;
mod green_is_half_deployed;
mod manifests_come_with_a_commit;
mod only_released_digests_come_in;
mod switches_and_rollbacks_lose_no_request;
mod the_api_server_answers_badly;
mod the_api_server_dies_in_the_middle_of_a_switch;
mod traffic_moves_by_weights;
