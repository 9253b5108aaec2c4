//! Manifests for services that a cluster does not have yet, kept in a directory as `APP/ENV/SERVICE.yaml`. All are read when
//! the server starts, so that one with an error is found then and not in the middle of a release.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_kubernetes::bundle::{Bundle, Bundles};

use crate::exit;

/// The manifests of a directory.
#[derive(Debug)]
pub(super) struct Manifests(BTreeMap<(TargetId, ServiceName), Bundle>);

impl Manifests {
    /// Reads all of them.
    ///
    /// # Errors
    /// The directory cannot be read; a file is called otherwise, or holds anything but a Deployment and a Service.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        for app in entries(directory)? {
            for environment in entries(&app)? {
                let target = format!("{}/{}", called(&app), called(&environment));
                for file in entries(&environment)? {
                    let wrong = |why: String| exit::usage(format!("{}: {why}", file.display()));
                    if !file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                        return Err(wrong(
                            "it is no .yaml file: manifests are kept as APP/ENV/SERVICE.yaml".to_owned(),
                        ));
                    }
                    let target: TargetId = target.parse().map_err(|error| wrong(format!("{error}")))?;
                    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                    let service = ServiceName::new(&stem).map_err(|error| wrong(error.to_string()))?;
                    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
                    let bundle = Bundle::parse(&text).map_err(|error| wrong(error.to_string()))?;
                    if all.insert((target, service), bundle).is_some() {
                        return Err(wrong("there is another file for this service".to_owned()));
                    }
                }
            }
        }
        Ok(Self(all))
    }
}

impl Bundles for Manifests {
    fn bundle(&self, target: &TargetId, service: &ServiceName) -> Option<Bundle> {
        self.0.get(&(target.clone(), service.clone())).cloned()
    }
}

fn called(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What is in a directory, in its order by name, without what is hidden.
fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let reading = || format!("reading the manifests in {}", directory.display());
    let listed: std::io::Result<Vec<_>> = fs::read_dir(directory).with_context(reading)?.collect();
    let mut paths: Vec<PathBuf> = listed.with_context(reading)?.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| !called(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n  selector: {matchLabels: {app: x}}\n  \
        template:\n    metadata: {labels: {app: x}}\n    spec: {containers: [{name: x, image: registry/x}]}\n";

    fn read(files: &[(&str, &str)]) -> anyhow::Result<Manifests> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = directory.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Manifests::read(directory.path())
    }

    #[test]
    fn each_service_has_a_file_and_what_is_hidden_is_not_read() {
        let manifests = read(&[("shop/production/jobs.yaml", WORKER), ("shop/.git/config", "?")]).unwrap();
        let (target, service) = ("shop/production".parse().unwrap(), ServiceName::new("jobs").unwrap());
        assert_eq!(manifests.bundle(&target, &service).unwrap().service, None);
        assert_eq!(manifests.bundle(&"shop/staging".parse().unwrap(), &service), None);
        assert!(read(&[]).unwrap().0.is_empty());
    }

    #[test]
    fn a_file_that_is_none_of_them_is_named_with_the_reason() {
        for (files, words) in [
            (&[("shop/production/jobs.json", "{}")][..], "jobs.json: it is no .yaml file"),
            (&[("shop/production/jobs.yaml", "kind: Secret\napiVersion: v1\n")], "jobs.yaml: "),
            (&[("shop/production/Jobs.yaml", WORKER)], "Jobs.yaml: "),
            (&[("Shop/production/jobs.yaml", WORKER)], "jobs.yaml: "),
            (&[("shop/production/jobs.yaml", WORKER), ("shop/production/jobs.yml", WORKER)], "there is another file"),
            (&[("jobs.yaml", WORKER)], "reading the manifests in"),
        ] {
            let error = format!("{:#}", read(files).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
