//! `cargo xtask dist`: the archives of a release, as `infra/README.md` has them put into a bucket, so that whoever installs
//! it needs no Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step::{cargo, root, run as run_step};
use crate::{python, tools};

/// What a bill of materials is called where the tool writes it: beside each manifest.
const BILL: &str = "bill-of-materials";
/// The version of `CycloneDX` that the bills are written in.
const CYCLONEDX: &str = "1.5";

/// What functions are built for.
struct Kind {
    flag: &'static str,
    target: &'static str,
}
const ARM64: Kind = Kind { flag: "--arm64", target: "aarch64-unknown-linux-gnu" };
const X86_64: Kind = Kind { flag: "--x86-64", target: "x86_64-unknown-linux-gnu" };

/// What `cargo xtask dist` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For `x86_64` instead of arm64, which the templates say
    #[arg(long = "x86_64")]
    x86_64: bool,
    /// Where the archives go; what is in it is replaced
    #[arg(long, value_name = "DIR", default_value = "archives")]
    out: PathBuf,
}

/// Builds every function, and puts into one folder: `NAME.zip`, its bill of materials `NAME.cdx.json`, and `SHA256SUMS` of
/// all of them.
///
/// # Errors
/// A tool cannot be installed, a function does not build, or a file cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let functions = functions()?;
    let Kind { flag, target } = if args.x86_64 { X86_64 } else { ARM64 };
    let out = root().join(&args.out);
    empty(&out)?;
    let archives = build(&functions, flag)?;
    for name in &functions {
        let (from, to) = (archives.join(name).join("bootstrap.zip"), out.join(format!("{name}.zip")));
        let size =
            std::fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
        ensure!(size > 0, "{} is empty", from.display());
    }
    bills(&functions, target, &out)?;
    sums(&out)?;
    eprintln!("\n{} archives for {target} in {}", functions.len(), out.display());
    Ok(())
}

/// The names of all functions: of their folders, their packages and their programs alike.
pub(crate) fn functions() -> Result<Vec<String>> {
    let folder = root().join("functions");
    let reading = || format!("listing {}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "there is no function in {}", folder.display());
    Ok(names)
}

/// Builds every function as it is shipped, but for this machine, and one more package with them; the folder of the programs.
///
/// # Errors
/// A tool cannot be installed, or something does not build.
pub(crate) fn programs(beside: &str) -> Result<PathBuf> {
    let mut packages = functions()?;
    packages.push(beside.to_owned());
    let Kind { flag, target } = if cfg!(target_arch = "aarch64") { ARM64 } else { X86_64 };
    build(&packages, flag)?;
    Ok(tools::target().join(target).join("release"))
}

/// Builds archives with cargo-lambda; the folder with a folder for each.
fn build(functions: &[String], flag: &str) -> Result<PathBuf> {
    let tool = python::CARGO_LAMBDA.path()?;
    let beside = tool.parent().context("cargo-lambda is in no folder")?;
    // One for each architecture, and empty: an archive that was not built now is not taken for one that was.
    let folder = tools::target().join("lambda").join(flag.trim_start_matches('-'));
    empty(&folder)?;
    let mut build = cargo(["lambda", "build", "--release", flag, "--output-format", "zip", "--lambda-dir"]);
    build.arg(&folder).env("PATH", tools::path_with(beside)?);
    for name in functions {
        build.args(["--package", name]);
    }
    run_step(&mut build)?;
    Ok(folder)
}

/// A bill of materials of each function. The tool writes one beside the manifest of every package of the workspace: those
/// of functions are moved, the others removed.
fn bills(functions: &[String], target: &str, out: &Path) -> Result<()> {
    let wanted = ["--format", "json", "--spec-version", CYCLONEDX, "--target", target, "--override-filename", BILL];
    let mut command = tools::CYCLONEDX.command(&wanted)?;
    if let Some(moment) = committed_at() {
        // The same commit gives the same bills.
        command.env("SOURCE_DATE_EPOCH", moment);
    }
    let taken = run_step(&mut command).and_then(|()| take_bills(functions, out));
    remove(root(), &format!("{BILL}.json"), 4)?;
    taken
}

fn take_bills(functions: &[String], out: &Path) -> Result<()> {
    for name in functions {
        let from = root().join("functions").join(name).join(format!("{BILL}.json"));
        let to = out.join(format!("{name}.cdx.json"));
        std::fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// When the last commit was made, in seconds since 1970; none = this is no clone.
fn committed_at() -> Option<String> {
    let asked = Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()).output().ok()?;
    let text = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
    (asked.status.success() && text.parse::<u64>().is_ok()).then_some(text)
}

/// Removes every file of this name in a folder and those below it, so many levels deep; what is built is left alone.
fn remove(folder: &Path, name: &str, levels: u32) -> Result<()> {
    let removing = || format!("removing {name} below {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(removing)? {
        let entry = entry.with_context(removing)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(removing)?);
        if kind.is_file() && entry.file_name() == name {
            std::fs::remove_file(&path).with_context(removing)?;
        } else if kind.is_dir() && levels > 0 && path != tools::target() && entry.file_name() != ".git" {
            remove(&path, name, levels - 1)?;
        }
    }
    Ok(())
}

/// Writes the checksums of all that is in a folder, in the form that `sha256sum --check` reads.
fn sums(out: &Path) -> Result<()> {
    let reading = || format!("listing {}", out.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(out).with_context(reading)? {
        names.push(entry.with_context(reading)?.file_name());
    }
    ensure!(!names.is_empty(), "there is nothing in {}", out.display());
    names.sort();
    let mut sum = Command::new("sha256sum");
    let summed = sum.arg("--").args(&names).current_dir(out).output().context("starting sha256sum")?;
    ensure!(summed.status.success(), "sha256sum: {}", String::from_utf8_lossy(&summed.stderr).trim());
    let file = out.join("SHA256SUMS");
    std::fs::write(&file, summed.stdout).with_context(|| format!("writing {}", file.display()))
}

/// Makes a folder, without whatever files an earlier run left in it.
fn empty(folder: &Path) -> Result<()> {
    let emptying = || format!("emptying {}", folder.display());
    std::fs::create_dir_all(folder).with_context(emptying)?;
    for entry in std::fs::read_dir(folder).with_context(emptying)? {
        let path = entry.with_context(emptying)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_ours(&name) {
            std::fs::remove_file(&path).with_context(emptying)?;
        } else if path.join("bootstrap.zip").is_file() {
            std::fs::remove_dir_all(&path).with_context(emptying)?;
        }
    }
    Ok(())
}

/// Whether an earlier run wrote a file of this name: a folder that a person named may hold others.
fn is_ours(name: &str) -> bool {
    name == "SHA256SUMS" || [".zip", ".cdx.json"].iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_package_of_its_own_name() {
        for name in functions().unwrap() {
            let manifest = std::fs::read_to_string(root().join("functions").join(&name).join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }

    #[test]
    fn only_what_an_earlier_run_wrote_is_removed() {
        let folder = std::env::temp_dir().join(format!("xtask-dist-{}", std::process::id()));
        let inner = folder.join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        for file in ["SHA256SUMS", "on-alarm.zip", "on-alarm.cdx.json", "notes.txt", "inner/bill.json", "bill.json"] {
            std::fs::write(folder.join(file), file).unwrap();
        }
        empty(&folder).unwrap();
        remove(&folder, "bill.json", 1).unwrap();
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((left.len(), std::fs::read_dir(&inner).unwrap().count()), (2, 0), "{left:?}");
        assert!(sums(&inner).is_err(), "of nothing there is no sum");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn sums_are_of_the_form_that_sha256sum_checks() {
        let folder = std::env::temp_dir().join(format!("xtask-sums-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("b.zip"), "").unwrap();
        std::fs::write(folder.join("a.zip"), "").unwrap();
        sums(&folder).unwrap();
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let text = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        assert_eq!(text, format!("{of_nothing}  a.zip\n{of_nothing}  b.zip\n"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
