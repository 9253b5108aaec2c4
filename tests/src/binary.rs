//! The binary under test, and running it to its end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The path of the binary: `PORTCULLIS_BIN`, else what cargo left beside the test's own folder.
pub fn path() -> PathBuf {
    let said = std::env::var_os("PORTCULLIS_BIN").map(PathBuf::from);
    let found = said.unwrap_or_else(|| {
        let test = std::env::current_exe().expect("the path of this test");
        // target/debug/deps/TEST -> target/debug/portcullis
        let folder = test.ancestors().nth(2).expect("a test runs in target/PROFILE/deps");
        folder.join(format!("portcullis{}", std::env::consts::EXE_SUFFIX))
    });
    assert!(
        found.is_file(),
        "there is no binary at {}: run `cargo xtask test`, which builds it, or `cargo build -p portcullis-cli`, or \
         name one in PORTCULLIS_BIN",
        found.display()
    );
    found
}

/// The binary with none of the variables that could change what it does.
pub fn command() -> Command {
    let mut command = Command::new(path());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PORTCULLIS_") || name == "NO_COLOR") {
            command.env_remove(name);
        }
    }
    command.env("RUST_LOG", "info").stdin(Stdio::null());
    command
}

/// What a run of the binary came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; none = a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ran {
    /// Its stdout as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON on stdout ({error}): {self:?}"))
    }
}

/// Runs the binary to its end.
pub fn run<A: AsRef<OsStr>>(args: &[A], set: &[(&str, &str)]) -> Ran {
    let output = command().args(args).envs(set.iter().copied()).output().expect("starting the binary");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// Makes a person's token.
pub fn person(data: &Path, name: &str) -> String {
    let ran = run(&["person", "add", name, "--data", &data.to_string_lossy(), "--output", "json"], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()["token"].as_str().expect("a token").to_owned()
}
