//! A source repository of files: one per commit, `DIR/commits/SHA.json`.
//!
//! ```json
//! {
//!   "title": "Take payments in instalments",
//!   "parent": "1c0ffee...",
//!   "branches": ["main"],
//!   "people": ["github:ama", "email:kofi@example.com"],
//!   "files": ["services/nestjs/src/payments.ts"],
//!   "tree": "9e107d9...",
//!   "forward_only": false
//! }
//! ```
//!
//! `title` is required. `people` are the commit's author, committer and co-authors, `files` what it changed against its
//! `parent`, paths from the root of the repository. No `files` = not known, and then nothing is said to be unchanged.
//! `tree` is its Git tree: equal trees are equal sources. `forward_only` says that it can not be undone (a schema
//! change); a release is forward-only if any commit since the live ones is.
//! What changed since a live commit, and by whom, is found by walking the parents. Unknown keys are let be. The files are
//! read at every call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::facts::CommitFacts;
use portcullis_domain::names::{CommitSha, Identity, ServiceName};
use portcullis_engine::ports::{PortError, PortResult, Source};
use serde_json::json;

use crate::blocking;
use crate::durable::Durable;
use crate::fields::Fields;

/// At most so many ancestors are walked.
const MOST_ANCESTORS: usize = 50;

/// A source repository of files; it is the same one whatever name it is asked by.
#[derive(Debug, Clone)]
pub struct FileSource {
    files: Arc<Durable>,
}

/// One commit's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCommit {
    /// Its full id.
    pub commit: CommitSha,
    /// Its title, one line; at most 200 characters of it are told.
    pub title: String,
    /// The commit before it; none = it is the first, or what is before it is not known.
    pub parent: Option<CommitSha>,
    /// Branches whose history holds it.
    pub branches: BTreeSet<String>,
    /// Its author, committer and co-authors.
    pub people: BTreeSet<Identity>,
    /// Paths that it changed; none = not known.
    pub files: Option<BTreeSet<String>>,
    /// Its Git tree; none = not known.
    pub tree: Option<CommitSha>,
    /// Whether it can not be undone.
    pub forward_only: bool,
}

impl FileSource {
    /// Opens or creates the repository in a directory.
    pub fn new(directory: &Path) -> PortResult<Self> {
        let files = Durable::at(&directory.join("commits"))
            .map_err(|error| PortError::new(format!("opening the commits in {}", directory.display()), error))?;
        Ok(Self { files: Arc::new(files) })
    }

    /// Stores a commit, in place of what was known of it.
    pub fn put_commit(&self, commit: &SourceCommit) -> PortResult<()> {
        let file = self.files.root().join(format!("{}.json", commit.commit));
        let mut json = json!({
            "title": commit.title,
            "parent": commit.parent,
            "branches": commit.branches,
            "people": commit.people,
        });
        if let Some(files) = &commit.files {
            json["files"] = json!(files);
        }
        if let Some(tree) = &commit.tree {
            json["tree"] = json!(tree);
        }
        if commit.forward_only {
            json["forward_only"] = json!(true);
        }
        let text = format!("{json:#}\n");
        let doing = || format!("storing {}", file.display());
        self.files.replace(&file, &[text.as_bytes()]).map_err(|error| PortError::new(doing(), error))
    }
}

#[async_trait]
impl Source for FileSource {
    /// Ancestors are walked at most 50 deep. People and commits are counted back to the oldest live commit that is
    /// found; where one is not found among the ancestors, everything walked counts. With nothing live only the commit
    /// itself counts. A service is said to be unchanged only if every commit since its live one names its files.
    async fn commit(
        &self,
        _repository: Option<&str>,
        commit: &CommitSha,
        since: &BTreeMap<ServiceName, CommitSha>,
        folders: &BTreeMap<ServiceName, String>,
    ) -> PortResult<Option<CommitFacts>> {
        let (files, commit, since, folders) = (Arc::clone(&self.files), commit.clone(), since.clone(), folders.clone());
        blocking("reading the commits", move || {
            let Some(first) = find(files.root(), &commit)? else { return Ok(None) };
            Ok(Some(facts(&walk(files.root(), first)?, &since, &folders)))
        })
        .await
    }
}

/// A commit and its ancestors, newest first.
fn walk(directory: &Path, first: SourceCommit) -> PortResult<Vec<SourceCommit>> {
    let mut line = vec![first];
    while line.len() <= MOST_ANCESTORS
        && let Some(parent) = line.last().and_then(|commit| commit.parent.as_ref())
        && let Some(found) = find(directory, parent)?
    {
        line.push(found);
    }
    Ok(line)
}

fn facts(
    line: &[SourceCommit],
    since: &BTreeMap<ServiceName, CommitSha>,
    folders: &BTreeMap<ServiceName, String>,
) -> CommitFacts {
    // How many commits are newer than this live one; a parent that is named but not stored counts as found.
    let newer = |live: &CommitSha| {
        line.iter().position(|commit| commit.commit.matches(live)).or_else(|| {
            let parent = line.last().and_then(|oldest| oldest.parent.as_ref());
            parent.is_some_and(|parent| parent.matches(live)).then_some(line.len())
        })
    };
    let counted = since.values().map(|live| newer(live).unwrap_or(line.len())).max().unwrap_or(1);
    let between = &line[..counted];
    let changed = folders.iter().filter_map(|(service, folder)| {
        let commits = &line[..newer(since.get(service)?)?];
        let mut unknown = false;
        for commit in commits {
            match &commit.files {
                Some(files) if files.iter().any(|file| lies_in(file, folder)) => return Some((service.clone(), true)),
                Some(_) => {}
                None => unknown = true,
            }
        }
        (!unknown).then(|| (service.clone(), false))
    });
    let first = line.first();
    let last_parent = line.last().and_then(|oldest| oldest.parent.clone());
    CommitFacts {
        commit: first.map(|commit| commit.commit.clone()),
        title: first.map(|commit| one_line(&commit.title)).unwrap_or_default(),
        branches: first.map(|commit| commit.branches.clone()).unwrap_or_default(),
        ancestors: line
            .iter()
            .skip(1)
            .map(|commit| commit.commit.clone())
            .chain(last_parent)
            .take(MOST_ANCESTORS)
            .collect(),
        people: between.iter().flat_map(|commit| commit.people.iter().cloned()).collect(),
        commits: u32::try_from(between.len()).unwrap_or(u32::MAX),
        tree: first.and_then(|commit| commit.tree.clone()),
        forward_only: between.iter().any(|commit| commit.forward_only),
        changed: changed.collect(),
    }
}

fn one_line(title: &str) -> String {
    title.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Whether a path is the folder or lies in it; the root is `.` or empty.
fn lies_in(file: &str, folder: &str) -> bool {
    let clean = |path: &str| path.trim_start_matches("./").trim_matches('/').to_owned();
    let (file, folder) = (clean(file), clean(folder));
    folder.is_empty()
        || folder == "."
        || file.strip_prefix(&folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The commit of this id, or the only one whose id begins with it.
fn find(directory: &Path, commit: &CommitSha) -> PortResult<Option<SourceCommit>> {
    if let Some(found) = read(directory, commit)? {
        return Ok(Some(found));
    }
    let wrong = |error: io::Error| PortError::new(format!("reading {}", directory.display()), error);
    let mut longer = None;
    for entry in fs::read_dir(directory).map_err(wrong)? {
        let name = entry.map_err(wrong)?.file_name();
        let Some(Ok(id)) = name.to_str().and_then(|name| name.strip_suffix(".json")).map(CommitSha::new) else {
            continue;
        };
        if id.as_str().starts_with(commit.as_str()) && longer.replace(id).is_some() {
            return Err(PortError::new(
                format!("looking for commit {commit} in {}", directory.display()),
                "more than one begins with these digits",
            ));
        }
    }
    longer.map_or(Ok(None), |id| read(directory, &id))
}

fn read(directory: &Path, commit: &CommitSha) -> PortResult<Option<SourceCommit>> {
    let Some(fields) = Fields::read(&directory.join(format!("{commit}.json")))? else { return Ok(None) };
    Ok(Some(SourceCommit {
        commit: commit.clone(),
        title: fields.required("title")?,
        parent: fields.optional("parent")?,
        branches: fields.optional("branches")?.unwrap_or_default(),
        people: fields.optional("people")?.unwrap_or_default(),
        files: fields.optional("files")?,
        tree: fields.optional("tree")?,
        forward_only: fields.optional("forward_only")?.unwrap_or(false),
    }))
}
