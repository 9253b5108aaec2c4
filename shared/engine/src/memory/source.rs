//! A source repository whose commits a test sets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_domain::facts::CommitFacts;
use portcullis_domain::names::{CommitSha, ServiceName};

use super::{Faults, Op, locked};
use crate::ports::{PortResult, Source};

/// Commits by their id.
pub struct FakeSource {
    faults: Faults,
    commits: Mutex<BTreeMap<CommitSha, CommitFacts>>,
}

impl FakeSource {
    /// It knows none at first.
    pub fn new(faults: Faults) -> Arc<Self> {
        Arc::new(Self { faults, commits: Mutex::default() })
    }

    /// Sets what it says of a commit.
    pub fn set(&self, commit: &CommitSha, facts: CommitFacts) {
        locked(&self.commits).insert(commit.clone(), facts);
    }
}

#[async_trait]
impl Source for FakeSource {
    async fn commit(
        &self,
        _: Option<&str>,
        commit: &CommitSha,
        _: &BTreeMap<ServiceName, CommitSha>,
        _: &BTreeMap<ServiceName, String>,
    ) -> PortResult<Option<CommitFacts>> {
        self.faults.before(Op::Commit).await?;
        let commits = locked(&self.commits);
        Ok(commits.iter().find(|(known, _)| known.matches(commit)).map(|(_, facts)| facts.clone()))
    }
}
