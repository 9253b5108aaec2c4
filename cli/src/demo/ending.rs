//! The demo's end: what it came to, and whether what was shown is true.

use portcullis_domain::names::{CommitSha, ReleaseId};
use portcullis_domain::time::Timestamp;
use portcullis_embedded::local::load::LoadReport;
use serde_json::{Value, json};

use super::story::Told;
use super::world::World;
use super::{chart, release_json};
use crate::api::State;
use crate::show::screen::Screen;
use crate::show::text::{count, thousands};

/// One release as it ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// Its number.
    pub(crate) id: ReleaseId,
    /// Its state.
    pub(crate) state: State,
    /// Its commit.
    pub(crate) commit: CommitSha,
}

/// What it all came to.
pub(crate) struct Ending {
    /// The good release.
    pub(crate) good: Ended,
    /// The bad one.
    pub(crate) bad: Ended,
    /// What is not as it should be.
    pub(crate) broken: Vec<String>,
    began: Timestamp,
    reports: Vec<LoadReport>,
    bad_at: Option<Timestamp>,
    noticed: Option<Timestamp>,
    restored: Option<Timestamp>,
}

/// Reads from the ledger, the cluster and the load how it ended.
pub(crate) async fn of(world: &World, good: Told, bad: Told) -> anyhow::Result<Ending> {
    let reports = world.reports();
    let mut ending = Ending {
        good: ended(world, &good).await?,
        bad: ended(world, &bad).await?,
        broken: Vec::new(),
        began: world.began,
        bad_at: reports.iter().filter_map(|report| report.failed_between.map(|(first, _)| first)).min(),
        noticed: bad.noticed,
        restored: bad.restored,
        reports,
    };
    let mut check = |ok: bool, words: String| {
        if !ok {
            ending.broken.push(words);
        }
    };
    let (first, second) = (&ending.good, &ending.bad);
    let states = (first.state, second.state);
    check(states.0 == State::Live, format!("release {} is {}, not live", first.id, states.0.name()));
    check(states.1 == State::RolledBack, format!("release {} is {}, not rolled back", second.id, states.1.name()));
    let lost: u64 = ending.reports.iter().map(|report| report.lost).sum();
    let reasons: Vec<&str> = ending.reports.iter().flat_map(|report| &report.reasons).map(String::as_str).collect();
    check(lost == 0, format!("{} lost: {}", count(lost, "request"), reasons.join("; ")));
    let wrong: u64 = ending.reports.iter().map(|report| report.wrong_version).sum();
    check(wrong == 0, format!("{} answered by a version nobody approved", count(wrong, "request")));
    check(ending.reports.iter().all(|report| report.sent > 0), "no requests were sent".to_owned());
    let noticed = ending.noticed.is_some() && ending.restored.is_some() && ending.bad_at.is_some();
    check(noticed, format!("{} never hurt, or nobody noticed", bad.version.name));
    let now = world.stack.ports.clock.now();
    let targets = world.library.targets(now).await?;
    let live = targets.iter().find(|summary| summary.target == world.target).map(|summary| &summary.live);
    for (service, digest) in World::digests(&good.version)? {
        let serves = live.and_then(|live| live.get(&service)).is_some_and(|serving| serving.digest == digest);
        check(serves, format!("{service} does not serve {}", good.version.name));
    }
    Ok(ending)
}

async fn ended(world: &World, told: &Told) -> anyhow::Result<Ended> {
    let releases = world.library.releases(Some(&world.target), None).await?;
    let found = releases.into_iter().find(|release| release.id == told.id);
    let state = found.map(|release| release.state);
    let state = state.ok_or_else(|| anyhow::anyhow!("release {} is not in the ledger", told.id))?;
    Ok(Ended { id: told.id, state, commit: told.version.commit.clone() })
}

impl Ending {
    fn sum(&self, of: impl Fn(&LoadReport) -> u64) -> u64 {
        self.reports.iter().map(of).sum()
    }

    fn since(&self, at: Option<Timestamp>) -> Option<u64> {
        at.map(|at| at.since(self.began).0)
    }

    /// The chart and the sums.
    pub(crate) fn words(&self, screen: Screen) -> String {
        let bucket = portcullis_embedded::local::load::LoadOptions::full(1).bucket.0;
        let seconds =
            |at| self.since(at).map_or("never".to_owned(), |ms| format!("{}.{} s", ms / 1_000, ms % 1_000 / 100));
        format!(
            "\n{}\n\n   {} requests sent    {} lost by a switch    {} answered by a version nobody approved\n   \
             rollback: bad from {}, noticed {}, healthy {}",
            chart::draw(&self.reports, bucket, screen),
            thousands(self.sum(|report| report.sent)),
            thousands(self.sum(|report| report.lost)),
            thousands(self.sum(|report| report.wrong_version)),
            seconds(self.bad_at),
            seconds(self.noticed),
            seconds(self.restored),
        )
    }

    /// The one object for programs; moments in milliseconds since the demo began.
    pub(crate) fn json(&self) -> Value {
        json!({
            "releases": [release_json(&self.good), release_json(&self.bad)],
            "requests": {
                "sent": self.sum(|report| report.sent),
                "lost": self.sum(|report| report.lost),
                "wrong_version": self.sum(|report| report.wrong_version),
            },
            "rollback": {
                "bad_ms": self.since(self.bad_at),
                "noticed_ms": self.since(self.noticed),
                "restored_ms": self.since(self.restored),
            },
        })
    }
}
