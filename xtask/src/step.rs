//! Starting a child process so that a reader of the log can repeat it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The root of the work tree: the folder above this crate.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The folder this process was built into (`target/debug`): what cargo builds with the same profile lands beside it.
pub(crate) fn build_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("finding the folder of the running xtask")?;
    Ok(exe.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// What lints with each compilation, as cargo is told of it.
const LINT_VARIABLE: &str = "RUSTC_WORKSPACE_WRAPPER";
static LINTS: AtomicBool = AtomicBool::new(false);

/// From now on the compiler says what clippy says, and every warning is an error: one build of the tests is compiled and
/// linted at once. `.ci/run` sets the variable itself, for the same.
pub(crate) fn lint_all_builds() {
    LINTS.store(true, Ordering::Relaxed);
}

/// A cargo command at the root of the work tree, with the toolchain that runs us.
pub(crate) fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    if LINTS.load(Ordering::Relaxed) {
        command.env(LINT_VARIABLE, root().join(".ci/lint"));
    }
    // `cargo run` tells us about *this* package. Left in place, build scripts that watch these variables would be run
    // again each time a person alternates between `cargo xtask test` and `cargo test`.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_set_by_cargo_run) {
            command.env_remove(name);
        }
    }
    command
}

fn is_set_by_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || matches!(name, "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "CARGO_BIN_NAME")
}

/// A command of cargo for what is not ours: nothing of it is linted.
pub(crate) fn foreign_cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = cargo(args);
    command.env_remove(LINT_VARIABLE);
    command
}

/// Builds a program of the proofs with the profile `proof`; the command that starts it at the root of the work tree.
pub(crate) fn build(package: &str, program: &str) -> Result<Command> {
    run(&mut cargo(["build", "--profile", "proof", "-p", package, "--bin", program]))?;
    let beside = build_dir()?;
    let target = beside.parent().context("finding the folder of the builds")?;
    let path = target.join("proof").join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        bail!("cargo built `{program}`, but not to {}: run xtask with the same target folder", path.display());
    }
    let mut command = Command::new(path);
    command.current_dir(root());
    // Memory that is given back to the system after every seed is asked for again at once (GNU libc only).
    command.env("MALLOC_TOP_PAD_", "67108864").env("MALLOC_TRIM_THRESHOLD_", "1073741824");
    // The same for the simulator's allocator.
    command.env("MIMALLOC_PURGE_DELAY", "-1");
    Ok(command)
}

/// Prints the command, runs it with our output, and fails with its name when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("\n$ {shown}");
    let status = command.status().with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The command as a person would type it at the root: set variables first, arguments below the root shortened.
fn show(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let (Some(name), Some(value)) = (name.to_str(), value)
            && name != "PATH"
            && name != LINT_VARIABLE
        {
            words.push(format!("{name}={}", quoted(&value.to_string_lossy())));
        }
    }
    let program = Path::new(command.get_program());
    words.push(program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| quoted(&below_root(arg))));
    words.join(" ")
}

fn below_root(word: &OsStr) -> String {
    Path::new(word).strip_prefix(root()).map_or_else(|_| word.to_string_lossy(), Path::to_string_lossy).into_owned()
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A duration for people: `4 s`, `3 min 07 s`.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it_at_the_root() {
        let mut command = cargo(["doc", "--no-deps"]);
        command.env("RUSTDOCFLAGS", "-D warnings").arg(root().join("target/tools")).arg("it's");
        assert_eq!(show(&command), r"RUSTDOCFLAGS='-D warnings' cargo doc --no-deps target/tools 'it'\''s'");
    }

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        let error = run(&mut cargo(["no-such-subcommand"])).unwrap_err();
        assert!(error.to_string().starts_with("`cargo no-such-subcommand` failed"), "{error}");
    }

    #[test]
    fn variables_about_this_package_are_kept_from_children() {
        assert!(is_set_by_cargo_run("CARGO_PKG_NAME") && is_set_by_cargo_run("CARGO_MANIFEST_DIR"));
        assert!(!is_set_by_cargo_run("CARGO_TARGET_DIR") && !is_set_by_cargo_run("CARGO_HOME"));
    }

    #[test]
    fn times_read_as_minutes_and_seconds() {
        assert_eq!(in_words(Duration::from_millis(4_250)), "4.2 s");
        assert_eq!(in_words(Duration::from_secs(187)), "3 min 07 s");
    }
}
