//! The export: every listable kind of a namespace, each of one moment, cleaned, as manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_engine::ports::{Exported, Manifest, PortError, PortResult, Sealed};
use serde_json::Value as Json;
use tokio::task::JoinSet;

use super::about::{self, About};
use super::clean::clean;
use super::cores::on_every_core;
use super::discover::{Kind, discover};
use super::leave::{self, LeftOut, Why};
use super::object::{ObjectRef, name, text};
use super::pages::{Listed, list};
use super::seal::{self, Recipient};
use super::wire::{Wire, shown};
use super::yaml_write::yaml;

/// Kinds that are listed at once. An API server shares its time fairly between clients (API Priority and Fairness); more
/// at once would only wait there.
const AT_ONCE: usize = 8;

/// The title of the kind that is never kept as it is.
const SECRET: &str = "Secret";

/// How an export is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// To whom Secrets are encrypted; none = they are left out, and not even read.
    pub secrets: Option<Recipient>,
}

/// A namespace's objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// The objects by title of their kind, each kind by name, cleaned. Secrets are never among them.
    pub objects: BTreeMap<String, Vec<Json>>,
    /// The Secrets, encrypted; none = there are none, or they were not asked for.
    pub sealed: Option<Sealed>,
    /// What it says of itself.
    pub about: About,
}

impl Export {
    /// As the engine's port wants it: each object as YAML, what is encrypted, and what it says of itself.
    pub fn exported(self) -> Exported {
        let manifests = self.manifests();
        let about = serde_json::to_value(&self.about).ok();
        Exported { manifests, sealed: self.sealed.into_iter().collect(), about }
    }

    /// Each object that lies open, as YAML.
    pub fn manifests(&self) -> Vec<Manifest> {
        let objects = self.objects.iter().flat_map(|(kind, objects)| objects.iter().map(move |object| (kind, object)));
        on_every_core(objects.collect(), |(kind, object)| Manifest {
            kind: kind.clone(),
            name: name(object).to_owned(),
            yaml: yaml(object),
        })
    }

    /// The number of objects, encrypted ones among them.
    pub fn count(&self) -> usize {
        let sealed = self.sealed.as_ref().map_or(0, |sealed| sealed.names.len());
        self.objects.values().map(Vec::len).sum::<usize>() + sealed
    }

    /// Whether a release could be brought back from it: what of these kinds is missing that is there.
    ///
    /// # Errors
    /// The first of them that could not be listed.
    pub fn has(&self, kinds: &[&str]) -> Result<(), String> {
        let lost = |left: &&LeftOut| left.name.is_none() && left.why.is_loss() && kinds.contains(&left.kind.as_str());
        match self.about.left_out.iter().find(lost) {
            Some(left) => Err(format!("{}: {}", left.kind, left.why)),
            None => Ok(()),
        }
    }
}

/// Exports a namespace.
///
/// # Errors
/// When the cluster cannot be reached, or a built-in kind fails otherwise than by a missing right: without it the
/// backup would not be worth its name.
pub async fn export(wire: &Arc<dyn Wire>, namespace: &str, wanted: Wanted) -> PortResult<Export> {
    let Wanted { secrets: recipient } = wanted;
    let doing = format!("backing up the namespace {}", shown(namespace));
    let found = discover(&**wire).await?;
    let mut about = About { v: 1, namespace: namespace.to_owned(), ..About::default() };
    for (of, said) in found.silent {
        let builtin = !of.contains('.');
        if builtin {
            return Err(PortError::new(doing, format!("the kinds of {of} are not known: {said}")));
        }
        let why = Why::NotAnswered { said: shown(&said) };
        about.left_out.push(LeftOut { kind: format!("all kinds of {}", shown(&of)), name: None, why });
    }
    let (mut kept_kinds, mut titles) = (Vec::new(), BTreeSet::new());
    for kind in found.kinds {
        // Two kinds of one name in one group would share a file.
        let title = if titles.insert(kind.title()) { kind.title() } else { kind.full_resource() };
        match leave::kind(&kind, recipient.is_some()) {
            Some(why) => about.left_out.push(LeftOut { kind: title, name: None, why }),
            None => kept_kinds.push((title, kind)),
        }
    }
    let mut listed = all(wire, namespace, kept_kinds).await?;
    listed.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    for (title, kind, list) in &listed {
        let whole = list.left_out.iter().find(|left| left.name.is_none()).map(|left| &left.why);
        if let Some(why @ (Why::NotAnswered { .. } | Why::TooMuch { .. })) = whole.filter(|_| kind.is_built_in()) {
            return Err(PortError::new(doing, format!("{title}: {why}")));
        }
    }
    let mut export = assemble(about, listed.into_iter().map(|(title, _, listed)| (title, listed)).collect());
    let secrets = export.objects.remove(SECRET).filter(|secrets| !secrets.is_empty());
    if let (Some(secrets), Some(recipient)) = (secrets, recipient) {
        let sealed = seal::seal(SECRET, &secrets, &recipient);
        export.sealed = Some(sealed.map_err(|error| PortError::new(doing, error))?);
    }
    Ok(export)
}

/// Lists kinds, so many at once.
async fn all(
    wire: &Arc<dyn Wire>,
    namespace: &str,
    kinds: Vec<(String, Kind)>,
) -> PortResult<Vec<(String, Kind, Listed)>> {
    let mut waiting = kinds.into_iter();
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((title, kind)) = waiting.next()
        {
            let (wire, namespace) = (wire.clone(), namespace.to_owned());
            running.spawn(async move {
                let listed = list(&*wire, &kind, &namespace).await;
                listed.map(|listed| (title, kind, listed))
            });
        }
        let Some(one) = running.join_next().await else { return Ok(done) };
        let doing = || format!("listing the kinds of {}", shown(namespace));
        done.push(one.map_err(|error| PortError::new(doing(), error))??);
    }
}

/// From what was listed to what is kept. Pure.
fn assemble(mut about: About, listed: Vec<(String, Listed)>) -> Export {
    let known: BTreeSet<String> = listed
        .iter()
        .flat_map(|(_, listed)| &listed.objects)
        .map(|object| text(object, "/metadata/uid").to_owned())
        .filter(|uid| !uid.is_empty())
        .collect();
    let mut everything: Vec<(String, Json, Option<Why>)> = Vec::new();
    for (title, listed) in listed {
        about.left_out.extend(listed.left_out);
        if !listed.version.is_empty() {
            about.versions.insert(title.clone(), shown(&listed.version));
        }
        everything.extend(listed.objects.into_iter().map(|object| {
            let why = leave::object(&object, &known);
            (title.clone(), object, why)
        }));
    }
    about.images = about::images(&everything.iter().map(|(_, object, _)| object).collect::<Vec<_>>());
    let kept = everything.iter().filter(|(.., why)| why.is_none()).map(|(_, object, _)| object);
    about.notes = about::notes(&kept.collect::<Vec<_>>());
    let cleaned = on_every_core(everything, |(title, mut object, why)| {
        if why.is_none() {
            clean(&mut object);
        }
        (title, object, why)
    });
    let mut objects: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for (title, object, why) in cleaned {
        if let Some(why) = why {
            about.left_out.push(LeftOut { kind: title, name: Some(shown(name(&object))), why });
        } else {
            objects.entry(title).or_default().push(object);
        }
    }
    about.left_out.sort();
    for list in objects.values_mut() {
        list.sort_by_cached_key(ObjectRef::of);
    }
    Export { objects, sealed: None, about }
}
