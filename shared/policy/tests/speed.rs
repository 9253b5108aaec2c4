//! Loading many applications: what it takes, and that nothing in it grows faster than the number of environments.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use portcullis_policy::load;

/// So many applications of three services and three environments, each a document as large as a real one.
fn applications(count: usize) -> Vec<(String, String)> {
    let mut text = String::new();
    for app in 0..count {
        let _ = write!(
            text,
            "---
portcullis: 1
application: app-{app}                            # what the team ships
repository: github.com/example/app-{app}
registry: 444444444444.dkr.ecr.us-east-1.amazonaws.com/app-{app}
tags: [\"{{sha}}\", \"v{{version}}\"]
services:
  front: {{ source: services/front }}
  back: {{ source: services/back, after: front }}
  jobs: {{ source: workers, after: back, kind: worker }}
defaults:
  mode: deploy
  region: us-east-1
  role: portcullis-release
  gates: {{ scan: {{ critical: block, high: review by security }} }}
  verify: [smoke]
  roll_back: {{ window: 24h, keep_old: 1h, when: {{ health: failing for 5m, error_rate: above 5% for 2m }} }}
environments:
"
        );
        for (env, account) in [("dev", 1), ("staging", 2), ("production", 3)] {
            let _ = write!(
                text,
                "  {env}:
    account: \"{0}\"
    cluster: shared-{env}
    namespace: app-{app}
    branch: {env}
    moving_tag: {env}-latest
    gates:
      approvals: [1 of release-managers]
      typed_confirmation: DEPLOY TO {env}
    backup: {{ keep: 90d }}
    strategy: blue-green
    watch:
      for: 5m
      healthy: {{ error_rate: below 1%, response_time_p95: below 1s }}
      alarms: {{ roll_back: [\"app-{app}-{env}-*\"], ask: [\"app-{app}-rds-*\"] }}
",
                account.to_string().repeat(12)
            );
        }
        text.push_str(
            "tests: { smoke: { http: [GET /health] } }
people:
  kofi: { github: kofi-m, slack: T01AB/U03CD }
  lena: { github: lena-w, slack: T01AB/U04CD }
  tunde: { github: tunde-a, slack: T01AB/U05CD }
groups: { release-managers: [kofi, lena, tunde], security: [lena, tunde] }
notify: { everything: [terminal] }
",
        );
    }
    // As many files as applications would be as good; one file must stay below its cap.
    text.split_inclusive("notify: { everything: [terminal] }\n")
        .enumerate()
        .map(|(at, document)| (format!("app-{at}.yaml"), document.to_owned()))
        .collect()
}

/// The best of a few runs: what the machine can do when nothing else does.
fn best(files: &[(String, String)]) -> Duration {
    (0..5)
        .map(|_| {
            let begin = Instant::now();
            let set = load(files).map_err(|report| report.summary()).unwrap();
            assert_eq!(set.policies.len(), files.len() * 3);
            begin.elapsed()
        })
        .min()
        .unwrap()
}

#[test]
fn two_hundred_applications_of_three_environments_load_in_time() {
    let files = applications(200);
    let took = best(&files);
    println!("200 applications x 3 environments, {} bytes: {took:?}", files.iter().map(|f| f.1.len()).sum::<usize>());
    // The promise is for an optimised build; the other one is only kept from being absurd.
    let most = if cfg!(debug_assertions) { Duration::from_secs(5) } else { Duration::from_millis(100) };
    assert!(took < most, "{took:?}");
}

#[test]
fn four_times_the_applications_take_about_four_times_as_long() {
    let (few, many) = (best(&applications(60)), best(&applications(240)));
    assert!(many < few * 10, "{few:?} for 60, {many:?} for 240");
}
