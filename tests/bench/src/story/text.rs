//! Policies as text, each as long as that of a real application.

use std::fmt::Write as _;

/// So many applications of three services and three environments: a file each, with its name.
pub(crate) fn applications(count: usize) -> Vec<(String, String)> {
    (0..count).map(|app| (format!("app-{app}.yaml"), application(app))).collect()
}

fn application(app: usize) -> String {
    let mut text = format!(
        "portcullis: 1
application: app-{app}                       # what the team ships
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
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "  {env}:
    account: \"{account}\"
    cluster: shared-{env}
    namespace: app-{app}
    branch: {env}
    moving_tag: {env}-latest
    gates:
      approvals: [1 of release-managers]
    backup: {{ keep: 90d }}
    strategy: blue-green
    watch:
      for: 5m
      healthy: {{ error_rate: below 1%, response_time_p95: below 1s }}
      alarms: {{ roll_back: [\"app-{app}-{env}-*\"], ask: [\"app-{app}-rds-*\"] }}
",
            account = account.to_string().repeat(12)
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
    text
}
