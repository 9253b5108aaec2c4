//! `backup restore`: what would change is shown by the cluster's own dry run, the namespace is typed, and exactly that
//! is done.

use std::io::IsTerminal as _;
use std::sync::Arc;

use portcullis_engine::perform::backup::BackupFile;
use portcullis_kubernetes::backup::diff::lines as lines_of;
use portcullis_kubernetes::backup::object::ObjectRef;
use portcullis_kubernetes::backup::restore::{self, Done, Plan, What, plan, text_of};
use portcullis_kubernetes::backup::stored::Stored;
use portcullis_kubernetes::backup::wire::Wire;
use serde_json::{Value as Json, json};

use crate::args::Restore;
use crate::exit::{Exit, Stop};
use crate::kubeconfig::{Context, Otherwise};
use crate::out::Out;
use crate::show::screen::{Screen, Tone};
use crate::show::text::count;
use crate::{ask, exit, stores};

/// Differences of one object that are shown where not all are asked for.
const FEW: usize = 10;

/// Shows, asks, and brings back.
pub(super) async fn run(asked: &Restore, out: Out) -> anyhow::Result<()> {
    let context = Context::of(&asked.kube, Otherwise::Nothing)?;
    let blobs = stores::open(&asked.store).await?;
    let keys = super::keys::read(asked.identity.as_deref())?;
    let stored = super::named(&*blobs, &asked.target, &asked.backup, keys.as_ref()).await?;
    let namespace = namespace(asked.namespace.as_deref(), &stored)?;
    let not_opened = super::keys::not_opened(&stored);
    let objects = chosen(stored.objects, &stored.sealed, &asked.only)?;
    let wire: Arc<dyn Wire> = Arc::new(context.client().await?);
    let mut plan = plan(&wire, &namespace, objects).await?;
    if asked.only.is_empty() {
        plan.notes.extend(not_opened);
    }
    let head = format!("{}   {}\nonto context {}, namespace {namespace}", asked.target, stored.key, context.shown());
    let most = if asked.all { usize::MAX } else { FEW };
    let planned = || format!("{}\n\n{}", lines(&head, out.screen), lines(text_of(&plan, most).trim_end(), out.screen));
    if asked.dry_run {
        return out.answer(&value(&stored.key, &plan, None), || format!("{}\n\nNothing was changed.", planned()));
    }
    out.aside(&planned())?;
    let [created, changed, _, refused] = plan.counts();
    if created + changed == 0 {
        out.answer(&value(&stored.key, &plan, Some(&[])), || "There is nothing to bring back.".to_owned())?;
        return left(refused, 0);
    }
    let typed = match &asked.confirm {
        Some(typed) => typed.clone(),
        None => typed(&plan)?,
    };
    let confirmed = plan.confirm(&typed).map_err(exit::refused)?;
    let done = restore::restore(&wire, confirmed).await?;
    out.answer(&value(&stored.key, &plan, Some(&done)), || outcome(&done, out.screen))?;
    let (not, moved) = not_done(&done);
    left(not, moved)
}

/// The namespace, typed at the terminal by who saw the plan.
fn typed(plan: &Plan) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        let words =
            "There is no terminal to ask at: say --confirm and the namespace, once you have seen what --dry-run shows.";
        return Err(exit::usage(words));
    }
    let prompt = format!("\nThis restores into {}. Type the namespace to go on: ", plan.namespace);
    Ok(ask::line(&prompt)?.unwrap_or_default())
}

/// Where it goes.
fn namespace(said: Option<&str>, stored: &Stored) -> anyhow::Result<String> {
    let own = stored.about.as_ref().map(|about| about.namespace.as_str());
    let Some(namespace) = said.or(own) else {
        return Err(exit::usage("the backup does not say of which namespace it is: say --namespace NAME"));
    };
    let label = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if namespace.is_empty() || namespace.len() > 63 || !namespace.bytes().all(label) {
        return Err(exit::usage(format!("{namespace:?} is no name of a namespace")));
    }
    Ok(namespace.to_owned())
}

/// The objects that are meant.
fn chosen(objects: Vec<Json>, sealed: &[BackupFile], only: &[String]) -> anyhow::Result<Vec<Json>> {
    if only.is_empty() {
        return Ok(objects);
    }
    let named = |object: &Json| ObjectRef::of(object).to_string();
    let is_sealed = |wanted: &str| {
        let (kind, name) = wanted.split_once('/').unwrap_or((wanted, ""));
        sealed.iter().any(|file| file.kind == kind && file.objects.iter().any(|object| object == name))
    };
    if let Some(wanted) = only.iter().find(|wanted| is_sealed(wanted)) {
        return Err(exit::usage(format!("{wanted} is encrypted: say --identity and the file with the private key")));
    }
    if let Some(unknown) = only.iter().find(|wanted| !objects.iter().any(|object| named(object) == **wanted)) {
        return Err(exit::not_found(format!(
            "{unknown} is not in this backup; `portcullis backup show --all` has everything in it"
        )));
    }
    Ok(objects.into_iter().filter(|object| only.contains(&named(object))).collect())
}

fn lines(text: &str, screen: Screen) -> String {
    text.lines().map(|line| screen.safe(line)).collect::<Vec<_>>().join("\n")
}

/// How many objects could not be brought back, and how many moved since the plan was shown.
fn not_done(done: &[(ObjectRef, Done)]) -> (usize, usize) {
    let count = |is: fn(&Done) -> bool| done.iter().filter(|(_, done)| is(done)).count();
    (count(|done| matches!(done, Done::Refused(_) | Done::Partly(_))), count(|done| *done == Done::Moved))
}

/// An error if something is left.
fn left(not: usize, moved: usize) -> anyhow::Result<()> {
    let mut words = Vec::new();
    if not > 0 {
        words.push(format!("{} could not be brought back whole", count(not as u64, "object")));
    }
    if moved > 0 {
        let many = count(moved as u64, "object");
        words.push(format!("{many} changed since this was shown: run it again to see them as they are now"));
    }
    if words.is_empty() { Ok(()) } else { Err(Stop { code: Exit::Failed, words: words.join("\n") }.into()) }
}

fn outcome(done: &[(ObjectRef, Done)], screen: Screen) -> String {
    let number = |wanted: &Done| done.iter().filter(|(_, done)| done == wanted).count();
    let mut lines = vec![format!(
        "{} created, {} changed, {} were so already",
        number(&Done::Created),
        number(&Done::Changed),
        number(&Done::Same)
    )];
    for (object, done) in done {
        let (tone, words) = match done {
            Done::Created | Done::Changed | Done::Same => continue,
            Done::Moved => (Tone::Warn, "left: it changed since this was shown".to_owned()),
            Done::Partly(why) => (Tone::Bad, format!("brought back, but what it has beyond the backup stays: {why}")),
            Done::Refused(why) => (Tone::Bad, format!("not brought back: {why}")),
        };
        let object = screen.safe(&object.to_string());
        lines.push(format!("  {} {}", screen.paint(tone, &object), screen.safe(&words)));
    }
    lines.join("\n")
}

fn value(key: &str, plan: &Plan, done: Option<&[(ObjectRef, Done)]>) -> Json {
    let step = |step: &restore::Step| {
        let (what, differences, why) = match &step.what {
            What::Create => ("create", None, None),
            What::Same => ("same", None, None),
            What::Change(all) => ("change", Some(lines_of(all)), None),
            What::Refused(why) => ("refused", None, Some(why)),
        };
        json!({ "object": step.object, "what": what, "differences": differences, "why": why })
    };
    let ended = |(object, done): &(ObjectRef, Done)| {
        let (what, why) = match done {
            Done::Created => ("created", None),
            Done::Changed => ("changed", None),
            Done::Same => ("same", None),
            Done::Moved => ("moved", None),
            Done::Partly(why) => ("partly", Some(why)),
            Done::Refused(why) => ("refused", Some(why)),
        };
        json!({ "object": object, "what": what, "why": why })
    };
    json!({
        "backup": key,
        "namespace": plan.namespace,
        "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
        "left": plan.skipped,
        "notes": plan.notes,
        "done": done.map(|done| done.iter().map(ended).collect::<Vec<_>>()),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::tests::{map, stored};
    use super::*;

    fn object(name: &str) -> ObjectRef {
        ObjectRef { group: String::new(), kind: "ConfigMap".into(), name: name.into() }
    }

    #[test]
    fn what_could_not_be_brought_back_is_named_with_its_reason_and_fails() {
        let done = [
            (object("a"), Done::Created),
            (object("b"), Done::Same),
            (object("c"), Done::Refused("it\u{1b} is immutable".into())),
            (object("d"), Done::Moved),
        ];
        assert_snapshot!(outcome(&done, Screen::PLAIN), @r"
        1 created, 0 changed, 1 were so already
          ConfigMap/c not brought back: it is immutable
          ConfigMap/d left: it changed since this was shown
        ");
        let (not, moved) = not_done(&done);
        let error = left(not, moved).unwrap_err();
        let stop = error.downcast_ref::<Stop>().unwrap();
        assert_eq!(stop.code, Exit::Failed);
        assert!(stop.words.contains("1 object could not") && stop.words.contains("run it again"), "{}", stop.words);
        assert!(left(0, 0).is_ok());
    }

    #[test]
    fn it_goes_where_it_came_from_unless_another_namespace_is_said() {
        let mut stored = stored(Vec::new());
        assert_eq!(namespace(None, &stored).unwrap(), "shop");
        assert_eq!(namespace(Some("shop-copy"), &stored).unwrap(), "shop-copy");
        for wrong in ["", "../shop", "Shop", "a b"] {
            assert!(namespace(Some(wrong), &stored).is_err(), "{wrong}");
        }
        stored.about = None;
        assert!(namespace(None, &stored).unwrap_err().to_string().contains("--namespace"));
    }

    #[test]
    fn single_objects_are_chosen_by_name_and_a_wrong_name_is_told() {
        let all = vec![map("a", "1"), map("b", "1")];
        let file = super::super::tests::sealed(&["db"]);
        let only = |name: &str| chosen(all.clone(), std::slice::from_ref(&file), &[name.to_owned()]);
        assert_eq!(only("ConfigMap/a").unwrap(), [map("a", "1")]);
        assert_eq!(chosen(all.clone(), &[], &[]).unwrap().len(), 2);
        assert!(only("Secret/db").unwrap_err().to_string().contains("--identity"));
        let error = only("ConfigMap/c").unwrap_err();
        assert_eq!(error.downcast_ref::<Stop>().unwrap().code, Exit::NotFound);
    }
}
