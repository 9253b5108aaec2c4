//! The stories of the pure core, one file each; `world` is what they happen in.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "test code")]

mod world;

mod a_finding_comes_after_live;
mod a_release_cannot_be_undone;
mod a_release_goes_live;
mod a_release_is_promoted;
mod a_release_is_rolled_back;
mod a_window_opens;
mod people_break_glass;
mod the_policy_is_loosened;
mod the_scan_gate;
mod the_state_follows_the_events;
mod the_users_own_rules;
mod the_way_back_is_proven;
mod too_many_rollbacks;
mod what_is_decided;
mod what_is_told_and_read_back;
mod what_the_gates_say;
mod whatever_happens;
