//! The case is made up, the judging is real: what the gates say of it, on the screen and by exit code.

use clap::Parser as _;
use portcullis_domain::policy::SealedPolicy;
use portcullis_domain::time::Timestamp;
use portcullis_domain::verdict::Verdict;

use super::{Simulated, simulate, words};
use crate::args::{Cli, Command, Policy};
use crate::show::screen::{Screen, WIDTH};
use crate::show::text::width;
use crate::when::Times;

/// 2026-11-20 02:45:00 UTC, a Friday.
const NIGHT: Timestamp = Timestamp(1_795_142_700_000);

const POLICY: &str = r#"
portcullis: 1
application: shop
registry: 444444444444.dkr.ecr.us-east-1.amazonaws.com/shop
tags: ["{sha}"]
services:
  web: {}
  worker: { kind: worker, overlap: never, after: web }
environments:
  production:
    mode: deploy
    account: "333333333333"
    region: us-east-1
    cluster: shop-production
    namespace: shop
    branch: main
    gates:
      scan: { critical: block, high: review by security }
      approvals: [1 of owners]
      break_glass: 2 of owners
      typed_confirmation: DEPLOY TO PRODUCTION
    backup: { keep: 90d }
    strategy: blue-green
    watch:
      for: 5m
      healthy: { error_rate: below 1% }
      alarms: { roll_back: ["shop-app-*"] }
    roll_back: { window: 24h, keep_old: 1h }
metrics: { preset: local }
people:
  amara: { github: amara-o }
groups:
  owners: [kofi, lena, amara]
  security: [sam]
"#;

/// What production may ask for beside people: another environment, a time, rules of its own.
const PROMOTED: &str = r#"
portcullis: 1
application: shop
registry: 444444444444.dkr.ecr.us-east-1.amazonaws.com/shop
tags: ["{sha}"]
services: { web: {} }
environments:
  staging:
    mode: deploy
    cluster: shop-staging
    namespace: shop-staging
    branch: main
    backup: { keep: 90d }
    strategy: blue-green
    watch: { for: 5m, healthy: { error_rate: below 1% } }
    roll_back: { window: 24h, keep_old: 1h }
  production:
    mode: deploy
    cluster: shop-production
    namespace: shop
    gates:
      promoted_from: { environment: staging, same: digests, within: 1d }
      freeze:
        - { name: year end, from: 2026-12-20T18:00, until: 2027-01-04T06:00, zone: Europe/Berlin }
      rules:
        no-friday: |
          forbid (principal, action, resource) when { context.time.weekday == "friday" };
    backup: { keep: 90d }
    strategy: blue-green
    watch: { for: 5m, healthy: { error_rate: below 1% } }
    roll_back: { window: 24h, keep_old: 1h }
metrics: { preset: local }
"#;

fn policy(text: &str) -> SealedPolicy {
    let set = portcullis_policy::load(&[("shop.yaml".to_owned(), text.to_owned())]);
    let set = set.unwrap_or_else(|report| panic!("{}", crate::policies::words(&report, Screen::PLAIN)));
    set.get(&"shop/production".parse().unwrap()).unwrap().clone()
}

fn asked(options: &[&str]) -> Result<Simulated, String> {
    by(POLICY, options)
}

fn by(text: &str, options: &[&str]) -> Result<Simulated, String> {
    let line = ["portcullis", "policy", "simulate", "shop.yaml", "shop/production"];
    let cli = Cli::try_parse_from(line.iter().chain(options)).map_err(|error| error.to_string())?;
    let Command::Policy(Policy::Simulate(options)) = cli.command else { panic!("{:?}", cli.command) };
    simulate(&policy(text), &options, NIGHT).map_err(|error| error.to_string())
}

fn simulated(options: &[&str]) -> Simulated {
    asked(options).unwrap()
}

fn screen(simulated: &Simulated) -> String {
    let text = words(simulated, Screen::PLAIN, Times::new(simulated.at, 0));
    for line in text.lines() {
        assert!(width(line) <= WIDTH, "{} columns: {line}", width(line));
    }
    text
}

#[test]
fn an_ordinary_release_shows_what_a_person_must_do() {
    let ordinary = simulated(&[]);
    assert_eq!(ordinary.verdict, Verdict::Hold);
    assert_eq!(ordinary.clears.iter().map(|one| one.gate.as_str()).collect::<Vec<_>>(), ["approval"]);
    insta::assert_snapshot!(screen(&ordinary));
}

#[test]
fn with_its_approval_an_ordinary_release_passes_every_gate() {
    let approved = simulated(&["--approve", "kofi"]);
    assert_eq!(approved.verdict, Verdict::Pass, "{:?}", approved.clears);
    assert!(approved.clears.is_empty() && approved.refused.is_empty());
}

#[test]
fn a_critical_finding_blocks_and_two_people_can_skip_it_together() {
    let bad = ["--finding", "CVE-2026-1234=critical", "--approve", "kofi"];
    let blocked = simulated(&bad);
    assert_eq!(blocked.verdict, Verdict::Block);
    assert_eq!(blocked.clears[0].clears_when, None);
    insta::assert_snapshot!(screen(&blocked));
    let one = simulated(&[&bad[..], &["--break-glass", "scan=kofi"]].concat());
    assert_eq!(one.verdict, Verdict::Block, "one person skips nothing");
    let two = simulated(&[&bad[..], &["--break-glass", "scan=kofi", "--break-glass", "scan=lena"]].concat());
    assert_eq!(two.verdict, Verdict::Pass, "{:?}", two.clears);
}

#[test]
fn a_finding_that_asks_for_a_review_waits_for_that_group_too() {
    let reviewed = ["--finding", "high=2", "--approve", "kofi"];
    let waits = simulated(&reviewed);
    assert_eq!(waits.verdict, Verdict::Hold);
    assert_eq!(waits.clears[0].clears_when.as_deref(), Some("sam approves"));
    assert_eq!(simulated(&[&reviewed[..], &["--approve", "sam"]].concat()).verdict, Verdict::Pass);
}

#[test]
fn everything_that_can_go_wrong_is_shown_with_what_clears_it() {
    let options = [
        &["--author", "amara", "--approve", "amara", "--approve", "sam", "--requested-by", "kofi", "--no-scan"][..],
        &["--alarm", "shop-app-5xx=alarm", "--quarantined", "--stop", "black friday", "--break-glass", "freeze=lena"],
        &["--break-glass", "freeze=sam", "--forward-only", "--commit", "8f3c2a1"],
    ];
    let bad = simulated(&options.concat());
    assert_eq!(bad.verdict, Verdict::Hold);
    insta::assert_snapshot!(screen(&bad));
}

#[test]
fn a_release_that_a_person_starts_wants_the_typed_confirmation() {
    let started = ["--requested-by", "lena", "--approve", "kofi"];
    assert_eq!(simulated(&started).clears[0].gate, "confirmation");
    let typed = [&started[..], &["--confirm", "DEPLOY TO PRODUCTION"]].concat();
    assert_eq!(simulated(&typed).verdict, Verdict::Pass);
}

#[test]
fn an_old_scan_holds() {
    let old = simulated(&["--scan-age", "300d", "--approve", "kofi"]);
    assert_eq!((old.verdict, old.clears[0].gate.as_str()), (Verdict::Hold, "scan"));
}

#[test]
fn names_that_the_policy_does_not_know_are_errors_that_name_those_it_does() {
    for (options, hints) in [
        (&["--approve", "mallory"][..], &["mallory", "kofi", "sam"][..]),
        (&["--author", "mallory"], &["mallory", "amara"]),
        (&["--author", "kofi"], &["kofi", "people:"]),
        (&["--requested-by", "mallory"], &["mallory"]),
        (&["--alarm", "pay-5xx=alarm"], &["pay-5xx", "shop-app-*"]),
        (&["--break-glass", "images=kofi"], &["images", "approval"]),
        (&["--break-glass", "approval=mallory"], &["mallory"]),
        (&["--promoted", "digests"], &["promoted_from"]),
        (&["--requested-by", "kofi", "--confirm", "yes"], &["DEPLOY TO PRODUCTION"]),
        (&["--confirm", "DEPLOY TO PRODUCTION"], &["--requested-by"]),
        (&["--no-scan", "--scan-age", "1h"], &["--no-scan"]),
        (&["--scan-age", "soon"], &["soon"]),
        (&["--finding", "awful=1"], &["awful"]),
    ] {
        let why = asked(options).expect_err(&options.join(" "));
        for hint in hints {
            assert!(why.contains(hint), "{options:?}: {why}");
        }
    }
}

#[test]
fn an_author_of_an_account_that_nobody_has_holds_the_approval() {
    let unknown = simulated(&["--author", "github:stranger", "--approve", "kofi"]);
    assert_eq!(unknown.verdict, Verdict::Hold);
    assert!(unknown.clears[0].clears_when.as_deref().unwrap().contains("github:stranger"), "{:?}", unknown.clears);
}

#[test]
fn a_promotion_a_freeze_and_a_rule_are_judged_at_the_moment_that_is_given() {
    let gates = |options: &[&str]| -> Vec<String> {
        by(PROMOTED, options).unwrap().clears.into_iter().map(|one| one.gate).collect()
    };
    let tuesday = ["--at", "2026-12-01T12:00:00Z"];
    assert_eq!(gates(&tuesday), Vec::<String>::new());
    assert_eq!(gates(&["--at", "2026-12-04T12:00:00Z"]), ["rules"]);
    assert_eq!(gates(&["--at", "2026-12-22T12:00:00Z"]), ["freeze"]);
    for more in [&["--promoted", "source_tree"][..], &["--promoted", "no"], &["--promoted-age", "2d"]] {
        assert_eq!(gates(&[&tuesday[..], more].concat()), ["promotion"], "{more:?}");
    }
    let christmas = by(PROMOTED, &["--at", "2026-12-25T12:00:00Z", "--promoted", "source_tree"]).unwrap();
    insta::assert_snapshot!(screen(&christmas));
}
