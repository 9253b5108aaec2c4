//! The cargo plugins that the checks need: pinned, and installed under `target/tools` when missing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::step::{foreign_cargo, in_words, root, run as run_step};

/// A cargo plugin in the one version that every machine uses.
pub(crate) struct Tool {
    /// The package, and the binary `cargo-NAME` that cargo runs as `cargo NAME`.
    package: &'static str,
    version: &'static str,
}

/// Licences, bans, sources and advisories, by `deny.toml`.
pub(crate) const DENY: Tool = Tool { package: "cargo-deny", version: "0.20.2" };
/// Dependencies that nothing uses.
pub(crate) const MACHETE: Tool = Tool { package: "cargo-machete", version: "0.9.2" };

/// Coverage-guided fuzzing (libFuzzer).
pub(crate) const FUZZ: Tool = Tool { package: "cargo-fuzz", version: "0.13.2" };
/// Bills of materials (OWASP `CycloneDX`).
pub(crate) const CYCLONEDX: Tool = Tool { package: "cargo-cyclonedx", version: "0.5.9" };
/// Mutation testing.
pub(crate) const MUTANTS: Tool = Tool { package: "cargo-mutants", version: "27.1.0" };

impl Tool {
    /// A command that runs this tool at the root with `args`, installed first if the pinned version is neither on the
    /// path nor under `target/tools`.
    pub(crate) fn command(&self, args: &[&str]) -> Result<Command> {
        self.ensure()?;
        let mut command = foreign_cargo([self.subcommand()]);
        command.args(args).env("PATH", path_with_tools()?);
        Ok(command)
    }

    /// Installs it, if the pinned version is neither on the path nor under `target/tools`.
    pub(crate) fn ensure(&self) -> Result<()> {
        if self.is_found() { Ok(()) } else { self.install() }
    }

    fn subcommand(&self) -> &'static str {
        self.package.trim_start_matches("cargo-")
    }

    fn is_found(&self) -> bool {
        let Ok(path) = path_with_tools() else { return false };
        let asked = foreign_cargo([self.subcommand(), "--version"]).env("PATH", path).stderr(Stdio::null()).output();
        asked.is_ok_and(|said| {
            said.status.success() && names_version(&String::from_utf8_lossy(&said.stdout), self.version)
        })
    }

    fn install(&self) -> Result<()> {
        let begun = Instant::now();
        let mut install =
            foreign_cargo(["install", "--locked", self.package, "--version", self.version, "--force", "--root"]);
        // Used for seconds, so built quickly: a slower tool costs less than the optimiser.
        install
            .arg(home())
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        run_step(&mut install).with_context(|| format!("installing {} {}", self.package, self.version))?;
        eprintln!("{} {} installed in {}", self.package, self.version, in_words(begun.elapsed()));
        Ok(())
    }
}

/// Where tools are installed: inside the one target folder, so that nothing of the machine changes.
pub(crate) fn home() -> PathBuf {
    target().join("tools")
}

/// The one folder that everything is built in.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(target)
}

fn path_with_tools() -> Result<OsString> {
    path_with(&home().join("bin"))
}

/// `PATH` with this folder before all others.
pub(crate) fn path_with(folder: &Path) -> Result<OsString> {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&before));
    std::env::join_paths(folders).with_context(|| format!("putting {} first in PATH", folder.display()))
}

/// Whether the answer to `--version` (`cargo-deny 0.20.2`, or the version alone) is exactly `version`.
fn names_version(said: &str, version: &str) -> bool {
    said.split_whitespace().any(|word| word == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pinned_version_counts_as_found() {
        assert!(names_version("cargo-deny 0.20.2\n", "0.20.2"));
        assert!(names_version("0.9.2\n", "0.9.2"));
        assert!(!names_version("cargo-deny 0.20.20\n", "0.20.2"));
        assert!(!names_version("", "0.20.2"));
    }

    #[test]
    fn tools_are_looked_for_under_target_first() {
        let path = path_with_tools().unwrap();
        assert_eq!(std::env::split_paths(&path).next(), Some(home().join("bin")));
    }
}
