//! `cluster rbac`, `cluster admission` and `cluster doctor`.

use std::sync::Arc;

use portcullis_domain::policy::SealedPolicy;
use portcullis_kubernetes::admission::{Admission, Enforce};
use portcullis_kubernetes::backup::discover::discover;
use portcullis_kubernetes::backup::wire::Wire;
use portcullis_kubernetes::doctor::{self, Finding, Level};
use portcullis_kubernetes::rbac::{self, Needs, Rule, Subject, Want};
use portcullis_kubernetes::room::room;
use serde_json::{Value as Json, json};

use crate::args::{self, Doctor, Rbac, Wants, Whose};
use crate::exit::{self, Exit, Stop};
use crate::out::Out;
use crate::show::screen::Screen;

/// Prints the rights that a policy needs.
pub(super) async fn rbac(asked: &Rbac, out: Out) -> anyhow::Result<()> {
    let policy = super::policy(&asked.on, out)?;
    if asked.adopt {
        return adoption(&policy, &asked.whose, out);
    }
    let mut needs = needs(Needs::of(&policy), asked.wants);
    if asked.discover {
        let client = super::place(&asked.on, out)?.1.client().await?;
        needs.kinds = Some(discover(&client).await?.kinds);
    }
    let subject = subject(&asked.whose, rbac::ROLE);
    let yaml = rbac::yaml(&needs, &policy.place.namespace, &subject);
    let value = json!({
        "target": policy.target,
        "namespace": policy.place.namespace,
        "rules": listed(&rbac::rules(&needs)),
        "cluster_rules": listed(&rbac::cluster_rules(&needs)),
        "system_rules": listed(&rbac::system_rules(&needs)),
        "yaml": yaml,
    });
    out.answer(&value, || yaml.trim_end().to_owned())
}

/// Prints the rights of people who adopt a policy's services.
fn adoption(policy: &SealedPolicy, whose: &Whose, out: Out) -> anyhow::Result<()> {
    let (needs, namespace) = (Needs::of(policy), &policy.place.namespace);
    let yaml = rbac::adoption_yaml(&needs, namespace, &subject(whose, rbac::ADOPTERS));
    let rules = listed(&rbac::adoption_rules(&needs));
    let value = json!({ "target": policy.target, "namespace": namespace, "rules": rules, "yaml": yaml });
    out.answer(&value, || yaml.trim_end().to_owned())
}

fn listed(rules: &[Rule]) -> Vec<Json> {
    let one = |rule: &Rule| {
        json!({ "purpose": rule.purpose, "group": rule.group, "resources": rule.resources, "verbs": rule.verbs,
            "names": rule.names })
    };
    rules.iter().map(one).collect()
}

/// Prints the policy by which the API server lets only released digests in.
pub(super) fn admission(asked: &args::Admission, out: Out) -> anyhow::Result<()> {
    let policy = super::policy(&asked.on, out)?;
    let namespace = policy.place.namespace.clone();
    let services = policy.services.iter().map(|service| service.name.clone()).collect();
    let enforce = match asked.enforce {
        args::Enforce::Audit => Enforce::Audit,
        args::Enforce::Deny => Enforce::Deny,
    };
    let writer = subject(&asked.whose, rbac::ROLE);
    let admission =
        Admission::new(policy.target.clone(), namespace.clone(), services, writer, asked.break_glass.clone(), enforce);
    let admission = admission.map_err(|error| exit::usage(format!("--break-glass: {error}")))?;
    let yaml = admission.yaml();
    let value = json!({
        "target": policy.target,
        "namespace": namespace,
        "policy": admission.policy(),
        "binding": admission.binding(),
        "yaml": yaml,
    });
    out.answer(&value, || yaml.trim_end().to_owned())
}

fn needs(of_policy: Needs, wants: Wants) -> Needs {
    let asked = [(wants.secrets, Want::Secrets), (wants.restore, Want::Restore), (wants.capacity, Want::Capacity)];
    asked.into_iter().filter(|(is, _)| *is).fold(of_policy, |needs, (_, want)| needs.with(want))
}

/// Who is named, else the group that is called so.
fn subject(whose: &Whose, otherwise: &str) -> Subject {
    match whose {
        Whose { user: Some(name), .. } => Subject::User(name.clone()),
        Whose { service_account: Some((namespace, name)), .. } => {
            Subject::ServiceAccount(namespace.clone(), name.clone())
        }
        Whose { group: Some(name), .. } => Subject::Group(name.clone()),
        _ => Subject::Group(otherwise.to_owned()),
    }
}

/// Examines a cluster, and shows what stands in the way.
pub(super) async fn doctor(asked: &Doctor, out: Out) -> anyhow::Result<()> {
    let (policy, context) = super::place(&asked.on, out)?;
    let client = context.client().await?;
    let needs = needs(Needs::of(&policy), asked.wants);
    let namespace = policy.place.namespace.as_str();
    // What may not be read is a finding of its own.
    let fits = room(&client, &policy.target, namespace).await.ok().flatten();
    let wire: Arc<dyn Wire> = Arc::new(client);
    let found = doctor::examine(&wire, namespace, &needs, fits).await?;
    let findings = doctor::findings(&found, &policy);
    out.answer(&value(&findings), || {
        let head = format!("{}   context {}, namespace {namespace}", policy.target, context.shown());
        text(&head, &findings, out.screen)
    })?;
    // What was found is this command's answer; the exit code says how bad it is.
    match worst(&findings) {
        Level::Ok => Ok(()),
        Level::Hold => Err(Stop { code: Exit::Held, words: String::new() }.into()),
        Level::Fail => Err(Stop { code: Exit::Blocked, words: String::new() }.into()),
    }
}

fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

fn value(findings: &[Finding]) -> Json {
    let level = |level| match level {
        Level::Ok => "ok",
        Level::Hold => "hold",
        Level::Fail => "fail",
    };
    let of = |finding: &Finding| {
        json!({ "check": finding.check, "level": level(finding.level), "what": finding.what, "fix": finding.fix,
            "yaml": finding.yaml })
    };
    json!({ "level": level(worst(findings)), "findings": findings.iter().map(of).collect::<Vec<_>>() })
}

fn text(head: &str, findings: &[Finding], screen: Screen) -> String {
    let shown = doctor::text(findings, screen.ascii);
    // Line by line: what a cluster said is in them.
    let lines: Vec<String> = shown.trim_end().lines().map(|line| screen.safe(line)).collect();
    format!("{}\n\n{}", screen.bold(&screen.safe(head)), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn finding(check: &'static str, level: Level, what: &str, fix: Option<&str>) -> Finding {
        Finding { check, level, what: what.into(), fix: fix.map(str::to_owned), yaml: None }
    }

    #[test]
    fn findings_are_shown_in_order_with_their_fixes_and_the_worst_one_counts() {
        let findings = [
            finding("access", Level::Ok, "prod answers, v1.36.3", None),
            finding("writers", Level::Fail, "Argo\u{1b} CD writes it", Some("let it ignore the field")),
        ];
        assert_eq!(worst(&findings), Level::Fail);
        assert_eq!(value(&findings)["level"], "fail");
        assert_eq!(worst(&findings[..1]), Level::Ok);
        assert_snapshot!(text("shop/production   context prod, namespace shop", &findings, Screen::PLAIN), @r"
        shop/production   context prod, namespace shop

          ✓ access    prod answers, v1.36.3
          ✗ writers   Argo CD writes it
                      fix: let it ignore the field

        2 checks: 1 ok, 0 to look at, 1 in the way
        ");
    }

    #[test]
    fn rights_go_to_the_one_that_is_named_else_to_the_group_of_our_name() {
        assert_eq!(subject(&Whose::default(), rbac::ROLE), Subject::Group("portcullis".into()));
        let account = Whose { service_account: Some(("ops".into(), "portcullis".into())), ..Whose::default() };
        assert_eq!(subject(&account, rbac::ROLE), Subject::ServiceAccount("ops".into(), "portcullis".into()));
    }
}
