//! `manifests ...`: what comes with a commit, given and listed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{CommitSha, ServiceName, TargetId};
use portcullis_engine::bundles::{self, NotGiven};
use portcullis_kubernetes::bundle::Bundle;

use crate::api::GivenManifests;
use crate::args::{Keeping, Manifests};
use crate::client::Client;
use crate::exit;
use crate::out::Out;
use crate::show::screen::Screen;
use crate::show::text::pad;
use crate::stores;

/// Does what was said.
pub(crate) async fn run(command: Manifests, out: Out) -> anyhow::Result<()> {
    let all = match command {
        Manifests::Give { target, commit, directory, keeping } => {
            // All are read before any is given.
            let texts = read(&directory)?;
            give(&target, &commit, texts, &keeping).await?
        }
        Manifests::List { target, commit, keeping } => list(&target, &commit, &keeping).await?,
    };
    out.answer(&all, || shown(&all, out.screen))
}

async fn give(
    target: &TargetId,
    commit: &CommitSha,
    texts: BTreeMap<ServiceName, String>,
    keeping: &Keeping,
) -> anyhow::Result<Vec<GivenManifests>> {
    let mut all = Vec::new();
    if let Some(server) = server(keeping)? {
        for (service, text) in texts {
            all.push(server.give_manifests(target, commit, &service, text).await?);
        }
        return Ok(all);
    }
    let blobs = stores::open(&keeping.store).await?;
    for (service, text) in texts {
        let new = bundles::give(&*blobs, target, commit, &service, &text).await.map_err(|why| match why {
            NotGiven::Store(error) => error.into(),
            NotGiven::Others { .. } => exit::refused(why.to_string()),
            NotGiven::Shortened(_) | NotGiven::TooLarge { .. } => exit::usage(why.to_string()),
        })?;
        all.push(GivenManifests { hash: Digest::of(text.as_bytes()), service, new: Some(new) });
    }
    Ok(all)
}

async fn list(target: &TargetId, commit: &CommitSha, keeping: &Keeping) -> anyhow::Result<Vec<GivenManifests>> {
    if let Some(server) = server(keeping)? {
        return server.manifests(target, commit).await;
    }
    Ok(GivenManifests::of(bundles::of_commit(&*stores::open(&keeping.store).await?, target, commit).await?))
}

fn server(keeping: &Keeping) -> anyhow::Result<Option<Client>> {
    match &keeping.server {
        Some(_) if keeping.store.data.is_some() || keeping.store.blobs.is_some() => Err(exit::usage(
            "--server is set beside --data or --blobs, perhaps one of them by the environment: unset one",
        )),
        Some(server) => Client::from_env(server).map(Some),
        None => Ok(None),
    }
}

/// The manifests of a directory, each of which could be a colour.
fn read(directory: &Path) -> anyhow::Result<BTreeMap<ServiceName, String>> {
    let reading = || format!("reading the manifests in {}", directory.display());
    let listed: std::io::Result<Vec<_>> = fs::read_dir(directory).with_context(reading)?.collect();
    let mut files: Vec<PathBuf> = listed.with_context(reading)?.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| !file.file_name().unwrap_or_default().to_string_lossy().starts_with('.'));
    files.sort();
    let mut all = BTreeMap::new();
    for file in files {
        let wrong = |why: String| exit::usage(format!("{}: {why}", file.display()));
        if !file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            return Err(wrong("it is no .yaml file: manifests are SERVICE.yaml each".to_owned()));
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let service = ServiceName::new(&stem).map_err(|error| wrong(error.to_string()))?;
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Bundle::parse(&text).map_err(|error| wrong(error.to_string()))?;
        if all.insert(service, text).is_some() {
            return Err(wrong("there is another file for this service".to_owned()));
        }
    }
    if all.is_empty() {
        return Err(exit::usage(format!("{} has no manifests in it", directory.display())));
    }
    Ok(all)
}

fn shown(all: &[GivenManifests], screen: Screen) -> String {
    if all.is_empty() {
        return "Nothing was given with this commit: its release makes pods like those that serve.".to_owned();
    }
    let mut text = String::new();
    let widest = all.iter().map(|one| one.service.as_str().len()).max().unwrap_or_default();
    for GivenManifests { service, hash, new } in all {
        let said = match new {
            Some(true) => "   given",
            Some(false) => "   was given before",
            None => "",
        };
        let _ = writeln!(text, "{}   {}{said}", pad(&screen.safe(service.as_str()), widest), hash.short());
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Store;

    const WORKER: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n  selector: {matchLabels: {app: x}}\n  \
        template:\n    metadata: {labels: {app: x}}\n    spec: {containers: [{name: x, image: registry/x}]}\n";

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn a_file_that_is_none_of_them_is_named_with_the_reason() {
        for (files, words) in [
            (&[("jobs.json", "{}")][..], "jobs.json: it is no .yaml file"),
            (&[("jobs.yaml", "kind: Secret\napiVersion: v1\n")], "jobs.yaml: "),
            (&[("Jobs.yaml", WORKER)], "Jobs.yaml: "),
            (&[("jobs.yaml", WORKER), ("jobs.yml", WORKER)], "there is another file"),
            (&[(".gitkeep", "")], "has no manifests in it"),
        ] {
            let error = format!("{:#}", read(directory(files).path()).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_given_is_listed_and_a_repeated_pipeline_changes_nothing() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(crate::layout::Layout::new(data.path()).blobs()).unwrap();
        let keeping = Keeping { server: None, store: Store { data: Some(data.path().to_owned()), blobs: None } };
        let (target, commit) = ("shop/production".parse().unwrap(), CommitSha::new(&"a1".repeat(20)).unwrap());
        let texts = || read(directory(&[("jobs.yaml", WORKER)]).path()).unwrap();
        let first = give(&target, &commit, texts(), &keeping).await.unwrap();
        assert_eq!(shown(&first, Screen::PLAIN), format!("jobs   {}   given", Digest::of(WORKER.as_bytes()).short()));
        let again = give(&target, &commit, texts(), &keeping).await.unwrap();
        assert!(shown(&again, Screen::PLAIN).ends_with("was given before"));
        let short = CommitSha::new("a1a1a1a1").unwrap();
        assert_eq!(list(&target, &short, &keeping).await.unwrap()[0].hash, first[0].hash);
        let other = directory(&[("jobs.yaml", &WORKER.replace("registry/x", "registry/y"))]);
        let error = give(&target, &commit, read(other.path()).unwrap(), &keeping).await.unwrap_err();
        assert!(error.to_string().contains("in a commit of their own"), "{error}");
        assert!(list(&target, &CommitSha::new("b2b2b2b2").unwrap(), &keeping).await.unwrap().is_empty());
    }
}
