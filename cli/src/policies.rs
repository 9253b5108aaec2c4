//! The policies in force, read from files; read again when asked, and kept as they are if the new ones have errors.

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

/// Names and texts of policy files.
pub(crate) fn texts(files: &[PathBuf]) -> anyhow::Result<Vec<(String, String)>> {
    files.iter().map(|path| Ok((path.display().to_string(), text(path)?))).collect()
}

fn text(path: &Path) -> anyhow::Result<String> {
    let failed = |error: &dyn std::fmt::Display| exit::usage(format!("reading the policy {}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > MOST {
        return Err(failed(&format!("it has {size} bytes, a policy has at most {MOST}")));
    }
    std::fs::read_to_string(path).map_err(|error| failed(&error))
}

fn read(files: &[PathBuf], screen: Screen) -> anyhow::Result<PolicySet> {
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
