//! The policies in force, read from files; read again when asked, and kept as they are if the new ones have errors.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_domain::names::TargetId;
use portcullis_domain::policy::SealedPolicy;
use portcullis_engine::ports::Policies;
use portcullis_policy::{PolicySet, Report, Style};

use crate::exit;
use crate::show::screen::Screen;

/// A file larger than this is no policy. Bytes.
const MOST: u64 = 1024 * 1024;

/// Policies read from files.
pub(crate) struct FilePolicies {
    files: Vec<PathBuf>,
    in_force: RwLock<Arc<PolicySet>>,
}

impl FilePolicies {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// A file cannot be read, or the policies have errors: all of them, as `policy check` shows them.
    pub(crate) fn load(files: &[PathBuf], screen: Screen) -> anyhow::Result<Self> {
        let set = read(files, screen)?;
        Ok(Self { files: files.to_vec(), in_force: RwLock::new(Arc::new(set)) })
    }

    /// Reads the files again. With errors the policies in force stay.
    pub(crate) fn reload(&self) -> anyhow::Result<usize> {
        let set = read(&self.files, Screen { ascii: true, colour: false })?;
        let count = set.policies.len();
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        Ok(count)
    }

    /// The set in force.
    pub(crate) fn set(&self) -> Arc<PolicySet> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Policies for FilePolicies {
    fn get(&self, target: &TargetId) -> Option<SealedPolicy> {
        self.set().get(target).cloned()
    }
    fn all(&self) -> Vec<SealedPolicy> {
        self.set().policies.clone()
    }
}

/// Names and texts of policy files; of a directory, of every `.yaml` and `.yml` file right in it, by name.
///
/// # Errors
/// A file cannot be read or is larger than a policy can be; a directory has no policy in it.
pub(crate) fn texts(paths: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        // Also said twice, as a file and by its directory, it is one policy.
        let more = if path.is_dir() { inside(path)? } else { vec![path.clone()] };
        files.extend(more);
    }
    let mut seen = BTreeSet::new();
    files.retain(|path| seen.insert(std::fs::canonicalize(path).unwrap_or_else(|_| path.clone())));
    files.iter().map(|path| Ok((path.display().to_string(), text(path)?))).collect()
}

/// The policy files right in a directory.
fn inside(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let failed = |error: &dyn std::fmt::Display| {
        exit::usage(format!("reading the policies in {}: {error}", directory.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_policy = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if is_policy && !name.starts_with('.') && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(failed(&"there is no .yaml or .yml file in it"));
    }
    files.sort();
    Ok(files)
}

/// The policy of one environment.
///
/// # Errors
/// The policies have errors, or none of them names the environment.
pub(crate) fn one(files: &[PathBuf], target: &TargetId, screen: Screen) -> anyhow::Result<SealedPolicy> {
    let set = read(files, screen)?;
    set.get(target).cloned().ok_or_else(|| unknown(&set, target))
}

/// An environment that no policy names, with those that there are.
pub(crate) fn unknown(set: &PolicySet, target: &TargetId) -> anyhow::Error {
    let all: Vec<String> = set.targets().map(ToString::to_string).collect();
    exit::not_found(format!("no policy names {target}; there are {}", all.join(", ")))
}

fn text(path: &Path) -> anyhow::Result<String> {
    let failed = |error: &dyn std::fmt::Display| exit::usage(format!("reading the policy {}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > MOST {
        return Err(failed(&format!("it has {size} bytes, a policy has at most {MOST}")));
    }
    std::fs::read_to_string(path).map_err(|error| failed(&error))
}

/// Reads and checks the files.
pub(crate) fn read(files: &[PathBuf], screen: Screen) -> anyhow::Result<PolicySet> {
    // It is an error, and goes to stderr, of which nobody knows whether it shows colours.
    let screen = Screen { colour: false, ..screen };
    portcullis_policy::load(&texts(files)?).map_err(|report| exit::usage(words(&report, screen)))
}

/// A report as it is shown.
pub(crate) fn words(report: &Report, screen: Screen) -> String {
    let mut style = if screen.ascii { Style::ASCII } else { Style::PLAIN };
    style.colour = screen.colour;
    report.render(&style).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_policies_by_name_and_a_file_said_twice_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for name in ["shop.yaml", "organisation.yml", "README.md", ".hidden.yaml"] {
            std::fs::write(file(name), name).unwrap();
        }
        std::fs::create_dir(file("inner.yaml")).unwrap();
        let texts = texts(&[folder.path().to_owned(), file("shop.yaml")]).unwrap();
        let names: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(names, ["organisation.yml", "shop.yaml"]);
    }

    #[test]
    fn a_directory_without_policies_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = texts(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()) && error.contains(".yaml"), "{error}");
    }
}
