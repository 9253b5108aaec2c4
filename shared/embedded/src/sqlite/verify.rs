//! The check of a target's hash chain: every stored byte is the one that was appended, none is missing.

use portcullis_domain::names::{Seq, TargetId};
use portcullis_engine::codec::{chain as hash, genesis};
use portcullis_engine::ports::{Ledger, PortError};

use super::SqliteStore;

/// So many commits are read at a time.
const PAGE: usize = 256;

/// What a verified ledger holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Number of commits.
    pub commits: u64,
    /// The last event.
    pub last: Seq,
}

/// Why a ledger is not verified.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChainError {
    /// It could not be read.
    #[error(transparent)]
    Port(#[from] PortError),
    /// What is stored is not what was appended.
    #[error("the ledger of {target} is broken at event {at}: {why}")]
    Broken {
        /// The target.
        target: TargetId,
        /// The first event of the commit that does not fit.
        at: Seq,
        /// What does not fit.
        why: &'static str,
    },
}

impl SqliteStore {
    /// Reads all commits of a target and checks that they follow one another without a gap, that each holds the hash
    /// of all before it, and that the head holds the hash of the last. Takes time proportional to the ledger's bytes.
    pub async fn verify_chain(&self, target: &TargetId) -> Result<Verified, ChainError> {
        let broken = |at, why| ChainError::Broken { target: target.clone(), at, why };
        let head = self.head(target).await?;
        let end = head.as_ref().map_or(Seq(0), |head| head.version);
        let (mut chain, mut last, mut commits) = (genesis(), Seq(0), 0);
        while last < end {
            let page = self.commits(target, last, PAGE).await?;
            if page.is_empty() {
                return Err(broken(Seq(last.0 + 1), "commits are missing at the end"));
            }
            // Commits that came after the head was read are for the next check.
            for commit in page.into_iter().take_while(|commit| commit.first <= end) {
                if commit.first.0 != last.0 + 1 || commit.last < commit.first {
                    return Err(broken(commit.first, "a commit before it is missing"));
                }
                if commit.before != chain {
                    return Err(broken(commit.first, "the hash of what is before it differs"));
                }
                chain = hash(chain, &commit.bytes);
                last = commit.last;
                commits += 1;
            }
        }
        if last != end {
            return Err(broken(last, "the last commit goes beyond the head"));
        }
        if head.is_some_and(|head| head.chain != chain) {
            return Err(broken(last, "the head has another hash than the commits"));
        }
        Ok(Verified { commits, last })
    }
}
