//! What holds for any policy and for any text.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use portcullis_domain::policy::{
    Comparison, HoldFor, Metric, Mode, Policy, ScanAction, ServiceKind, Severity, Strategy as Switching, Trigger, Unit,
    Waiting,
};
use portcullis_domain::time::Millis;
use portcullis_policy::{Style, check, explain, load};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use with::{GOOD, files};

const VOLTERYDE: &str = include_str!("fixtures/volteryde.yaml");
const SWIFTCONCUR: &str = include_str!("fixtures/swiftconcur.yaml");
const PROMOTED: &str = include_str!("../../../docs/examples/promoted.yaml");
const ORGANISATION: &str = include_str!("../../../docs/examples/organisation.yaml");

/// What a generated policy is made of; everything else follows from it.
#[derive(Debug, Clone)]
struct Plan {
    mode: Mode,
    blue_green: Option<bool>,
    /// Each service after all of those whose bit is set and that come before it.
    services: Vec<(u8, Option<bool>)>,
    people: BTreeSet<String>,
    quorum: u8,
    scan: Vec<(Severity, u8, u32)>,
    healthy: Vec<(Metric, Comparison, i64, Option<u64>)>,
    when: Vec<(Metric, Comparison, i64, Option<u64>)>,
    watch: u64,
    window: u64,
    expire: u64,
    queue: bool,
    branch: Option<String>,
    typed: Option<String>,
}

fn triggers() -> impl Strategy<Value = Vec<(Metric, Comparison, i64, Option<u64>)>> {
    let comparison = select(vec![Comparison::Above, Comparison::AtLeast, Comparison::Below, Comparison::AtMost]);
    let one = (select(Metric::ALL.to_vec()), comparison, 1_i64..9_999, proptest::option::of(1_u64..60));
    vec(one, 0..4).prop_map(|list| {
        let mut seen = BTreeSet::new();
        let list = list.into_iter().map(|((metric, _), comparison, limit, hold)| (metric, comparison, limit, hold));
        list.filter(|(metric, ..)| seen.insert(*metric)).collect()
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    let first = (
        select(vec![Mode::Observe, Mode::Gate, Mode::Deploy]),
        proptest::option::of(any::<bool>()),
        vec((any::<u8>(), proptest::option::of(any::<bool>())), 1..8),
        btree_set("[a-z][a-z0-9.]{2,8}x", 2..6),
        0_u8..6,
        vec((select(Severity::ALL.to_vec()), 0_u8..3, 0_u32..9), 0..4),
    );
    let second = (triggers(), triggers(), 2_u64..120, 1_u64..700, 2_u64..48, any::<bool>());
    let third =
        (proptest::option::of("[a-z]{1,8}(/[a-z]{1,8})?"), proptest::option::of("[A-Z][A-Za-z '\"#:é-]{0,20}[A-Z]"));
    (first, second, third).prop_map(|(first, second, third)| {
        let (mode, blue_green, services, people, quorum, scan) = first;
        let (healthy, when, watch, window, expire, queue) = second;
        let mut seen = BTreeSet::new();
        let scan = scan.into_iter().filter(|(severity, ..)| seen.insert(*severity)).collect();
        let (branch, typed) = third;
        Plan {
            mode,
            blue_green,
            services,
            people,
            quorum,
            scan,
            healthy,
            when,
            watch,
            window,
            expire,
            queue,
            branch,
            typed,
        }
    })
}

/// An amount as a policy writes it.
fn amount(metric: Metric, limit: i64) -> String {
    match metric.unit() {
        Unit::BasisPoints => format!("{}.{:02}%", limit / 100, limit % 100),
        Unit::MilliPerSecond => format!("{}.{:03}/s", limit / 1_000, limit % 1_000),
        Unit::Micros => format!("{}.{:03}ms", limit / 1_000, limit % 1_000),
    }
}

fn written(list: &[(Metric, Comparison, i64, Option<u64>)], long: bool) -> String {
    let rules = list.iter().map(|(metric, comparison, limit, hold)| {
        let amount = amount(*metric, *limit);
        match (hold, long) {
            (Some(hold), true) => format!("{metric}: {{ {comparison}: {amount}, for: {hold}s }}"),
            (None, true) => format!("{metric}: {{ {comparison}: {amount} }}"),
            (Some(hold), false) => format!("{metric}: {comparison} {amount} for {hold}s"),
            (None, false) => format!("{metric}: {comparison} {amount}"),
        }
    });
    format!("{{ {} }}", rules.collect::<Vec<_>>().join(", "))
}

/// The plan as policy text.
fn text(plan: &Plan) -> String {
    let mut text = "portcullis: 1\napplication: made\nregistry: r.example/x\nservices:\n".to_owned();
    for (at, (after, worker)) in plan.services.iter().enumerate() {
        let before: Vec<String> = (0..at).filter(|b| after & (1 << b) != 0).map(|b| format!("s{b}")).collect();
        let _ = write!(text, "  s{at}: {{");
        if !before.is_empty() {
            let _ = write!(text, " after: [{}],", before.join(", "));
        }
        match worker {
            None => text.push_str(" kind: serving }\n"),
            Some(overlap) => {
                let _ = writeln!(text, " kind: worker, overlap: {} }}", if *overlap { "allowed" } else { "never" });
            }
        }
    }
    let mode = format!("{:?}", plan.mode).to_lowercase();
    let _ = write!(text, "environments:\n  env:\n    mode: {mode}\n    cluster: c\n    namespace: n\n");
    let strategy = match plan.blue_green {
        None => "rolling",
        Some(false) => "blue-green",
        Some(true) => "{ blue-green: { switch: manual } }",
    };
    let _ = writeln!(text, "    strategy: {strategy}");
    if let Some(branch) = &plan.branch {
        let _ = writeln!(text, "    branch: \"{branch}\"");
    }
    let _ = writeln!(text, "    gates:\n      expire: {}h\n      remind: 1h", plan.expire);
    if plan.quorum > 0 {
        let _ = writeln!(text, "      approvals: [{} of owners]", plan.quorum);
    }
    if let Some(typed) = &plan.typed {
        let _ = writeln!(text, "      typed_confirmation: '{}'", typed.replace('\'', "''"));
    }
    if !plan.scan.is_empty() {
        text.push_str("      scan:\n");
        for (severity, kind, above) in &plan.scan {
            let action = match (kind, above) {
                (0, 0) => "block".to_owned(),
                (0, above) => format!("block above {above}"),
                (1, 0) => "review by owners".to_owned(),
                (1, above) => format!("review above {above} by owners"),
                _ => "allow".to_owned(),
            };
            let _ = writeln!(text, "        {severity}: {action}");
        }
    }
    let long = plan.queue;
    let _ =
        writeln!(text, "    watch: {{ for: {}m, every: 1m, healthy: {} }}", plan.watch, written(&plan.healthy, long));
    let _ = writeln!(text, "    roll_back: {{ window: {}h, when: {} }}", plan.window, written(&plan.when, !long));
    let _ = writeln!(text, "    waiting: {}", if plan.queue { "queue" } else { "newest" });
    let people: Vec<&str> = plan.people.iter().map(String::as_str).collect();
    let _ = writeln!(text, "groups:\n  owners: [{}]", people.join(", "));
    text
}

fn meant(list: &[(Metric, Comparison, i64, Option<u64>)], negate: bool) -> Vec<Trigger> {
    let mut triggers: Vec<Trigger> = list
        .iter()
        .map(|(metric, comparison, limit, hold)| Trigger {
            metric: *metric,
            breach: if negate { comparison.negated() } else { *comparison },
            limit: *limit,
            hold: hold.map_or(HoldFor::Points(2), |hold| HoldFor::Time(Millis::seconds(hold))),
        })
        .collect();
    triggers.sort_by_key(|trigger| trigger.metric);
    triggers
}

fn assert_is(policy: &Policy, plan: &Plan) {
    assert_eq!(policy.mode, plan.mode);
    assert_eq!(policy.watch.healthy, meant(&plan.healthy, true));
    assert_eq!(policy.roll_back.when, meant(&plan.when, false));
    assert_eq!(policy.watch.length, Millis::minutes(plan.watch));
    assert_eq!(policy.roll_back.window, Millis::hours(plan.window));
    assert_eq!(policy.gates.expire, Millis::hours(plan.expire));
    assert_eq!(policy.gates.typed_confirmation, plan.typed);
    assert_eq!(policy.intake.branch, plan.branch);
    assert_eq!(policy.waiting, if plan.queue { Waiting::Queue } else { Waiting::Newest });
    let manual = match &policy.strategy {
        Switching::Rolling => None,
        Switching::BlueGreen { manual, steps, .. } => {
            assert_eq!(steps, &[10_000]);
            Some(*manual)
        }
    };
    assert_eq!(manual, plan.blue_green);
    let approvals: Vec<String> = policy.gates.approvals.iter().map(ToString::to_string).collect();
    let asked = (plan.quorum > 0).then(|| format!("{} of owners", plan.quorum));
    assert_eq!(approvals, asked.into_iter().collect::<Vec<_>>());
    assert_eq!(policy.gates.scan.is_some(), !plan.scan.is_empty());
    for (severity, kind, above) in &plan.scan {
        let action = policy.gates.scan.as_ref().and_then(|scan| scan.severities.get(severity));
        let expected = match kind {
            0 => Some(ScanAction::Block { above: *above }),
            1 => Some(ScanAction::Review { above: *above, by: "owners".parse().unwrap() }),
            _ => None,
        };
        assert_eq!(action, expected.as_ref());
    }
    assert_eq!(policy.services.len(), plan.services.len());
    for (at, (after, worker)) in plan.services.iter().enumerate() {
        let service = policy.services.iter().find(|service| service.name.as_str() == format!("s{at}")).unwrap();
        let before: Vec<String> = (0..at).filter(|b| after & (1 << b) != 0).map(|b| format!("s{b}")).collect();
        assert_eq!(service.after.iter().map(ToString::to_string).collect::<Vec<_>>(), before);
        let wave = |name: &str| policy.services.iter().find(|s| s.name.as_str() == name).map_or(0, |s| s.wave);
        assert_eq!(service.wave, before.iter().map(|name| wave(name) + 1).max().unwrap_or(0));
        assert_eq!(service.kind, worker.map_or(ServiceKind::Serving, |overlap| ServiceKind::Worker { overlap }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_policy_written_out_loads_as_what_was_meant(plan in plans()) {
        let text = text(&plan);
        // A review is asked for beside the approvals, of another person.
        let review = plan.scan.iter().any(|(_, kind, _)| *kind == 1);
        let reachable = usize::from(plan.quorum) + usize::from(review) <= plan.people.len();
        match load(&files(&[("made", &text)])) {
            Ok(set) => {
                prop_assert!(reachable, "accepted although nobody can approve:\n{}", text);
                assert_is(&set.policies[0], &plan);
                prop_assert!(explain(&set.policies[0]).lines().all(|line| line.chars().count() <= 100));
            }
            Err(report) => prop_assert!(!reachable, "{}\n{}", report.render(&Style::PLAIN), text),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,300}") {
        let _ = check(&files(&[("any", &text)])).render(&Style::PLAIN);
    }

    #[test]
    fn no_text_of_yaml_marks_makes_it_panic(text in "([ -:#\\[\\]{},\n\"'&*!|>~?\tax1é]|\r\n){0,200}") {
        let _ = check(&files(&[("any", &text)])).render(&Style::ASCII);
        let _ = check(&files(&[("any", &format!("{GOOD}{text}"))])).render(&Style::PLAIN);
    }

    #[test]
    fn a_changed_policy_never_panics_nor_loses_its_approvals(
        base in select(vec![VOLTERYDE, SWIFTCONCUR, GOOD, PROMOTED, ORGANISATION]),
        changes in vec((any::<Index>(), 0_usize..12, select(vec!["", " ", "\n", "#", ": ", "[", "}", "- ", "\"", "é", "0", "~"])), 1..5),
    ) {
        let mut text = base.replace("mode: deploy", "mode: observe");
        for (at, length, insert) in changes {
            let bounds: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let start = at.index(bounds.len());
            let end = (start + length).min(bounds.len() - 1);
            text.replace_range(bounds[start]..bounds[end], insert);
        }
        // Also under an organisation, and as one: what it asks for is in force whatever the application says.
        if let Ok(set) = load(&files(&[("organisation", ORGANISATION), ("changed", &text)])) {
            for policy in &set.policies {
                prop_assert!(policy.gates.scan.is_some() && policy.gates.calendar.freeze.iter().any(|w| w.name == "year end"));
            }
        }
        let _ = check(&files(&[("changed", &text), ("application", PROMOTED)])).render(&Style::ASCII);
        match load(&files(&[("changed", &text)])) {
            Err(report) => {
                let _ = report.render(&Style::PLAIN);
            }
            // The approvals of these policies stand in the environment named production.
            Ok(set) => {
                let asks = text.lines().any(|line| line.trim_start().starts_with("approvals: ["));
                for policy in set.policies.iter().filter(|policy| policy.target.env.as_str() == "production") {
                    prop_assert!(!asks || !policy.gates.approvals.is_empty(), "{}", text);
                }
            }
        }
    }
}
