//! Policies that real teams would write: those of the examples load, those that use what comes later say so.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use portcullis_policy::{Severity, Style, check, explain, load};
use with::{files, lines};

const VOLTERYDE: &str = include_str!("fixtures/volteryde.yaml");
const SWIFTCONCUR: &str = include_str!("fixtures/swiftconcur.yaml");
const FIRST: &str = include_str!("../../../docs/examples/first-policy.yaml");
const PROMOTED: &str = include_str!("../../../docs/examples/promoted.yaml");
const LOCAL: &str = include_str!("../../../docs/examples/volteryde-local.yaml");

/// A policy with every `mode: deploy` turned into `mode: observe`.
fn observing(text: &str) -> String {
    text.replace("mode: deploy", "mode: observe")
}

#[test]
fn volteryde_is_refused_for_exactly_what_is_not_supported_yet() {
    let report = check(&files(&[("volteryde.yaml", VOLTERYDE)]));
    assert!(report.failed());
    assert!(report.diagnostics.iter().all(|found| found.severity == Severity::Unsupported));
    insta::assert_snapshot!(lines(&report));
}

#[test]
fn swiftconcur_is_refused_for_exactly_what_is_not_supported_yet() {
    let report = check(&files(&[("swiftconcur.yaml", SWIFTCONCUR)]));
    assert!(report.failed());
    assert!(report.diagnostics.iter().all(|found| found.severity != Severity::Error));
    insta::assert_snapshot!(lines(&report));
}

#[test]
fn in_observe_mode_the_same_sections_are_warnings_and_the_policies_load() {
    for (name, text, targets) in [("volteryde.yaml", VOLTERYDE, 3), ("swiftconcur.yaml", SWIFTCONCUR, 2)] {
        let refused = check(&files(&[(name, text)]));
        let unsupported = refused.diagnostics.iter().filter(|found| found.severity == Severity::Unsupported).count();
        let set = load(&files(&[(name, &observing(text))])).map_err(|report| report.render(&Style::PLAIN)).unwrap();
        assert_eq!(set.targets().count(), targets);
        let passed_over = |found: &&portcullis_policy::Diagnostic| found.message.ends_with("it is passed over");
        assert_eq!(set.warnings.diagnostics.iter().filter(passed_over).count(), unsupported, "{name}");
        assert!(!set.warnings.failed());
    }
}

#[test]
fn one_environment_that_deploys_is_enough_to_refuse_what_it_inherits() {
    let text = observing(VOLTERYDE).replacen("mode: observe", "mode: gate", 1);
    let report = check(&files(&[("volteryde.yaml", &text)]));
    let refused: Vec<&str> = report
        .diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Unsupported)
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(
        refused,
        [
            "`gates.checks` is not supported yet",
            "`gates.coverage` is not supported yet",
            "`slack deployments` in notify.everything is not supported yet",
            "`slack alerts` in notify.failed is not supported yet",
            "`github issue` in notify.failed is not supported yet",
            "`slack alerts` in notify.needs_a_person is not supported yet",
            "`pagerduty devops` in notify.needs_a_person is not supported yet",
        ]
    );
}

#[test]
fn the_examples_load_without_a_single_finding() {
    let set =
        load(&files(&[("first-policy.yaml", FIRST), ("volteryde-local.yaml", LOCAL), ("promoted.yaml", PROMOTED)]))
            .map_err(|report| report.render(&Style::PLAIN))
            .unwrap();
    assert_eq!(set.warnings.render(&Style::PLAIN), "");
    let targets: Vec<String> = set.targets().map(ToString::to_string).collect();
    assert_eq!(targets, ["hello/production", "storefront/production", "storefront/staging", "volteryde/production"]);
    for target in set.targets() {
        assert_eq!(set.get(target).map(|policy| &policy.target), Some(target));
    }
    assert!(set.get(&"hello/staging".parse().unwrap()).is_none());
}

#[test]
fn an_example_explained_reads_like_this() {
    let set = load(&files(&[("a", FIRST), ("b", LOCAL), ("c", PROMOTED)])).unwrap();
    let pages: Vec<String> = set.policies.iter().map(|policy| explain(policy)).collect();
    assert!(pages.iter().flat_map(|page| page.lines()).all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(pages.join("\n----------\n\n"));
}
