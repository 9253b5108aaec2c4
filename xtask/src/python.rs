//! Programs written in Python that the tests need: pinned, and installed under `target/tools` when missing, each in an
//! environment of its own, so that nothing of the machine changes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::step::{in_words, run as run_step};
use crate::tools;

/// Python packages, each in the one version that every machine uses.
pub(crate) struct Program {
    /// The name of its folder under `target/tools`.
    folder: &'static str,
    /// What pip is asked for, with versions.
    requirements: &'static [&'static str],
    /// The program that is started. What else they install is beside it.
    binary: &'static str,
}

/// An emulator of AWS's APIs.
pub(crate) const MOTO: Program =
    Program { folder: "moto", requirements: &["moto[server]==5.2.5"], binary: "moto_server" };

/// Builds functions for Lambda's Linux on any machine; it brings the linker that this takes (Zig).
pub(crate) const CARGO_LAMBDA: Program =
    Program { folder: "cargo-lambda", requirements: &["cargo-lambda==1.9.2"], binary: "cargo-lambda" };

/// Checks templates as AWS reads them; `cfn-lint` comes beside it.
pub(crate) const SAM: Program =
    Program { folder: "infra", requirements: &["aws-sam-cli==1.170.0", "cfn-lint==1.58.0"], binary: "sam" };
/// Checks what templates leave open. What it depends on is not what `sam` depends on.
pub(crate) const CHECKOV: Program =
    Program { folder: "checkov", requirements: &["checkov==3.3.30"], binary: "checkov" };

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
        if program.is_file()
            && std::fs::read_to_string(&note).is_ok_and(|found| found.trim() == self.requirements.join(" "))
        {
            return Ok(program);
        }
        let begun = Instant::now();
        let wanted = self.requirements.join(" ");
        let python = self.python()?;
        run_step(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))
            .with_context(|| format!("making a Python environment for {}", self.folder))?;
        let pip = folder.join("bin").join("pip");
        run_step(Command::new(pip).args(["install", "--quiet", "--disable-pip-version-check"]).args(self.requirements))
            .with_context(|| format!("installing {wanted}"))?;
        if !program.is_file() {
            bail!("pip installed {wanted}, but no {}", program.display());
        }
        std::fs::write(&note, &wanted).with_context(|| format!("writing {}", note.display()))?;
        eprintln!("{wanted} installed in {}", in_words(begun.elapsed()));
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
                self.requirements.join(" ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        for program in [MOTO, CARGO_LAMBDA, SAM, CHECKOV] {
            for requirement in program.requirements {
                let (_, version) = requirement.split_once("==").unwrap();
                assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{requirement}");
            }
        }
    }
}
