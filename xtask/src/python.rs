//! Programs written in Python that the tests need: pinned, and installed under `target/tools` when missing, each in an
//! environment of its own, so that nothing of the machine changes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::step::{in_words, run as run_step};
use crate::tools;

/// A Python package in the one version that every machine uses.
pub(crate) struct Program {
    /// The name of its folder under `target/tools`.
    folder: &'static str,
    /// What pip is asked for, with its version.
    requirement: &'static str,
    /// The program that it installs.
    binary: &'static str,
}

/// An emulator of AWS's APIs.
pub(crate) const MOTO: Program = Program { folder: "moto", requirement: "moto[server]==5.2.5", binary: "moto_server" };

impl Program {
    /// The path of the program, installed first if the pinned version is not there.
    ///
    /// # Errors
    /// There is no Python 3 with `venv`, or pip cannot install the package.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let folder = tools::home().join(self.folder);
        let program = folder.join("bin").join(self.binary);
        // Written last, and names what was installed: an installation that was cut off is done again.
        let note = folder.join("installed");
        if program.is_file() && std::fs::read_to_string(&note).is_ok_and(|found| found.trim() == self.requirement) {
            return Ok(program);
        }
        let begun = Instant::now();
        let python = self.python()?;
        run_step(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))
            .with_context(|| format!("making a Python environment for {}", self.folder))?;
        let pip = folder.join("bin").join("pip");
        run_step(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check", self.requirement]))
            .with_context(|| format!("installing {}", self.requirement))?;
        if !program.is_file() {
            bail!("pip installed {}, but no {}", self.requirement, program.display());
        }
        std::fs::write(&note, self.requirement).with_context(|| format!("writing {}", note.display()))?;
        eprintln!("{} installed in {}", self.requirement, in_words(begun.elapsed()));
        Ok(program)
    }

    /// The first Python 3 of the machine.
    fn python(&self) -> Result<&'static str> {
        let is_three = |name: &&str| {
            let mut asked = Command::new(name);
            asked.args(["-c", "import sys, venv; sys.exit(sys.version_info < (3, 9))"]);
            let asked = asked.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        ["python3", "python"].into_iter().find(is_three).with_context(|| {
            format!(
                "{} needs Python 3.9 or newer with its module venv, and there is none on the path",
                self.requirement
            )
        })
    }
}

/// Builds functions for Lambda's Linux on any machine; it brings the linker that this takes (Zig).
pub(crate) const CARGO_LAMBDA: Program =
    Program { folder: "cargo-lambda", requirement: "cargo-lambda==1.9.2", binary: "cargo-lambda" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        let (_, version) = MOTO.requirement.split_once("==").unwrap();
        assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{version}");
    }
}
