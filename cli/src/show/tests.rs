//! Snapshot tests of the screens: read the snapshots, they are what a person sees.

use portcullis_domain::digest::Digest;
use portcullis_domain::names::Subject;
use portcullis_domain::target::{Asking, Glass, Phase, WatchState};
use portcullis_domain::time::Millis;

use super::samples::{NIGHT, environment, protection, rolled_back, service, story, times, view, waiting};
use super::screen::{Screen, Tone, WIDTH};
use super::text::width;
use super::{list, release, status, timeline};
use crate::api::{FleetHold, ReleaseDetail, State};

fn fits(text: &str) -> &str {
    for line in text.lines() {
        assert!(width(line) <= WIDTH, "{} columns: {line}", width(line));
    }
    text
}

fn show(view: &ReleaseDetail) -> String {
    let text = release::show(view, Screen::PLAIN, times(), false);
    fits(&text).to_owned()
}

#[test]
fn a_release_that_waits_for_approval() {
    insta::assert_snapshot!(show(&waiting()));
}

#[test]
fn a_release_that_waits_with_all_evidence_in_ascii() {
    let text = release::show(&waiting(), Screen { ascii: true, colour: false }, times(), true);
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(fits(&text));
}

#[test]
fn a_release_that_was_rolled_back() {
    insta::assert_snapshot!(show(&rolled_back()));
}

#[test]
fn every_event_of_a_release() {
    insta::assert_snapshot!(fits(&timeline::ledger(&story(), Screen::PLAIN, times())));
}

#[test]
fn a_release_that_is_watched() {
    let mut view = view(Phase::Watching, State::Watching);
    view.release.policy = Some(super::samples::policy().into());
    view.release.watch = Some(WatchState { since: NIGHT, healthy: Millis::minutes(2), ..WatchState::default() });
    view.ledger = story();
    view.ledger.truncate(14);
    insta::assert_snapshot!(show(&view));
}

#[test]
fn a_release_that_is_live() {
    let mut view = view(Phase::Live, State::Live);
    view.release.policy = Some(super::samples::policy().into());
    view.window_until = Some(NIGHT + Millis::hours(2));
    view.ledger = story();
    view.ledger.truncate(16);
    insta::assert_snapshot!(show(&view));
}

#[test]
fn a_release_that_needs_a_person() {
    let mut view = view(Phase::NeedsHelp, State::NeedsHelp);
    view.release.policy = Some(super::samples::policy().into());
    let why = "Service/springboot-service was edited by hand at 03:07:50 (kubectl-edit). Not overwritten. It still \
               sends requests to the release that fails, and nobody but a person can say which of the two is right."
        .to_owned();
    view.release.asking = Some(Asking { why, until: NIGHT, level: 1 });
    insta::assert_snapshot!(show(&view));
}

#[test]
fn colour_and_ascii_never_change_what_is_said() {
    let plain = show(&rolled_back());
    let coloured = release::show(&rolled_back(), Screen { ascii: false, colour: true }, times(), false);
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((head, tail)) = rest.split_once('\u{1b}') {
        bare.push_str(head);
        rest = tail.split_once('m').map_or("", |(_, tail)| tail);
    }
    bare.push_str(rest);
    assert_eq!(bare, plain);
}

#[test]
fn a_title_from_outside_cannot_draw_on_the_screen() {
    let mut view = waiting();
    let mut facts = view.release.facts.as_deref().unwrap().clone();
    facts.commit.as_mut().unwrap().title = "ok\u{1b}[2J\u{202e}evil\n\nvolteryde/production LIVE".into();
    view.release.facts = Some(facts.into());
    let text = show(&view);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    assert!(text.contains("ok[2Jevil  volteryde/production LIVE"), "{text}");
}

#[test]
fn releases_as_a_list() {
    let mut waits = waiting().summary;
    waits.why = Some("approval: 0 of 1 from release-managers".into());
    let releases = [waits, rolled_back().summary, view(Phase::Live, State::Live).summary];
    insta::assert_snapshot!(fits(&list::show(&releases, Screen::PLAIN, times())));
}

#[test]
fn environments_at_a_glance() {
    let target = environment();
    insta::assert_snapshot!(fits(&status::show(&[target], Screen::PLAIN, times())));
}

#[test]
fn an_environment_whose_line_is_stopped() {
    let mut target = environment();
    target.releases.clear();
    target.line_stopped = Some("3 automatic rollbacks within 1h: releases 139, 140 and 141".into());
    target.vulnerable = [(service("nestjs-service"), Digest::of(&[1]))].into();
    let environments = vec![target.target.clone(), "pay/production".parse().unwrap()];
    let until = NIGHT + Millis::minutes(7);
    target.fleet = Some(FleetHold { environments, within: Millis::minutes(10), until });
    insta::assert_snapshot!(fits(&status::show(&[target], Screen::PLAIN, times())));
}

#[test]
fn a_release_that_one_person_would_let_skip_a_gate() {
    let mut view = waiting();
    let plan = view.summary.plan.unwrap();
    let who = Subject::new("kofi").unwrap();
    let glass = Glass { plan, gates: ["approval".to_owned()].into(), who, reason: "incident 7".into() };
    view.release.glass = vec![glass];
    view.release.forward_only = true;
    insta::assert_snapshot!(show(&view));
}

#[test]
fn every_event_that_protects() {
    insta::assert_snapshot!(fits(&timeline::ledger(&protection(), Screen::PLAIN, times())));
}

#[test]
fn what_loosens_the_policy_is_always_shown_and_its_first_sight_is_not() {
    let shown: Vec<String> = timeline::lines(&protection(), false).into_iter().map(|line| line.verb).collect();
    assert_eq!(shown.iter().filter(|verb| *verb == "policy LOOSENED").count(), 2, "{shown:?}");
    assert_eq!(shown.iter().filter(|verb| *verb == "policy").count(), 1, "{shown:?}");
    let all = timeline::lines(&protection(), true);
    assert_eq!(all.iter().filter(|line| line.verb == "policy").count(), 3);
    assert!(all.iter().filter(|line| line.verb == "policy LOOSENED").all(|line| line.tone == Tone::Warn));
}
