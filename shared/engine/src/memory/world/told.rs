//! What a story can ask: the state, the ledger, what answers requests.

use portcullis_domain::event::{End, Event, What};
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::target::{Phase, Release, Target};

use super::{World, image, name};

/// The longest line of a story.
const MOST_LINE: usize = 300;

/// How a release ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was verified live (and its window may still be open).
    Live,
    /// What served before serves again.
    RolledBack,
    /// It ended before it was live.
    Settled(End),
    /// A person took things as they were.
    Resolved,
}

impl World {
    /// The state of the target.
    pub async fn state(&self) -> Target {
        self.recorder.state(&self.target).await.unwrap().unwrap_or_default()
    }

    /// A release that is still in the state.
    pub async fn release(&self, id: ReleaseId) -> Option<Release> {
        self.state().await.releases.get(&id).cloned()
    }

    /// The newest release ever opened.
    pub async fn newest(&self) -> ReleaseId {
        let opened = self.events().await.into_iter().filter_map(|event| match event.what {
            What::Opened { release, .. } => Some(release),
            _ => None,
        });
        opened.max().unwrap()
    }

    /// The phase of a release, if it is still in the state.
    pub async fn phase(&self, id: ReleaseId) -> Option<Phase> {
        self.release(id).await.map(|release| release.phase)
    }

    /// The whole ledger.
    pub async fn events(&self) -> Vec<Event> {
        let entries = self.recorder.history(&self.target, Seq(0), usize::MAX).await.unwrap();
        entries.into_iter().map(|entry| entry.event).collect()
    }

    /// How a release ended, by its ledger.
    pub async fn ending(&self, id: ReleaseId) -> Option<Ending> {
        let events = self.events().await;
        let mut of_release = events.iter().rev().filter(|event| event.what.release() == Some(id));
        of_release.find_map(|event| match &event.what {
            What::WentLive { .. } => Some(Ending::Live),
            What::RolledBack { .. } => Some(Ending::RolledBack),
            What::Settled { end, .. } => Some(Ending::Settled(*end)),
            What::Resolved { .. } => Some(Ending::Resolved),
            _ => None,
        })
    }

    /// Whether every request of a service is answered by this image.
    pub fn serves(&self, service: &str, n: u32) -> bool {
        let serving = self.cluster.serving(&self.target, &name(service));
        serving.len() == 1 && serving.get(&image(service, n)) == Some(&10_000)
    }

    /// Whether every service is answered by its image of this commit.
    pub fn all_serve(&self, n: u32) -> bool {
        self.services().iter().all(|service| self.serves(service.as_str(), n))
    }

    /// The ledger as one line per event.
    pub async fn story(&self) -> String {
        lines(&self.events().await)
    }
}

/// Events as one line each, with the time since the first one.
pub fn lines(events: &[Event]) -> String {
    let from = events.first().map_or(0, |event| event.at.0);
    let line = |event: &Event| {
        let what = match &event.what {
            What::Judged { judgement, .. } => judgement.gates.iter().fold("Judged".to_owned(), |line, gate| {
                format!("{line} | {} {}: {}", gate.gate, gate.verdict, gate.why)
            }),
            what => format!("{what:?}"),
        };
        let short: String = what.chars().take(MOST_LINE).collect();
        let after = event.at.0 - from;
        format!("{:>6}.{:03}s {:>4} {short}\n", after / 1_000, after % 1_000, event.seq)
    };
    events.iter().map(line).collect()
}
