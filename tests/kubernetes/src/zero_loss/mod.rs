//! Switches and rollbacks of a service under constant load, while its pods are evicted and its autoscaler acts: how many
//! requests are lost, and how many are answered by a version that nobody let. The same is done by ours and by what
//! people do without us, and counted alike.

mod chaos;
mod others;
mod ours;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portcullis_tests::wait::{self, SOON};

use crate::cluster::Cluster;
use crate::load::{Load, LoadOptions, LoadReport};

/// Pods of the service.
pub const REPLICAS: u32 = 3;
/// The least and the most that its autoscaler gives it.
const BOUNDS: (u32, u32) = (3, 6);
/// The repetitions that a test makes, by this environment variable; else a few.
pub const TURNS_VARIABLE: &str = "PORTCULLIS_SWITCHES";
/// The repetitions that a test makes.
const FEW: u32 = 3;
/// Requests on a state before it changes again.
const BETWEEN: u64 = 60;

/// How a service is brought to another version and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By Portcullis: the real engine, two drivers racing.
    Portcullis,
    /// `kubectl set image`, `kubectl rollout undo`, each until `kubectl rollout status` is content.
    SetImage,
    /// Two Deployments and a selector: the new one is started and the selector patched, as many a script does it.
    Selector,
}

impl Way {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portcullis => "portcullis",
            Self::SetImage => "kubectl set image + rollout undo",
            Self::Selector => "naive selector patch",
        }
    }
}

/// What came of one way.
#[derive(Debug, Clone)]
pub struct Row {
    /// The way.
    pub way: Way,
    /// How late the Services' proxies follow.
    pub lag: Duration,
    /// Moves to a new version, and moves back.
    pub moves: (u32, u32),
    /// What the load saw.
    pub report: LoadReport,
    /// What happened meanwhile, and how often.
    pub meanwhile: BTreeMap<&'static str, u64>,
    /// Moments at which too few endpoints were ready: the first few.
    pub too_few: Vec<String>,
}

impl Row {
    /// One line of the table.
    pub fn line(&self) -> String {
        let LoadReport { sent, lost, failed, wrong, reopened, .. } = &self.report;
        format!(
            "{:<34} {:>5} ms {:>8} {:>9} {sent:>9} {lost:>6} {failed:>6} {wrong:>6} {reopened:>8}",
            self.way.name(),
            self.lag.as_millis(),
            self.moves.0,
            self.moves.1
        )
    }
}

/// The table's first line.
pub fn heading() -> String {
    format!(
        "{:<34} {:>8} {:>8} {:>9} {:>9} {:>6} {:>6} {:>6} {:>8}",
        "by", "lag", "switches", "rollbacks", "requests", "lost", "failed", "wrong", "reopened"
    )
}

/// The repetitions that a test makes.
///
/// # Panics
/// When the environment variable is no number.
pub fn turns() -> u32 {
    match std::env::var(TURNS_VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{TURNS_VARIABLE}={text}: {error}")),
        Err(_) => FEW,
    }
}

/// Does it so many times there and so many times back. The cluster's proxy must have this lag; it is only told here.
pub async fn run(cluster: &Cluster, way: Way, lag: Duration, turns: u32) -> Row {
    match way {
        Way::Portcullis => ours::run(cluster, lag, turns).await,
        Way::SetImage => others::set_image(cluster, lag, turns).await,
        Way::Selector => others::selector(cluster, lag, turns).await,
    }
}

/// The load of all ways.
fn load_options() -> LoadOptions {
    LoadOptions { slow_for: Duration::from_millis(800), ..LoadOptions::default() }
}

fn allow<const N: usize>(load: &Load, digests: [&str; N]) {
    load.allow(Some(digests.into_iter().map(str::to_owned).collect::<BTreeSet<_>>()));
}

/// Waits until some more requests were sent.
async fn more(load: &Load) {
    let until = load.report().sent + BETWEEN;
    wait::until("more requests are sent", SOON, async || {
        let sent = load.report().sent;
        if sent >= until { Ok(()) } else { Err(format!("{sent} of {until}")) }
    })
    .await;
}
