//! Bringing objects back: first a plan of what would change, by the cluster's own dry run; then, once a person has seen it
//! and typed the namespace, exactly that.
//!
//! What is not there is created. What is there is applied (server-side apply, forced: a restore is a person's word) and
//! loses what the backup does not have. What controllers make is left to them. Nothing is deleted. An object that changed
//! since the plan was shown is left, and said.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use portcullis_engine::ports::{PortError, PortResult};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use super::bounds;
use super::clean::clean;
use super::diff::{Difference, diff, lines};
use super::discover::{Discovered, Kind, discover};
use super::immutable::explain;
use super::leave::{self, LeftOut};
use super::object::{ObjectRef, group, kind, name, text};
use super::order;
use super::removals::{exchange, exchanged, operations, removals, remove};
use super::wire::{Ask, Method, Wire, answer, encoded, shown};

/// The field manager of a restore.
pub const RESTORE_MANAGER: &str = "portcullis-restore";
/// Objects that are asked for at once.
const AT_ONCE: usize = 8;
/// How often an object is tried that somebody else writes meanwhile.
const TRIES: u32 = 3;

/// What a restore would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Into this namespace.
    pub namespace: String,
    /// Each object, in the order in which it is brought back.
    pub steps: Vec<Step>,
    /// What is left to others.
    pub skipped: Vec<LeftOut>,
    /// What a person should know first.
    pub notes: Vec<String>,
}

/// What a restore would do with one object.
#[derive(Clone, PartialEq)]
pub struct Step {
    /// The object.
    pub object: ObjectRef,
    /// What would be done.
    pub what: What,
    rank: usize,
    wanted: Json,
    kind: Option<Kind>,
    /// Its replicas are an autoscaler's.
    scaled: bool,
}

/// Without the object itself: it may be a Secret.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("object", &self.object).field("what", &self.what).finish_non_exhaustive()
    }
}

/// What is done with one object.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// It is not there, and is created.
    Create,
    /// It is there, and as the backup has it.
    Same,
    /// It is there, and changes so: from what is live to what it would be.
    Change(Vec<Difference>),
    /// It cannot be brought back; why, and what can be done.
    Refused(String),
}

impl Plan {
    /// How many are created, changed, the same, refused.
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for step in &self.steps {
            let at = match step.what {
                What::Create => 0,
                What::Change(_) => 1,
                What::Same => 2,
                What::Refused(_) => 3,
            };
            counts[at] += 1;
        }
        counts
    }

    /// A person saw the plan and typed where it goes.
    ///
    /// # Errors
    /// When they typed something else.
    pub fn confirm(&self, typed: &str) -> Result<Confirmed<'_>, String> {
        if typed == self.namespace {
            return Ok(Confirmed(self));
        }
        Err(format!("this restores into the namespace {}: type its name to go on", shown(&self.namespace)))
    }
}

/// A plan that a person has seen and confirmed.
#[derive(Debug, Clone, Copy)]
pub struct Confirmed<'a>(&'a Plan);

/// What came of restoring one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Created.
    Created,
    /// Changed as the plan said.
    Changed,
    /// It was as the backup has it.
    Same,
    /// It is not as it was when the plan was made: left alone.
    Moved,
    /// What the backup has was applied; what it does not have could not be removed, and why.
    Partly(String),
    /// It could not be brought back, and why.
    Refused(String),
}

/// Plans a restore. Changes nothing.
///
/// # Errors
/// When the cluster cannot be reached, the namespace is not there, or an object is larger than can be applied.
pub async fn plan(wire: &Arc<dyn Wire>, namespace: &str, objects: Vec<Json>) -> PortResult<Plan> {
    let doing = format!("planning a restore into {}", shown(namespace));
    for object in &objects {
        bounds::within(object)
            .map_err(|error| PortError::new(doing.clone(), format!("{}: {error}", shown(name(object)))))?;
    }
    let place = answer(&**wire, Ask::get(format!("/api/v1/namespaces/{}", encoded(namespace))), &doing).await?;
    if place.status == 404 {
        let what = format!("there is no such namespace; make it first: kubectl create namespace {}", shown(namespace));
        return Err(PortError::new(doing, what));
    }
    let found = discover(&**wire).await?;
    let (wanted, skipped) = prepared(objects, namespace);
    let scaled = scaled(&wanted);
    let mut notes = Vec::new();
    if !scaled.is_empty() {
        notes.push("replicas of what an autoscaler scales stay as they are".to_owned());
    }
    let steps: Vec<Step> = wanted.into_iter().map(|wanted| step(wanted, &found, &scaled)).collect();
    let mut planned = each(wire, namespace, steps, |wire, namespace, step| async move {
        let (what, fenced) = look(&*wire, &namespace, &step).await?;
        Ok((Step { what, ..step }, fenced))
    })
    .await?;
    for (step, fenced) in &planned {
        if *fenced && matches!(step.what, What::Change(_)) {
            notes.push(format!(
                "{} is under release control: after this the next look finds it changed by hand, and asks a person",
                shown(&step.object.to_string())
            ));
        }
    }
    let steps = checked_later(planned.drain(..).map(|(step, _)| step).collect());
    Ok(Plan { namespace: namespace.to_owned(), steps, skipped, notes })
}

/// What was refused because something else of the plan is not there yet is created after it, and checked then.
fn checked_later(mut steps: Vec<Step>) -> Vec<Step> {
    let created: BTreeSet<String> =
        steps.iter().filter(|step| step.what == What::Create).map(|step| format!("\"{}\"", step.object.name)).collect();
    for step in &mut steps {
        if let What::Refused(words) = &step.what
            && (words.contains("not found") && created.iter().any(|name| words.contains(name)))
        {
            step.what = What::Create;
        }
    }
    steps
}

/// Does what the plan says. What is refused for now (a webhook that is not up yet) is tried once more at the end.
///
/// # Errors
/// When the cluster cannot be reached any more; what was done stays done, and a new plan shows the rest.
pub async fn restore(wire: &Arc<dyn Wire>, confirmed: Confirmed<'_>) -> PortResult<Vec<(ObjectRef, Done)>> {
    let plan = confirmed.0;
    let mut done: Vec<(ObjectRef, Done)> = Vec::new();
    let mut again = Vec::new();
    // Objects of one rank do not refer to each other.
    for rank in plan.steps.chunk_by(|a, b| a.rank == b.rank) {
        for (step, outcome) in bring(wire, &plan.namespace, rank.to_vec()).await? {
            match outcome {
                Done::Refused(_) if !matches!(step.what, What::Refused(_)) => again.push(step),
                outcome => done.push((step.object, outcome)),
            }
        }
    }
    for (step, outcome) in bring(wire, &plan.namespace, again).await? {
        done.push((step.object, outcome));
    }
    let order = |object: &ObjectRef| plan.steps.iter().position(|step| step.object == *object);
    done.sort_by_cached_key(|(object, _)| order(object));
    Ok(done)
}

async fn bring(wire: &Arc<dyn Wire>, namespace: &str, steps: Vec<Step>) -> PortResult<Vec<(Step, Done)>> {
    each(wire, namespace, steps, |wire, namespace, step| async move {
        let done = one(&*wire, &namespace, &step).await?;
        Ok((step, done))
    })
    .await
}

/// Does something with each step, so many at once; the answers are in the order of the steps.
async fn each<T, F, G>(wire: &Arc<dyn Wire>, namespace: &str, steps: Vec<Step>, go: G) -> PortResult<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = PortResult<T>> + Send + 'static,
    G: Fn(Arc<dyn Wire>, String, Step) -> F,
{
    let mut running = JoinSet::new();
    let mut waiting = steps.into_iter().enumerate();
    let mut done: Vec<(usize, T)> = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((at, step)) = waiting.next()
        {
            let going = go(wire.clone(), namespace.to_owned(), step);
            running.spawn(async move { going.await.map(|one| (at, one)) });
        }
        let Some(one) = running.join_next().await else { break };
        done.push(one.map_err(|error| PortError::new(format!("restoring into {}", shown(namespace)), error))??);
    }
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, one)| one).collect())
}

/// What is wanted, cleaned and in order, and what is left to others.
fn prepared(objects: Vec<Json>, namespace: &str) -> (Vec<Json>, Vec<LeftOut>) {
    let known: BTreeSet<String> =
        objects.iter().map(|object| text(object, "/metadata/uid").to_owned()).filter(|uid| !uid.is_empty()).collect();
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    for mut object in objects {
        if let Some(why) = leave::object(&object, &known) {
            let name = Some(shown(name(&object)));
            skipped.push(LeftOut { kind: shown(kind(&object)), name, why });
            continue;
        }
        let from = text(&object, "/metadata/namespace").to_owned();
        clean(&mut object);
        if let Some(metadata) = object.get_mut("metadata").and_then(Json::as_object_mut) {
            metadata.insert("namespace".into(), namespace.into());
        }
        // A binding names its accounts with their namespace.
        if kind(&object) == "RoleBinding" && !from.is_empty() && from != namespace {
            for subject in object.get_mut("subjects").and_then(Json::as_array_mut).into_iter().flatten() {
                if subject["namespace"] == from.as_str() {
                    subject["namespace"] = namespace.into();
                }
            }
        }
        wanted.push(object);
    }
    order::sort(&mut wanted);
    (wanted, skipped)
}

/// What the autoscalers among these scale: kind and name.
fn scaled(objects: &[Json]) -> BTreeSet<(String, String)> {
    let scalers = objects.iter().filter(|object| kind(object) == "HorizontalPodAutoscaler");
    scalers
        .map(|scaler| {
            let of = |field: &str| text(scaler, &format!("/spec/scaleTargetRef/{field}")).to_owned();
            (of("kind"), of("name"))
        })
        .collect()
}

fn step(wanted: Json, found: &Discovered, scaled: &BTreeSet<(String, String)>) -> Step {
    let object = ObjectRef::of(&wanted);
    // In the version that the backup was written in, if the cluster still has it: it may prefer another by now.
    let kind = found.of(group(&wanted), kind(&wanted)).cloned().map(|mut kind| {
        let version = text(&wanted, "/apiVersion").rsplit('/').next().unwrap_or_default();
        version.clone_into(&mut kind.version);
        kind
    });
    let scaled = scaled.contains(&(object.kind.clone(), object.name.clone()));
    Step { object, what: What::Same, rank: order::rank(&wanted), wanted, kind, scaled }
}

/// What would be done with an object now, and whether what is there carries a fence.
async fn look(wire: &dyn Wire, namespace: &str, step: &Step) -> PortResult<(What, bool)> {
    let Some((path, kind_of)) = path(namespace, step) else {
        let words = format!("the cluster has no {} (install its definition first)", shown(&step.object.kind));
        return Ok((What::Refused(words), false));
    };
    let doing = format!("looking at {}", shown(&step.object.to_string()));
    let live = answer(wire, Ask::get(path.clone()), &doing).await?;
    let live = match live.status {
        404 => None,
        200..=299 => Some(live.json(&doing)?),
        _ => return Ok((What::Refused(explain(&live, &step.object)), false)),
    };
    let Some(live) = live else {
        let created = answer(wire, create(namespace, kind_of, &step.wanted, true), &doing).await?;
        // Some webhooks cannot say without doing: then the real one says.
        let unsaid = created.words().contains("does not support dry run");
        let can = created.is_success() || unsaid;
        let what = if can { What::Create } else { What::Refused(explain(&created, &step.object)) };
        return Ok((what, false));
    };
    let fenced = live["metadata"]["annotations"]
        .as_object()
        .is_some_and(|all| all.keys().any(|key| key.starts_with("portcullis.dev/fence.")));
    let wanted = wanted(step, &live);
    let applied = answer(wire, apply(&path, &wanted, true), &doing).await?;
    if !applied.is_success() {
        let lists = exchanged(&wanted, &live);
        if !lists.is_empty() && answer(wire, patch(&path, &exchange(&lists), true), &doing).await?.is_success() {
            return Ok((What::Change(diff(&live, &wanted)), fenced));
        }
        return Ok((What::Refused(explain(&applied, &step.object)), fenced));
    }
    let mut after = applied.json(&doing)?;
    let on_live = removals(&wanted, &live);
    if !on_live.is_empty() {
        let removed = answer(wire, patch(&path, &operations(&on_live), true), &doing).await?;
        if !removed.is_success() {
            return Ok((What::Refused(explain(&removed, &step.object)), fenced));
        }
    }
    for (pointer, _) in removals(&wanted, &after) {
        remove(&mut after, &pointer);
    }
    let differences = diff(&live, &after);
    Ok((if differences.is_empty() { What::Same } else { What::Change(differences) }, fenced))
}

/// Does what the plan said with one object, if it still stands.
async fn one(wire: &dyn Wire, namespace: &str, step: &Step) -> PortResult<Done> {
    if let What::Refused(words) = &step.what {
        return Ok(Done::Refused(words.clone()));
    }
    let Some((path, kind_of)) = path(namespace, step) else {
        return Ok(Done::Refused("the cluster does not have its kind any more".into()));
    };
    let doing = format!("restoring {}", shown(&step.object.to_string()));
    for _ in 0..TRIES {
        let (now, _) = look(wire, namespace, step).await?;
        match (&step.what, now) {
            // Somebody brought it back already.
            (_, What::Same) => return Ok(Done::Same),
            (_, What::Refused(words)) => return Ok(Done::Refused(words)),
            (seen, now) if *seen != now => return Ok(Done::Moved),
            _ => {}
        }
        if step.what == What::Create {
            let created = answer(wire, create(namespace, kind_of, &step.wanted, false), &doing).await?;
            match created.status {
                200..=299 => return Ok(Done::Created),
                409 => continue,
                _ => return Ok(Done::Refused(explain(&created, &step.object))),
            }
        }
        let live = answer(wire, Ask::get(path.clone()), &doing).await?;
        let Some(live) = live.found(&doing)? else { return Ok(Done::Moved) };
        let mut wanted = wanted(step, &live);
        // Refused (409) if anybody wrote in between.
        wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        let mut applied = answer(wire, apply(&path, &wanted, false), &doing).await?;
        let lists = if applied.is_success() || applied.status == 409 { Vec::new() } else { exchanged(&wanted, &live) };
        if !lists.is_empty() {
            let exchanged = answer(wire, patch(&path, &exchange(&lists), false), &doing).await?;
            if exchanged.is_success() {
                let live = exchanged.json(&doing)?;
                wanted["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
                applied = answer(wire, apply(&path, &wanted, false), &doing).await?;
            }
        }
        match applied.status {
            200..=299 => {}
            409 => continue,
            _ => return Ok(Done::Refused(explain(&applied, &step.object))),
        }
        let after = applied.json(&doing)?;
        let extra = removals(&wanted, &after);
        if !extra.is_empty() {
            let removed = answer(wire, patch(&path, &operations(&extra), false), &doing).await?;
            if !removed.is_success() {
                return Ok(Done::Partly(explain(&removed, &step.object)));
            }
        }
        return Ok(Done::Changed);
    }
    Ok(Done::Moved)
}

fn path<'a>(namespace: &str, step: &'a Step) -> Option<(String, &'a Kind)> {
    let kind = step.kind.as_ref()?;
    Some((kind.path_of(namespace, &step.object.name), kind))
}

/// What is wanted on top of what is there: an autoscaler's replicas stay.
fn wanted(step: &Step, live: &Json) -> Json {
    let mut wanted = step.wanted.clone();
    if step.scaled
        && let Some(spec) = wanted.get_mut("spec").and_then(Json::as_object_mut)
    {
        match live.pointer("/spec/replicas") {
            Some(replicas) => spec.insert("replicas".into(), replicas.clone()),
            None => spec.remove("replicas"),
        };
    }
    wanted
}

fn query(dry: bool) -> String {
    let dry = if dry { "&dryRun=All" } else { "" };
    // Strict: a field that this cluster does not know would be lost without a word.
    format!("?fieldManager={RESTORE_MANAGER}&fieldValidation=Strict{dry}")
}

fn create(namespace: &str, kind: &Kind, wanted: &Json, dry: bool) -> Ask {
    Ask::send(Method::Create, format!("{}{}", kind.path(namespace), query(dry)), wanted)
}

fn apply(path: &str, wanted: &Json, dry: bool) -> Ask {
    Ask::send(Method::Apply, format!("{path}{}&force=true", query(dry)), wanted)
}

fn patch(path: &str, operations: &Json, dry: bool) -> Ask {
    Ask::send(Method::JsonPatch, format!("{path}{}", query(dry)), operations)
}

/// A plan as text, at most `most` differences of each object: `change  Deployment/web` and its differences below.
pub fn text_of(plan: &Plan, most: usize) -> String {
    use std::fmt::Write as _;

    let mut out = String::new();
    let [created, changed, same, refused] = plan.counts();
    let _ = writeln!(
        out,
        "Into the namespace {}: {created} created, {changed} changed, {same} the same, {refused} not possible",
        shown(&plan.namespace)
    );
    for step in &plan.steps {
        let object = shown(&step.object.to_string());
        match &step.what {
            What::Same => {}
            What::Create => {
                let _ = writeln!(out, "  create  {object}");
            }
            What::Refused(words) => {
                let _ = writeln!(out, "  NOT     {object}: {words}");
            }
            What::Change(differences) => {
                let _ = writeln!(out, "  change  {object}");
                let lines = lines(differences);
                for line in lines.iter().take(most) {
                    let _ = writeln!(out, "          {line}");
                }
                let more = lines.len().saturating_sub(most);
                if more > 0 {
                    let _ = writeln!(out, "          and {more} more");
                }
            }
        }
    }
    for line in leave::summary(&plan.skipped, 3) {
        let _ = writeln!(out, "  left    {line}");
    }
    for note in &plan.notes {
        let _ = writeln!(out, "  note    {note}");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_autoscalers_replicas_stay_and_a_fence_is_never_removed() {
        let wanted_object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": { "replicas": 2 } });
        let found = Discovered::default();
        let scaled = BTreeSet::from([("Deployment".to_owned(), "web".to_owned())]);
        let step = step(wanted_object, &found, &scaled);
        let live = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web",
            "annotations": { "portcullis.dev/fence.shop.production": "l/1/7", "x/y": "z" } }, "spec": { "replicas": 9 } });
        let wanted = wanted(&step, &live);
        assert_eq!(wanted["spec"]["replicas"], 9);
        assert_eq!(removals(&wanted, &live), [("/metadata/annotations/x~1y".to_owned(), json!("z"))]);
    }

    #[test]
    fn a_binding_follows_its_accounts_into_another_namespace() {
        let binding = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "b", "namespace": "shop" },
            "subjects": [{ "kind": "ServiceAccount", "name": "ci", "namespace": "shop" },
                { "kind": "ServiceAccount", "name": "x", "namespace": "other" }] });
        let (wanted, skipped) = prepared(vec![binding], "shop-2");
        assert!(skipped.is_empty());
        assert_eq!(wanted[0]["subjects"][0]["namespace"], "shop-2");
        assert_eq!(wanted[0]["subjects"][1]["namespace"], "other");
        assert_eq!(wanted[0]["metadata"]["namespace"], "shop-2");
    }

    #[test]
    fn a_plan_is_carried_out_only_after_its_namespace_was_typed() {
        let plan = Plan { namespace: "shop".into(), steps: Vec::new(), skipped: Vec::new(), notes: Vec::new() };
        assert!(plan.confirm("shop").is_ok());
        assert_eq!(plan.confirm("shpo").unwrap_err(), "this restores into the namespace shop: type its name to go on");
    }
}
