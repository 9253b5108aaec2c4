//! The copy of the work tree that is changed and compiled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::list::Mutant;
use crate::weave::Woven;

/// What is changed, and whose tests are run.
const PACKAGE: &str = "portcullis-domain";
/// What plays whole releases with it: the last to be asked.
const SIMULATOR: [&str; 4] = ["--package", "portcullis-simulator", "--bin", "simulate"];
const SOURCES: &str = "shared/domain/src/";
const LIB: &str = "shared/domain/src/lib.rs";

/// What every `crate::mutated(17)` asks.
const MUTATED: &str = r#"
#[doc(hidden)]
pub fn mutated(which: usize) -> bool {
    static AWAKE: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("PORTCULLIS_MUTANT").ok().and_then(|which| which.parse().ok()));
    *AWAKE == Some(which)
}
"#;

/// A copy beside its own target folder.
pub(crate) struct Tree {
    root: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    /// What was copied, from the root.
    files: Vec<String>,
}

impl Tree {
    /// Copies what git knows of, or would, to `home/tree`; what is the same already is left alone.
    pub(crate) fn copy(root: &Path, home: &Path) -> Result<Self> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("asking git for the files")?;
        if !listed.status.success() {
            bail!("git does not list the files of {}", root.display());
        }
        let listed = String::from_utf8(listed.stdout).context("reading what git listed")?;
        let there = listed.split_terminator('\0').filter(|file| root.join(file).is_file());
        let (copy, target) = (home.join("tree"), home.join("target"));
        let tree = Self { root: root.to_owned(), copy, target, files: there.map(str::to_owned).collect() };
        tree.files.iter().try_for_each(|file| tree.restore(file))?;
        Ok(tree)
    }

    /// Where the sources are that nobody changes.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn restore(&self, file: &str) -> Result<()> {
        let path = self.root.join(file);
        let original = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        self.write(file, &original)
    }

    /// Cargo goes by the time of the last write: the same text is not written again.
    fn write(&self, file: &str, text: &[u8]) -> Result<()> {
        let path = self.copy.join(file);
        if std::fs::read(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// The test programs with all these mutants in them, or the mutants that do not compile there.
    pub(crate) fn build_woven(&self, woven: &[Woven]) -> Result<Result<Vec<PathBuf>, BTreeSet<usize>>> {
        let mut lib = std::fs::read_to_string(self.root.join(LIB)).context("reading lib.rs")?;
        for file in woven {
            if file.file == LIB {
                lib.clone_from(&file.text);
            } else {
                self.write(&file.file, file.text.as_bytes())?;
            }
        }
        self.write(LIB, format!("{lib}{MUTATED}").as_bytes())?;
        let built = self.build()?;
        if let Some(tests) = built.programs {
            return Ok(Ok(tests));
        }
        let mut wrong = BTreeSet::new();
        for complaint in &built.complaints {
            let whose = |primary: bool| {
                let spans = complaint.spans.iter().filter(move |span| span.is_primary == primary);
                spans.filter_map(|span| woven.iter().find(|w| w.file == span.file_name)?.at_line(span.line_start))
            };
            match whose(true).next().or_else(|| whose(false).next()) {
                Some(which) => _ = wrong.insert(which),
                None => eprintln!("{}", complaint.rendered.as_deref().unwrap_or("the compiler says nothing more")),
            }
        }
        Ok(Err(wrong))
    }

    /// The test programs with one mutant as cargo-mutants would write it; none if it does not compile.
    pub(crate) fn build_alone(&self, mutant: &Mutant) -> Result<Option<Vec<PathBuf>>> {
        self.files.iter().filter(|file| file.starts_with(SOURCES)).try_for_each(|file| self.restore(file))?;
        let original = std::fs::read_to_string(self.root.join(&mutant.file))
            .with_context(|| format!("reading {}", mutant.file))?;
        self.write(&mutant.file, mutant.applied(&original)?.as_bytes())?;
        Ok(self.build()?.programs)
    }

    fn build(&self) -> Result<Built> {
        self.cargo(&["test", "--package", PACKAGE, "--lib", "--tests", "--no-run"])
    }

    /// The simulator with what is in the copy now.
    pub(crate) fn build_simulator(&self) -> Result<PathBuf> {
        let built = self.cargo(&[&["build"][..], &SIMULATOR].concat())?;
        let complaints = || built.complaints.iter().filter_map(|it| it.rendered.as_deref()).collect::<String>();
        let programs = built.programs.with_context(|| format!("the simulator does not compile: {}", complaints()))?;
        programs.into_iter().next_back().context("cargo built no simulator")
    }

    fn cargo(&self, args: &[&str]) -> Result<Built> {
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(args)
            .args(["--profile", "mutants", "--message-format", "json"])
            .env("CARGO_TARGET_DIR", &self.target)
            .current_dir(&self.copy)
            .stderr(Stdio::inherit())
            .output()
            .context("starting cargo")?;
        let (mut programs, mut complaints) = (Vec::new(), Vec::new());
        for line in output.stdout.split(|byte| *byte == b'\n') {
            // Of cargo's messages only two kinds are of interest.
            match serde_json::from_slice(line) {
                Ok(Said::Artifact { executable: Some(path) }) => programs.push(path),
                Ok(Said::Message { message }) if message.level == "error" => complaints.push(message),
                _ => {}
            }
        }
        let programs = output.status.success().then_some(programs);
        if programs.as_ref().is_some_and(Vec::is_empty) {
            bail!("cargo built nothing that runs");
        }
        Ok(Built { programs, complaints })
    }
}

struct Built {
    /// None where something does not compile.
    programs: Option<Vec<PathBuf>>,
    complaints: Vec<Complaint>,
}

#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Said {
    #[serde(rename = "compiler-artifact")]
    Artifact { executable: Option<PathBuf> },
    #[serde(rename = "compiler-message")]
    Message { message: Complaint },
}

#[derive(Deserialize)]
struct Complaint {
    level: String,
    rendered: Option<String>,
    spans: Vec<Where>,
}

#[derive(Deserialize)]
struct Where {
    file_name: String,
    line_start: usize,
    is_primary: bool,
}
