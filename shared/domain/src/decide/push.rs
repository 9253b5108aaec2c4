//! Images that come in: which release they belong to, and whether their commit is newer than what was tried.

use std::collections::BTreeMap;

use super::Draft;
use crate::digest::Digest;
use crate::event::{Actor, What};
use crate::facts::{Artifact, CommitFacts, ScanStatus};
use crate::names::{CommitSha, ReleaseId, ServiceName, Subject, Tag};
use crate::plan::is_worse;
use crate::policy::Severity;
use crate::signal::Pushed;
use crate::target::Phase;
use crate::time::Timestamp;

/// What a release is opened with.
pub(super) struct Opening<'a> {
    pub(super) commit: &'a CommitSha,
    pub(super) pushed_at: Timestamp,
    pub(super) requested_by: Option<&'a Subject>,
    pub(super) typed: bool,
    pub(super) reason: Option<&'a String>,
    pub(super) forward_only: bool,
    pub(super) facts: Option<&'a CommitFacts>,
}

impl Draft<'_> {
    pub(super) fn pushed(&mut self, pushed: &Pushed) {
        self.actor = Actor::Outside;
        let open = self.target().releases.values().find(|release| release.commit.matches(&pushed.commit));
        if let Some(release) = open {
            let (id, phase) = (release.id, release.phase);
            self.pushed_to(id, phase, pushed);
        } else if pushed.opens {
            match self.outdated(pushed) {
                Some(why) => self.record_outdated(pushed, why),
                None => self.open_for(pushed),
            }
        }
        self.actor = Actor::Portcullis;
    }

    /// An image of a commit whose release is open already.
    fn pushed_to(&mut self, id: ReleaseId, phase: Phase, pushed: &Pushed) {
        let Some(release) = self.release(id) else { return };
        match release.artifacts.get(&pushed.service) {
            Some(artifact) if artifact.digest == pushed.digest => {}
            Some(artifact) if !artifact.kept => {
                let (from, known) = (artifact.digest, release.moved_tags.get(&pushed.service).copied());
                if let Some(tag) = pushed.tag.clone().filter(|_| known != Some(pushed.digest)) {
                    let service = pushed.service.clone();
                    self.push(What::TagMoved { release: id, service, tag, from, to: pushed.digest });
                }
            }
            _ if phase == Phase::Gathering => {
                self.add_image(id, &pushed.service, pushed.digest, pushed.tag.clone(), &pushed.commit);
            }
            _ => {}
        }
    }

    pub(super) fn add_image(
        &mut self,
        release: ReleaseId,
        service: &ServiceName,
        digest: Digest,
        tag: Option<Tag>,
        commit: &CommitSha,
    ) {
        let artifact = Artifact { digest, tag, commit: Some(commit.clone()), kept: false, size: None };
        self.push(What::ImageAdded { release, service: service.clone(), artifact });
    }

    /// Why a commit is not newer than what was tried; `None` if it is.
    fn outdated(&self, pushed: &Pushed) -> Option<String> {
        let target = self.target();
        let tried = target.commits.iter().find(|tried| tried.commit.matches(&pushed.commit));
        if let Some(tried) = tried {
            return Some(format!("it was tried with release {}", tried.release));
        }
        let newest = target.commits.first()?;
        let in_history = |history: &[CommitSha], commit: &CommitSha| history.iter().any(|known| known.matches(commit));
        if pushed.facts.as_ref().is_some_and(|facts| in_history(&facts.ancestors, &newest.commit)) {
            return None;
        }
        if in_history(&newest.ancestors, &pushed.commit) {
            return Some(format!("it is an ancestor of {}, release {}", newest.commit.short(), newest.release));
        }
        (pushed.pushed_at < newest.pushed_at)
            .then(|| format!("it was pushed before {}, release {}", newest.commit.short(), newest.release))
    }

    fn record_outdated(&mut self, pushed: &Pushed, why: String) {
        let known = self.target().outdated.contains(&pushed.commit);
        // A redelivered push of what is live, or was rolled back, says nothing new.
        let same = self.target().live.get(&pushed.service).is_some_and(|live| live.digest == pushed.digest)
            || self.target().quarantine.contains_key(&pushed.digest);
        if !known && !same {
            let (commit, service) = (pushed.commit.clone(), pushed.service.clone());
            self.push(What::Outdated { commit, service, digest: pushed.digest, why });
        }
    }

    fn open_for(&mut self, pushed: &Pushed) {
        let opening = Opening {
            commit: &pushed.commit,
            pushed_at: pushed.pushed_at,
            requested_by: None,
            typed: false,
            reason: None,
            forward_only: false,
            facts: pushed.facts.as_ref(),
        };
        if let Some(id) = self.open(&opening) {
            self.add_image(id, &pushed.service, pushed.digest, pushed.tag.clone(), &pushed.commit);
        }
    }

    /// Opens a release with the number that was given. At most one per decision.
    pub(super) fn open(&mut self, opening: &Opening<'_>) -> Option<ReleaseId> {
        if self.opened {
            return None;
        }
        self.opened = true;
        let release = self.given.next_release;
        self.push(What::Opened {
            release,
            commit: opening.commit.clone(),
            pushed_at: opening.pushed_at,
            requested_by: opening.requested_by.cloned(),
            typed: opening.typed,
            reason: opening.reason.cloned(),
            forward_only: opening.forward_only || opening.facts.is_some_and(|facts| facts.forward_only),
            facts: opening.facts.cloned(),
            gather_until: self.now() + self.policy.limits.gather,
        });
        Some(release)
    }

    /// A hint about a scan. It can only make us doubt what we know.
    pub(super) fn scan_reported(&mut self, digest: &Digest, status: ScanStatus, counts: &BTreeMap<Severity, u32>) {
        self.actor = Actor::Outside;
        let doubted: Vec<ReleaseId> = self
            .target()
            .releases
            .values()
            .filter(|release| release.doubt.is_none() && release.phase != Phase::Live && release.phase.is_forward())
            .filter(|release| {
                let known = release.facts.as_ref().and_then(|facts| facts.scans.get(digest));
                known.is_some_and(|known| {
                    is_worse(counts, &known.counts)
                        || (known.status == ScanStatus::Complete && status == ScanStatus::Failed)
                })
            })
            .map(|release| release.id)
            .collect();
        self.note_vulnerable(digest, counts);
        for release in doubted {
            let why = format!("a newer scan of {} is said to be worse", digest.short());
            self.push(What::Doubted { release, why });
        }
        self.actor = Actor::Portcullis;
    }
}
