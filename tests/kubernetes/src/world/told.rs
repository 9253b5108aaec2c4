//! What a test can ask of the ledger: the state, how a release ended, the story as lines.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_domain::action::{Action, Found, ObjectKey, Purpose};
use portcullis_domain::event::{Event, What};
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::target::{Phase, Release, Target};
use portcullis_domain::time::Timestamp;
use portcullis_engine::memory::world::{Ending, lines};
use portcullis_tests::wait::LIFE;

use super::World;

/// So many lines of a story are told, the last ones.
const MOST_LINES: usize = 80;

impl World<'_> {
    /// The state of the target.
    pub async fn state(&self) -> Target {
        self.recorder.state(&self.target).await.unwrap().unwrap_or_default()
    }

    /// A release that is still in the state.
    pub async fn release(&self, id: ReleaseId) -> Option<Release> {
        self.state().await.releases.remove(&id)
    }

    /// The phase of a release that is still in the state.
    pub async fn phase(&self, id: ReleaseId) -> Option<Phase> {
        self.release(id).await.map(|release| release.phase)
    }

    /// The whole ledger.
    pub async fn events(&self) -> Vec<Event> {
        self.read(<[Event]>::to_vec).await
    }

    /// Looks at the whole ledger. What was read of it before is not read again.
    async fn read<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        let mut told = self.told.lock().await;
        let after = told.last().map_or(Seq(0), |event| event.seq);
        let more = self.recorder.history(&self.target, after, usize::MAX).await.unwrap();
        told.extend(more.into_iter().map(|entry| entry.event));
        look(&told)
    }

    /// How a release ended, by its ledger; none = it has not.
    pub async fn ending(&self, id: ReleaseId) -> Option<Ending> {
        let ending = |event: &Event| match &event.what {
            What::WentLive { .. } => Some(Ending::Live),
            What::RolledBack { .. } => Some(Ending::RolledBack),
            What::Settled { end, .. } => Some(Ending::Settled(*end)),
            What::Resolved { .. } => Some(Ending::Resolved),
            _ => None,
        };
        let of_release = |event: &&Event| event.what.release() == Some(id);
        self.read(|events| events.iter().rev().filter(of_release).find_map(ending)).await
    }

    /// Waits until a release has entered this phase, be it past it by now. Panics with the story after the time of a
    /// whole life.
    pub async fn reaches(&self, id: ReleaseId, phase: &str) {
        let entered = |event: &Event| match &event.what {
            What::Entered { release, phase: entered } => *release == id && entered.name() == phase,
            What::WentLive { release, .. } => *release == id && phase == "live",
            What::NeedsHelp { release, .. } => *release == id && phase == "needs_help",
            What::RollbackBegan { release, .. } => *release == id && phase == "rolling_back",
            _ => false,
        };
        let reached = async {
            while !self.read(|events| events.iter().any(entered)).await {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        let reached = tokio::time::timeout(LIFE, reached).await;
        assert!(reached.is_ok(), "release {id} never reached {phase}\n{}", self.story().await);
    }

    /// Waits for the end of a release, and says which. Of a live one whose way back begins it is the end of that.
    pub async fn ends(&self, id: ReleaseId) -> Ending {
        let ended = async {
            loop {
                let state = self.state().await;
                let open = state.in_flight == Some(id)
                    || state.releases.get(&id).is_some_and(|release| release.phase != Phase::Live);
                if let Some(ending) = self.ending(id).await.filter(|_| !open) {
                    return ending;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        let Ok(ending) = tokio::time::timeout(LIFE, ended).await else {
            panic!("release {id} does not end\n{}", self.story().await)
        };
        ending
    }

    /// Waits for the end of a release that must be this one.
    pub async fn ends_so(&self, id: ReleaseId, expected: Ending) {
        let ending = self.ends(id).await;
        assert_eq!(ending, expected, "release {id}\n{}", self.story().await);
    }

    /// The first object that was found other than it was left, what was found, and whether it is a value of ours.
    pub async fn drift(&self) -> (ObjectKey, Found, bool) {
        let drifted = |event: &Event| match &event.what {
            What::Drifted { object, found, ours, .. } => Some((object.clone(), found.clone(), *ours)),
            _ => None,
        };
        let Some(found) = self.read(|events| events.iter().find_map(drifted)).await else {
            panic!("no drift was told\n{}", self.story().await)
        };
        found
    }

    /// When a release's first event of a kind was decided.
    pub async fn decided(&self, id: ReleaseId, is_it: impl Fn(&What) -> bool) -> Option<Timestamp> {
        let is_it = |event: &&Event| event.what.release() == Some(id) && is_it(&event.what);
        self.read(|events| events.iter().find(is_it).map(|event| event.at)).await
    }

    /// The last lines of the ledger.
    pub async fn story(&self) -> String {
        let events = self.events().await;
        let all = lines(&events);
        let skipped = events.len().saturating_sub(MOST_LINES);
        all.split_inclusive('\n').skip(skipped).collect()
    }

    /// Checks what must hold whatever happened: after a way back began nothing of that release moved forward; one
    /// release at a time; every switch came after its claim.
    pub async fn assert_sound(&self) {
        let events = self.events().await;
        let story = self.story().await;
        let (mut back, mut in_flight, mut claimed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for event in &events {
            let Some(release) = event.what.release() else { continue };
            let forward = event.what.moves_forward();
            assert!(
                !(forward && back.contains(&release)),
                "{release} moved forward on its way back at {}\n{story}",
                event.seq
            );
            match &event.what {
                What::RollbackBegan { .. } => {
                    back.insert(release);
                }
                What::Began { .. } => {
                    in_flight.insert(release);
                    assert_eq!(in_flight.len(), 1, "two releases in flight at {}\n{story}", event.seq);
                }
                What::WentLive { .. } | What::RolledBack { .. } | What::Settled { .. } | What::Resolved { .. } => {
                    in_flight.remove(&release);
                }
                What::Intended { intention, .. } => {
                    let Action::Write(write) = &intention.action else { continue };
                    let key = (release, write.object.service.clone());
                    match write.purpose {
                        Purpose::Claim => {
                            claimed.insert(key);
                        }
                        Purpose::Switch => assert!(claimed.contains(&key), "switched before the claim\n{story}"),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}
