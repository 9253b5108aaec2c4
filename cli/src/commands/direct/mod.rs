//! `rollback --direct`: with a kubeconfig only, from what the objects say of themselves; reconciled by a person later.
//!
//! [`plan`] judges, without I/O; what it says is carried out by the same fenced writes that a release makes, under a
//! fence of a new epoch: whatever a driver still means to do is refused from then on, and it asks a person.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Purpose, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{ALL_TRAFFIC, Colour, Place};
use portcullis_engine::ports::{Cluster as _, Written};
use portcullis_kubernetes::client::{Client, Selector, kinds};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};
use portcullis_kubernetes::observe::pictures;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::plan::{Back, Down, Plan, Up};
use crate::args::DirectArgs;
use crate::exit::{Exit, Stop};
use crate::kubeconfig::{Context, Otherwise};
use crate::out::Out;
use crate::show::screen::{Screen, Tone, WIDTH};
use crate::show::text::{pad, wrap};
use crate::{ask, exit};

/// Between two looks at what comes up.
const LOOK: Duration = Duration::from_millis(500);
/// So often a write is tried that somebody else, or an autoscaler, writes meanwhile.
const TRIES: usize = 5;
/// Columns of a service's name.
const NAME: usize = 20;

/// Shows, asks, and goes back.
pub(crate) async fn run(
    target: &TargetId,
    reason: &str,
    yes: bool,
    asked: &DirectArgs,
    out: Out,
) -> anyhow::Result<()> {
    let context = Context::of(&asked.kube, Otherwise::Nothing)?;
    let client = context.client().await?;
    let namespace = namespace(&client, target, asked.namespace.as_deref()).await?;
    let services = services(&client, target, Some(&namespace)).await?;
    let services: BTreeSet<ServiceName> = services.into_iter().map(|(_, service)| service).collect();
    let plan = plan::plan(target, &pictures(&client, &namespace, &services).await?).map_err(exit::refused)?;
    let head = format!("{target}   directly, context {}, namespace {namespace}", context.shown());
    let shown = || text(&head, &plan, out.screen);
    if asked.dry_run {
        let value = value(target, &namespace, &plan, None);
        return out.answer(&value, || format!("{}\n\nNothing was changed.", shown()));
    }
    out.aside(&shown())?;
    let moves = plan.services.values().filter(|back| is_move(back)).count();
    if moves > 0 {
        let prompt = format!("Bring {target} back so, on {}?", context.shown());
        ask::confirm(&prompt, yes)?;
    }
    let hand = Hand {
        cluster: KubernetesCluster::new(Source::Connected(client), Options::default()),
        target: target.clone(),
        place: Place {
            account: None,
            region: None,
            role: None,
            cluster: context.name.clone(),
            namespace: namespace.clone(),
        },
        fence: plan.fence.clone(),
        within: Duration::from_millis(asked.within.0),
        screen: out.screen,
    };
    let failed = carry_out(Arc::new(hand), &plan).await;
    let value = value(target, &namespace, &plan, Some(&failed));
    out.answer(&value, || ending(target, reason, moves, &failed, out.screen))?;
    let cannot = plan.services.values().filter(|back| matches!(back, Back::Cannot(_))).count();
    if failed.is_empty() && cannot == 0 {
        return Ok(());
    }
    let words = format!("{target} is not wholly back: {} of {} services", failed.len() + cannot, plan.services.len());
    Err(Stop { code: Exit::Failed, words }.into())
}

/// The namespace that has the target's objects.
async fn namespace(client: &Client, target: &TargetId, said: Option<&str>) -> anyhow::Result<String> {
    if let Some(said) = said {
        return Ok(said.to_owned());
    }
    let found = services(client, target, None).await?;
    let all: BTreeSet<String> = found.into_iter().map(|(namespace, _)| namespace).collect();
    match all.len() {
        1 => Ok(all.into_iter().collect()),
        0 => {
            Err(exit::not_found(format!("nothing on this cluster has a mark of {target}: is it the right --context?")))
        }
        _ => {
            let all: Vec<String> = all.into_iter().collect();
            Err(exit::usage(format!("{target} is in several namespaces: say --namespace {}", all.join(" or "))))
        }
    }
}

/// The target's services with their namespaces, by the fences on their objects.
async fn services(
    client: &Client,
    target: &TargetId,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<(String, ServiceName)>> {
    let everything = Selector::default();
    let (deployments, fronts) = tokio::join!(
        client.list(&kinds::DEPLOYMENTS, namespace, &everything),
        client.list(&kinds::SERVICES, namespace, &everything),
    );
    let mut by_namespace: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for object in deployments?.items.into_iter().chain(fronts?.items) {
        let of = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        by_namespace.entry(of).or_default().push(object);
    }
    let of = |(namespace, objects): (String, Vec<Json>)| {
        plan::services(target, &objects)
            .into_iter()
            .map(move |service| (namespace.clone(), service))
            .collect::<Vec<_>>()
    };
    Ok(by_namespace.into_iter().flat_map(of).collect())
}

fn is_move(back: &Back) -> bool {
    matches!(back, Back::Switch { .. } | Back::Restart { .. } | Back::InPlace(_))
}

/// Workers first, then everything that has traffic, side by side: none waits for another. What failed is the answer.
async fn carry_out(hand: Arc<Hand>, plan: &Plan) -> BTreeMap<ServiceName, String> {
    let mut failed = BTreeMap::new();
    let is_worker = |back: &Back| matches!(back, Back::Restart { .. });
    for workers in [true, false] {
        let mut running = JoinSet::new();
        for (service, back) in plan.services.iter().filter(|(_, back)| is_move(back) && is_worker(back) == workers) {
            let (hand, service, back) = (hand.clone(), service.clone(), back.clone());
            running.spawn(async move {
                let done = hand.go_back(&service, &back).await;
                (service, done)
            });
        }
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((service, Err(error))) => {
                    failed.insert(service, format!("{error:#}"));
                }
                Err(error) => tracing::error!(%error, "a part of the rollback ended badly"),
            }
        }
    }
    failed
}

/// Does it.
struct Hand {
    cluster: KubernetesCluster,
    target: TargetId,
    place: Place,
    fence: Fence,
    within: Duration,
    screen: Screen,
}

impl Hand {
    async fn go_back(&self, service: &ServiceName, back: &Back) -> anyhow::Result<()> {
        match back {
            Back::Switch { to, from } => {
                // Claim before check: its pods are counted after our fence is on it.
                self.come_up(service, to).await?;
                let green = to.colour.share(ALL_TRAFFIC);
                self.write(&ObjectKey::traffic(service), Value::Traffic { green }).await?;
                self.told(service, &format!("traffic is on {} {}", to.colour, to.digest.short()));
                self.ready(service, to).await?;
                self.go_down(service, from.as_ref()).await
            }
            Back::Restart { to, from } => {
                self.go_down(service, from.as_ref()).await?;
                if let Some(from) = from {
                    self.ended(service, from).await?;
                }
                self.come_up(service, to).await
            }
            Back::InPlace(to) => self.come_up(service, to).await,
            Back::Nothing(_) | Back::Cannot(_) => Ok(()),
        }
    }

    async fn come_up(&self, service: &ServiceName, to: &Up) -> anyhow::Result<()> {
        let object = ObjectKey::workload(service, to.colour);
        self.write(&object, Value::Workload { digest: to.digest, replicas: to.replicas }).await?;
        self.ready(service, to).await?;
        self.told(service, &format!("{} {} is up with {} pods", to.colour, to.digest.short(), to.replicas));
        Ok(())
    }

    async fn go_down(&self, service: &ServiceName, from: Option<&Down>) -> anyhow::Result<()> {
        let Some(Down { colour, digest }) = from else { return Ok(()) };
        let object = ObjectKey::workload(service, *colour);
        self.write(&object, Value::Workload { digest: *digest, replicas: 0 }).await?;
        self.told(service, &format!("{colour} {} goes to rest", digest.short()));
        Ok(())
    }

    async fn ready(&self, service: &ServiceName, up: &Up) -> anyhow::Result<()> {
        self.until(service, up.colour, up.digest, up.replicas).await
    }

    async fn ended(&self, service: &ServiceName, down: &Down) -> anyhow::Result<()> {
        self.until(service, down.colour, down.digest, 0).await
    }

    /// Looks until so many pods are ready, and if it serves, all requests go to them; none = no pod is left.
    async fn until(&self, service: &ServiceName, colour: Colour, digest: Digest, replicas: u32) -> anyhow::Result<()> {
        let object = ObjectKey::workload(service, colour);
        let ask = AwaitReady { object: object.clone(), digest, replicas, after: Seq(0) };
        let until = Instant::now() + self.within;
        loop {
            let found = self.cluster.look(&self.target, &self.place, &ask).await?;
            let enough = if replicas == 0 { found.ready == 0 } else { found.ready >= replicas };
            if enough {
                return Ok(());
            }
            if Instant::now() >= until {
                let problems = found.problems.join("; ");
                bail!("{object} has {} of {replicas} pods after {} s. {problems}", found.ready, self.within.as_secs());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One fenced write, from whatever of ours is there: an autoscaler may have changed how many pods it has.
    async fn write(&self, object: &ObjectKey, to: Value) -> anyhow::Result<()> {
        let mut last = Found::default();
        for _ in 0..TRIES {
            let services = BTreeSet::from([object.service.clone()]);
            let found = self.cluster.observe(&self.target, &self.place, &services).await?.remove(object);
            let Some(stamp) = found.and_then(|found| found.stamp.filter(|_| found.foreign.is_none())) else {
                bail!("{object} is not there any more, or holds what Portcullis never wrote");
            };
            let write =
                Write { object: object.clone(), from: vec![Some(stamp)], to, purpose: Purpose::Restore, bundle: None };
            match self.cluster.write(&self.target, &self.place, &write, &self.fence).await? {
                Written::Done => return Ok(()),
                Written::Drift(found) => last = found,
            }
            tokio::time::sleep(LOOK).await;
        }
        let by = last.written_by.map(|by| format!(", last {by}")).unwrap_or_default();
        bail!("{object}: somebody keeps changing it{by}")
    }

    fn told(&self, service: &ServiceName, words: &str) {
        eprintln!("  {}{}", pad(service.as_str(), NAME), self.screen.safe(words));
    }
}

/// What is done with a service, in words.
fn words(back: &Back) -> (Tone, String) {
    let pods = |up: &Up| if up.now > 0 { "it is up" } else { "its pods come up first" };
    match back {
        Back::Switch { to, from } => {
            let away =
                from.as_ref().map(|from| format!("{} {} -> ", from.colour, from.digest.short())).unwrap_or_default();
            (Tone::Plain, format!("{away}{} {}   {} pods, {}", to.colour, to.digest.short(), to.replicas, pods(to)))
        }
        Back::Restart { to, from } => {
            let away = from.as_ref().map_or("nothing runs; ".to_owned(), |from| {
                format!("{} {} stops, then ", from.colour, from.digest.short())
            });
            (Tone::Plain, format!("{away}{} {} starts with {} pods", to.colour, to.digest.short(), to.replicas))
        }
        Back::InPlace(to) => (Tone::Plain, format!("in place, back to {}   {} pods", to.digest.short(), to.replicas)),
        Back::Nothing(why) => (Tone::Dim, format!("nothing to do: {why}")),
        Back::Cannot(why) => (Tone::Bad, format!("CANNOT: {why}")),
    }
}

fn text(head: &str, plan: &Plan, screen: Screen) -> String {
    let mut lines = vec![screen.bold(&screen.safe(head)), String::new()];
    for (service, back) in &plan.services {
        let (tone, words) = words(back);
        said(&mut lines, service.as_str(), &words, tone, screen);
    }
    if !plan.warnings.is_empty() {
        lines.push(String::new());
    }
    for warning in &plan.warnings {
        said(&mut lines, "know", &format!("{warning}: stop it first"), Tone::Warn, screen);
    }
    lines.push(String::new());
    said(
        &mut lines,
        "not known here",
        "whether the release was forward-only (a schema change): then going back breaks what it changed",
        Tone::Warn,
        screen,
    );
    lines.join("\n")
}

fn said(lines: &mut Vec<String>, name: &str, words: &str, tone: Tone, screen: Screen) {
    let mut head = pad(&screen.cut(&screen.safe(name), NAME - 2), NAME);
    let words = screen.safe(words);
    let room = WIDTH - NAME - 2;
    let wrapped = if words.chars().count() <= room { vec![words] } else { wrap(&words, room) };
    for line in wrapped {
        lines.push(format!("  {head}{}", screen.paint(tone, &line)));
        head = " ".repeat(NAME);
    }
}

fn ending(
    target: &TargetId,
    reason: &str,
    moves: usize,
    failed: &BTreeMap<ServiceName, String>,
    screen: Screen,
) -> String {
    let mut lines = Vec::new();
    for (service, why) in failed {
        said(&mut lines, service.as_str(), &format!("NOT BACK: {why}"), Tone::Bad, screen);
    }
    if moves == 0 {
        lines.push("There was nothing to bring back.".to_owned());
        return lines.join("\n");
    }
    let reason = screen.safe(reason).replace('\'', "'\\''");
    lines.push(format!(
        "\nOnce Portcullis runs again it finds marks above its own, and asks. Then, one after the other:\n  \
         portcullis raise-epoch {target} --reason '{reason}'\n  portcullis resolve {target} --reason '{reason}'"
    ));
    lines.join("\n")
}

fn value(target: &TargetId, namespace: &str, plan: &Plan, failed: Option<&BTreeMap<ServiceName, String>>) -> Json {
    let service = |(service, back): (&ServiceName, &Back)| {
        let (what, words) = match back {
            Back::Switch { .. } => ("switch", words(back).1),
            Back::Restart { .. } => ("restart", words(back).1),
            Back::InPlace(_) => ("in_place", words(back).1),
            Back::Nothing(why) => ("nothing", why.clone()),
            Back::Cannot(why) => ("cannot", why.clone()),
        };
        let failed = failed.and_then(|failed| failed.get(service));
        json!({ "service": service, "what": what, "words": words, "failed": failed })
    };
    json!({
        "target": target,
        "namespace": namespace,
        "fence": plan.fence.to_string(),
        "services": plan.services.iter().map(service).collect::<Vec<_>>(),
        "warnings": plan.warnings,
        "done": failed.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn sample() -> Plan {
        let service = |name: &str| ServiceName::new(name).unwrap();
        let up = |n: u8, now| Up { colour: Colour::Blue, digest: Digest::from_bytes([n; 32]), replicas: 6, now };
        let down = |n: u8| Some(Down { colour: Colour::Green, digest: Digest::from_bytes([n; 32]) });
        Plan {
            services: BTreeMap::from([
                (service("nestjs-service"), Back::Switch { to: up(0xaa, 6), from: down(0xbb) }),
                (service("springboot-service"), Back::Nothing("it was brought back already".into())),
                (service("temporal-workers"), Back::Restart { to: up(0xcc, 0), from: down(0xdd) }),
                (service("web"), Back::Cannot("it\u{1b}[2J was changed by hand".into())),
            ]),
            fence: "l/2/0".parse().unwrap(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn every_service_says_from_where_to_where_it_goes_or_why_not() {
        let head = "volteryde/production   directly, context prod, namespace volteryde-prod";
        assert_snapshot!(text(head, &sample(), Screen::PLAIN), @r"
        volteryde/production   directly, context prod, namespace volteryde-prod

          nestjs-service      green sha256:bbbb -> blue sha256:aaaa   6 pods, it is up
          springboot-service  nothing to do: it was brought back already
          temporal-workers    green sha256:dddd stops, then blue sha256:cccc starts with 6 pods
          web                 CANNOT: it[2J was changed by hand

          not known here      whether the release was forward-only (a schema change): then going back breaks
                              what it changed
        ");
    }

    #[test]
    fn the_end_says_how_it_is_reconciled_and_what_is_not_back() {
        let target = "volteryde/production".parse().unwrap();
        let failed = BTreeMap::from([(ServiceName::new("web").unwrap(), "no pod is ready".to_owned())]);
        assert_eq!(
            ending(&target, "it's down", 2, &failed, Screen::PLAIN).lines().collect::<Vec<_>>(),
            [
                "  web                 NOT BACK: no pod is ready",
                "",
                "Once Portcullis runs again it finds marks above its own, and asks. Then, one after the other:",
                "  portcullis raise-epoch volteryde/production --reason 'it'\\''s down'",
                "  portcullis resolve volteryde/production --reason 'it'\\''s down'",
            ]
        );
        assert_eq!(ending(&target, "x", 0, &BTreeMap::new(), Screen::PLAIN), "There was nothing to bring back.");
        let value = value(&target, "volteryde-prod", &sample(), Some(&failed));
        assert_eq!((&value["services"][3]["what"], &value["done"]), (&json!("cannot"), &json!(true)));
    }
}
