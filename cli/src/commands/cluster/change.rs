//! `cluster adopt` and `cluster release`: planned for every service first, shown, confirmed, then carried out.

use std::time::Duration;

use anyhow::Context as _;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::{Policy, ServiceKind};
use portcullis_kubernetes::adopt::{AdoptOptions, Plan, Step, carry_out, plan_adoption, plan_release};
use portcullis_kubernetes::client::Client;
use serde_json::{Value as Json, json};

use super::lines::{Line, compare};
use crate::args::Change;
use crate::out::Out;
use crate::show::screen::{Screen, Tone};
use crate::show::text::{count, wrap};
use crate::{ask, exit};

/// Columns before the words of a warning or a refusal.
const INDENT: usize = 11;

/// What a service becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// One with colours.
    Colours,
    /// A plain one.
    Plain,
}

/// What is done with one service.
struct Planned {
    service: ServiceName,
    options: AdoptOptions,
    plan: Plan,
}

/// Plans, shows, asks, and does it.
pub(super) async fn run(asked: &Change, to: To, out: Out) -> anyhow::Result<()> {
    let (policy, context) = super::place(&asked.on, out)?;
    let wanted = services(&policy, &asked.services)?;
    let client = context.client().await?;
    let namespace = policy.place.namespace.as_str();
    let mut all = Vec::new();
    for (service, kind) in wanted {
        let options = AdoptOptions {
            within: Duration::from_millis(asked.within.0),
            overlap: matches!(kind, ServiceKind::Worker { overlap: true }),
            traffic: policy.traffic,
            selector_everywhere: asked.selector_everywhere,
            ..AdoptOptions::default()
        };
        let plan = plan(&client, &policy.target, namespace, &service, to, &options).await?;
        all.push(Planned { service, options, plan });
    }
    let head = format!("{}   context {}, namespace {namespace}", policy.target, context.shown());
    let refused: Vec<&str> =
        all.iter().filter(|one| !one.plan.refusals.is_empty()).map(|one| one.service.as_str()).collect();
    if asked.dry_run || !refused.is_empty() {
        let value = value(&policy.target, &context.name, namespace, &all, false);
        out.answer(&value, || text(&head, &all, to, asked.dry_run, out.screen))?;
        if refused.is_empty() {
            return Ok(());
        }
        let words = format!("{} cannot be changed as it is; nothing was changed", refused.join(", "));
        return Err(exit::refused(words));
    }
    out.aside(&text(&head, &all, to, false, out.screen))?;
    let changes: usize = all.iter().map(|one| one.plan.steps.iter().filter(|step| step.changes()).count()).sum();
    let verb = if to == To::Colours { "Adopt" } else { "Release" };
    if changes > 0 {
        let many = count(all.len() as u64, "service");
        let prompt = format!(
            "{verb} {many} of {} by {} on {}, namespace {namespace}?",
            policy.target,
            count(changes as u64, "change"),
            context.shown()
        );
        ask::confirm(&prompt, asked.yes)?;
    }
    for (n, one) in all.iter_mut().enumerate() {
        // Several services may share an Ingress or a route: the one before changed it.
        if n > 0 {
            one.plan = plan(&client, &policy.target, namespace, &one.service, to, &one.options).await?;
        }
        do_it(&client, namespace, one, out).await.with_context(|| {
            let command = if to == To::Colours { "adopt" } else { "release" };
            format!(
                "{} is half way: it serves as it is now. `portcullis cluster {command}` goes on from there",
                one.service
            )
        })?;
    }
    out.answer(&value(&policy.target, &context.name, namespace, &all, true), || {
        let next = match (to, changes) {
            (_, 0) => return "It is so already; nothing was changed.".to_owned(),
            (To::Colours, _) => "the first release marks these objects as its own",
            (To::Plain, _) => "put `mode: observe` into the policy, or take the environment out of it",
        };
        format!("Done. Next: {next}.")
    })
}

async fn plan(
    client: &Client,
    target: &TargetId,
    namespace: &str,
    service: &ServiceName,
    to: To,
    options: &AdoptOptions,
) -> anyhow::Result<Plan> {
    Ok(match to {
        To::Colours => plan_adoption(client, target, namespace, service, options).await?,
        To::Plain => plan_release(client, target, namespace, service, options).await?,
    })
}

/// The services of a policy that are meant, in the order in which they come up.
fn services(policy: &Policy, only: &[ServiceName]) -> anyhow::Result<Vec<(ServiceName, ServiceKind)>> {
    let known = |name: &&ServiceName| policy.services.iter().any(|service| service.name == **name);
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        let all: Vec<&str> = policy.services.iter().map(|service| service.name.as_str()).collect();
        let words = format!("{} has no service {unknown}; it has {}", policy.target, all.join(", "));
        return Err(exit::not_found(words));
    }
    let meant = policy.services.iter().filter(|service| only.is_empty() || only.contains(&service.name));
    Ok(meant.map(|service| (service.name.clone(), service.kind)).collect())
}

async fn do_it(client: &Client, namespace: &str, one: &Planned, out: Out) -> anyhow::Result<()> {
    let told = |step: &Step| {
        if step.changes() {
            eprintln!("  {}", out.screen.safe(&step.what));
        }
    };
    Ok(carry_out(client, namespace, &one.service, &one.plan, &one.options, told).await?)
}

fn value(target: &TargetId, context: &str, namespace: &str, all: &[Planned], done: bool) -> Json {
    let step = |step: &Step| {
        json!({ "what": step.what, "kind": step.kind.kind, "name": step.name, "changes": step.changes(),
            "before": step.before, "after": step.after })
    };
    let services: Vec<Json> = all
        .iter()
        .map(|one| {
            json!({ "service": one.service, "steps": one.plan.steps.iter().map(step).collect::<Vec<_>>(),
                "warnings": one.plan.warnings, "refusals": one.plan.refusals })
        })
        .collect();
    json!({ "target": target, "context": context, "namespace": namespace, "services": services, "done": done })
}

/// The plans as text; with `objects` every object before and after.
fn text(head: &str, all: &[Planned], to: To, objects: bool, screen: Screen) -> String {
    let mut lines = vec![screen.bold(&screen.safe(head))];
    for one in all {
        lines.push(String::new());
        lines.push(screen.bold(one.service.as_str()));
        for why in &one.plan.refusals {
            said(&mut lines, screen.paint(Tone::Bad, "  cannot   "), why, screen);
        }
        for warning in &one.plan.warnings {
            said(&mut lines, screen.paint(Tone::Warn, "  know     "), warning, screen);
        }
        for (at, step) in one.plan.steps.iter().enumerate() {
            let done = if step.changes() { "" } else { " (it is so already)" };
            said(&mut lines, format!("  {:>6}.  ", at + 1), &format!("{}{done}", step.what), screen);
            if objects && step.changes() {
                object(&mut lines, step, screen);
            }
        }
    }
    if objects {
        lines.push(String::new());
        let verb = if to == To::Colours { "adopt" } else { "release" };
        lines.push(format!("Nothing was changed. Without --dry-run, `portcullis cluster {verb}` asks, and does it."));
    }
    lines.join("\n")
}

fn said(lines: &mut Vec<String>, head: String, words: &str, screen: Screen) {
    let mut head = head;
    for line in wrap(&screen.safe(words), crate::show::screen::WIDTH - INDENT) {
        lines.push(format!("{head}{line}"));
        head = " ".repeat(INDENT);
    }
}

/// An object before and after, in one: what goes, what comes, and all that stays.
fn object(lines: &mut Vec<String>, step: &Step, screen: Screen) {
    let (before, after) = (step.before_yaml().unwrap_or_default(), step.after_yaml().unwrap_or_default());
    for line in compare(&before, &after) {
        let (mark, tone, text) = match line {
            Line::Same(text) => (' ', Tone::Dim, text),
            Line::Gone(text) => ('-', Tone::Bad, text),
            Line::New(text) => ('+', Tone::Good, text),
        };
        lines.push(screen.paint(tone, format!("{:INDENT$}{mark} {}", "", screen.safe(text)).trim_end()));
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use portcullis_kubernetes::adopt::Then;
    use portcullis_kubernetes::client::kinds;

    use super::*;

    fn planned(plan: Plan) -> Planned {
        Planned { service: ServiceName::new("web").unwrap(), options: AdoptOptions::default(), plan }
    }

    fn front(colour: Option<&str>) -> Json {
        let mut front = json!({ "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "web", "uid": "u", "resourceVersion": "7" }, "spec": { "selector": { "app": "web" } } });
        if let Some(colour) = colour {
            front["spec"]["selector"]["portcullis.dev/colour"] = colour.into();
        }
        front
    }

    fn narrow(before: Option<&str>) -> Step {
        Step {
            what: "the Service web sends to blue only".into(),
            kind: kinds::SERVICES,
            name: "web".into(),
            before: Some(front(before)),
            after: Some(front(Some("blue"))),
            applied: None,
            unless_grown: None,
            then: Then::Go,
        }
    }

    #[test]
    fn a_dry_run_shows_every_object_before_and_after_and_who_else_writes_it() {
        let plan = Plan {
            steps: vec![narrow(None), narrow(Some("blue"))],
            warnings: vec![
                "Argo CD (shop) writes spec.selector of Service/web, and would undo a switch or a rollback at \
                            its next sync: add this to the Application shop"
                    .into(),
            ],
            refusals: Vec::new(),
        };
        let head = "shop/production   context prod, namespace shop";
        assert_snapshot!(text(head, &[planned(plan)], To::Colours, true, Screen::PLAIN), @r"
        shop/production   context prod, namespace shop

        web
          know     Argo CD (shop) writes spec.selector of Service/web, and would undo a switch or a rollback
                   at its next sync: add this to the Application shop
               1.  the Service web sends to blue only
                     apiVersion: v1
                     kind: Service
                     metadata:
                       name: web
                     spec:
                       selector:
                         app: web
                   +     portcullis.dev/colour: blue
               2.  the Service web sends to blue only (it is so already)

        Nothing was changed. Without --dry-run, `portcullis cluster adopt` asks, and does it.
        ");
    }

    #[test]
    fn what_a_cluster_says_cannot_steer_the_terminal() {
        let plan = Plan { refusals: vec!["it was adopted by \u{1b}[2Jx\u{202e}/y\nok".into()], ..Plan::default() };
        let shown = text("shop/production", &[planned(plan)], To::Colours, false, Screen::PLAIN);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
        assert!(shown.contains("cannot   it was adopted by [2Jx/y ok"), "{shown}");
    }
}
