//! Several applications, several files, defaults: what becomes of them together.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod with;

use portcullis_domain::names::{AppName, ServiceName};
use portcullis_domain::policy::{
    Comparison, HoldFor, Metric, MetricsFrom, Policy, ScanAction, Severity, Strategy, Trigger,
};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_policy::{Channel, NoticeKind, PolicySet, Style, check, explain, load};
use with::{GOOD, files, good_with, lines};

fn loaded(list: &[(&str, &str)]) -> PolicySet {
    load(&files(list)).map_err(|report| report.render(&Style::PLAIN)).unwrap()
}

#[test]
fn several_applications_are_several_documents_or_several_files() {
    let other = GOOD.replace("shop", "store");
    let one_file = loaded(&[("all.yaml", &format!("{GOOD}---\n{other}"))]);
    let two_files = loaded(&[("a.yaml", GOOD), ("b.yaml", &other)]);
    assert_eq!(one_file.policies, two_files.policies);
    let targets: Vec<String> = one_file.targets().map(ToString::to_string).collect();
    assert_eq!(targets, ["shop/production", "store/production"]);
}

#[test]
fn one_application_in_two_files_is_refused_in_both() {
    let report = check(&files(&[("a.yaml", GOOD), ("b.yaml", &GOOD.replace("production", "staging"))]));
    assert_eq!(
        lines(&report),
        "Error b.yaml:2:14 the application shop is written twice\nError b.yaml:8:3 shop/production and shop/staging own the same objects\n"
    );
    assert_eq!(report.diagnostics[0].labels.len(), 2);
}

#[test]
fn two_applications_that_own_one_object_are_refused() {
    let other = GOOD.replace("application: shop", "application: store");
    let report = check(&files(&[("a.yaml", GOOD), ("b.yaml", &other)]));
    assert_eq!(lines(&report), "Error b.yaml:8:3 shop/production and store/production own the same objects\n");
    assert_eq!(report.diagnostics[0].labels[0].text, "api, jobs on local/shop");
}

#[test]
fn one_cluster_name_in_two_accounts_or_regions_is_two_clusters() {
    let at = |app: &str, account: &str, region: &str| {
        good_with("cluster: local", &format!("cluster: local\n    account: \"{account}\"\n    region: {region}"))
            .replace("application: shop", &format!("application: {app}"))
    };
    let one = at("one", "111111111111", "eu-west-1");
    let region = at("two", "111111111111", "eu-north-1");
    let account = at("three", "222222222222", "eu-west-1");
    assert_eq!(loaded(&[("a", &one), ("b", &region), ("c", &account)]).policies.len(), 3);
}

#[test]
fn defaults_merge_maps_and_replace_lists() {
    let text = "\
portcullis: 1
application: shop
registry: ghcr.io/example
services: { api: {} }
defaults:
  mode: deploy
  cluster: local
  strategy: blue-green
  gates:
    scan: { critical: block, high: block, max_age: 2h }
    approvals: [1 of owners, 1 of security]
  watch: { for: 10m, healthy: { error_rate: { below: 1%, for: 2m }, requests: above 1/s } }
environments:
  staging:
    namespace: staging
    strategy: rolling
    gates: { approvals: [1 of owners] }
  production:
    namespace: production
    gates: { scan: { high: allow, medium: review above 3 by security } }
    watch: { for: 20m, healthy: { error_rate: at most 0.5% } }
groups: { owners: [kofi, lena], security: [lena, tunde] }
";
    let set = loaded(&[("p", text)]);
    let (production, staging) = (&set.policies[0], &set.policies[1]);
    let approvals = |policy: &portcullis_domain::policy::Policy| {
        policy.gates.approvals.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(approvals(staging), ["1 of owners"]);
    assert_eq!(approvals(production), ["1 of owners", "1 of security"]);
    let scan = production.gates.scan.as_ref().unwrap();
    assert_eq!(scan.max_age, Millis::hours(2));
    assert_eq!(
        scan.severities.iter().map(|(severity, action)| (*severity, action.clone())).collect::<Vec<_>>(),
        [
            (Severity::Critical, ScanAction::Block { above: 0 }),
            (Severity::Medium, ScanAction::Review { above: 3, by: "security".parse().unwrap() }),
        ]
    );
    assert_eq!((staging.strategy.clone(), staging.watch.length), (Strategy::Rolling, Millis::minutes(10)));
    let rate = |breach, limit, hold| Trigger { metric: Metric::ErrorRate, breach, limit, hold };
    let requests =
        Trigger { metric: Metric::Requests, breach: Comparison::AtMost, limit: 1_000, hold: HoldFor::Points(2) };
    assert_eq!(
        staging.watch.healthy,
        [requests.clone(), rate(Comparison::AtLeast, 100, HoldFor::Time(Millis::minutes(2)))]
    );
    assert_eq!(production.watch.healthy, [requests, rate(Comparison::Above, 50, HoldFor::Points(2))]);
    assert_eq!((staging.groups.len(), production.groups.len()), (1, 2), "only the groups its rules speak of");
}

#[test]
fn a_mistake_in_the_defaults_is_reported_once() {
    let text = good_with(
        "environments:",
        "defaults: { gates: { approvals: [9 of owners] }, watch: { every: 1 } }\nenvironments:\n  staging: { mode: deploy, cluster: local, namespace: x, strategy: rolling }\n  dev: { mode: deploy, cluster: local, namespace: y, strategy: rolling }",
    );
    let report = check(&files(&[("p", &text)]));
    assert_eq!(
        lines(&report),
        "Error p:7:33 staging and dev can never be approved\nError p:7:66 defaults.watch.every: `1` has no unit\n"
    );
}

#[test]
fn what_holds_where_nothing_is_said() {
    let text = "portcullis: 1\napplication: a\nregistry: r.example\nservices: {s: {}}\nenvironments:\n  \
                one: {mode: deploy, cluster: c, namespace: one, strategy: blue-green}\n  \
                two: {mode: deploy, cluster: c, namespace: two, strategy: rolling, watch: {for: 8s}, gates: {expire: 2h}}\n";
    let set = loaded(&[("p", text)]);
    let (one, two) = (&set.policies[0], &set.policies[1]);
    assert_eq!((one.gates.expire, one.gates.remind), (Millis::hours(24), Millis::hours(4)));
    assert_eq!(
        (one.watch.length, one.watch.every, one.watch.extend),
        (Millis::minutes(5), Millis::minutes(1), Millis::minutes(5))
    );
    assert_eq!((one.roll_back.window, one.roll_back.keep_old), (Millis::hours(24), Millis::hours(1)));
    assert_eq!(one.backup_keep, Millis::days(30));
    assert_eq!(one.limits, portcullis_domain::policy::Limits::default());
    assert_eq!(one.strategy, Strategy::BlueGreen { steps: vec![10_000], every: Millis(0), manual: false });
    assert_eq!(one.tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["{sha}"]);
    assert_eq!((two.watch.length, two.watch.every), (Millis::seconds(8), Millis::seconds(4)));
    assert_eq!((two.gates.expire, two.gates.remind), (Millis::hours(2), Millis::hours(1)));
}

#[test]
fn services_come_in_waves_and_by_name_within_one() {
    let text = good_with(
        "  api: {}\n  jobs: { after: api, kind: worker }\n",
        "  web: { after: [api, auth] }\n  auth: { after: db }\n  db: {}\n  api: { after: db }\n",
    );
    let set = loaded(&[("p", &text)]);
    let order: Vec<(u16, &ServiceName)> = set.policies[0].services.iter().map(|s| (s.wave, &s.name)).collect();
    let shown: Vec<String> = order.iter().map(|(wave, name)| format!("{wave} {name}")).collect();
    assert_eq!(shown, ["0 db", "1 api", "1 auth", "2 web"]);
}

#[test]
fn a_waiver_counts_until_its_day_begins() {
    let text = good_with("critical: block", "critical: block, waivers: [{ id: CVE-1, reason: x, until: 2028-02-29 }]");
    let waivers = loaded(&[("p", &text)]).policies[0].gates.scan.clone().unwrap().waivers;
    // 2028-02-29T00:00:00Z, by `date -ud 2028-02-29 +%s`.
    assert_eq!(waivers[0].until, Timestamp(1_835_395_200_000));
}

#[test]
fn people_have_their_accounts_and_members_without_any_are_known_too() {
    let text = good_with(
        "kofi: { github: kofi-m }",
        "kofi: { github: Kofi-M, slack: T01/U02, email: K@x.org, oidc: \"auth|1\" }",
    );
    let set = loaded(&[("p", &text)]);
    let people: Vec<String> =
        set.policies[0].people.iter().map(|(subject, accounts)| format!("{subject} {accounts:?}")).collect();
    assert_eq!(people, ["kofi {email:k@x.org, github:kofi-m, oidc:auth|1, slack:T01/U02}", "lena {}"]);
}

#[test]
fn metrics_come_from_where_the_policy_says_and_deployments_are_counted_where_it_says() {
    let said = |metrics: &str| {
        let set = loaded(&[("p", &good_with("notify:", &format!("{metrics}notify:")))]);
        let policy = set.policies[0].clone();
        (policy.metrics_from, policy.publish.clone(), explain(&policy))
    };
    let counted = "counted at its end, in the CloudWatch namespace Shop/Deployments\n";
    let measured = "measured by the Application Load Balancers in front, by their metrics in CloudWatch\n";
    let (from, publish, page) = said("metrics: { preset: alb, publish: Shop/Deployments }\n");
    assert_eq!((from, publish.as_deref()), (MetricsFrom::Alb, Some("Shop/Deployments")));
    assert!(page.contains(counted) && page.contains(measured), "{page}");
    for nothing in ["", "metrics: { preset: local }\n"] {
        let (from, publish, page) = said(nothing);
        assert_eq!((from, publish), (MetricsFrom::Local, None), "{nothing}");
        assert!(!page.contains("CloudWatch"), "{page}");
    }
}

#[test]
fn load_balancers_are_not_asked_for_less_than_a_minute() {
    let watching = |watch: &str| {
        let text = good_with("notify:", "metrics: { preset: alb }\nnotify:");
        let text = text.replace("{ for: 5m, healthy: { error_rate: below 1% } }", watch);
        load(&files(&[("p", &text)]))
    };
    let every = |watch| watching(watch).map_err(|report| report.render(&Style::PLAIN)).unwrap().policies[0].watch.every;
    assert_eq!(every("{ for: 1m }"), Millis::minutes(1), "not half of it");
    assert_eq!(every("{ for: 10m, every: 2m }"), Millis::minutes(2));
    for (watch, message) in [
        ("{ for: 10m, every: 30s }", "a window of 30s is too short to measure"),
        ("{ for: 30s }", "a watch of 30s is too short to measure"),
        ("{ for: 30s, every: 10s }", "a watch of 30s is too short to measure"),
    ] {
        let report = watching(watch).unwrap_err();
        assert_eq!(report.diagnostics.len(), 1, "{report:?}");
        let found = &report.diagnostics[0];
        assert_eq!(found.message, message);
        assert_eq!(found.labels[0].text, "at least 1m");
    }
}

#[test]
fn a_policy_that_says_nothing_of_metrics_is_written_as_it_was_before_it_could() {
    let set = loaded(&[("p", GOOD)]);
    let (policy, hash) = (&*set.policies[0], set.policies[0].hash());
    let written = serde_json::to_value(policy).unwrap();
    assert_eq!((written.get("metrics_from"), written.get("publish")), (None, None));
    assert_eq!(serde_json::from_value::<Policy>(written).unwrap(), *policy);
    // What it does say is part of what an approval is bound to.
    for said in [
        Policy { metrics_from: MetricsFrom::Alb, ..policy.clone() },
        Policy { publish: Some("Shop/Deployments".to_owned()), ..policy.clone() },
    ] {
        assert_ne!(said.hash(), hash);
        assert_eq!(serde_json::from_value::<Policy>(serde_json::to_value(&said).unwrap()).unwrap(), said);
    }
}

#[test]
fn notices_go_where_the_policy_says() {
    let text = good_with("everything: [terminal]", "everything: [terminal, terminal]\n  live: [file, terminal]");
    let set = loaded(&[("p", &text)]);
    let notices = &set.notices[&AppName::new("shop").unwrap()];
    assert_eq!(notices.channels(NoticeKind::Live), [&Channel::Terminal, &Channel::File]);
    assert_eq!(notices.channels(NoticeKind::Failed), [&Channel::Terminal]);
}
