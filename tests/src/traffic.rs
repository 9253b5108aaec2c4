//! Constant requests to a service through its proxy, also across restarts of the process that the proxy lives in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_embedded::local::load::{Load, LoadOptions, LoadReport};

use crate::installation;
use crate::wait::{self, SOON};

const CONNECTIONS: usize = 4;

/// Requests to one service. Ended when dropped.
pub struct Traffic {
    data: PathBuf,
    application: String,
    service: String,
    rate: u32,
    load: Load,
    to: SocketAddr,
    allowed: Option<BTreeSet<String>>,
    /// What was sent to addresses of before.
    past: Vec<LoadReport>,
}

/// What came of all requests. Those sent while nobody listened are lost, and none of that says anything.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Answers of builds by version.
    pub versions: BTreeMap<String, u64>,
    /// Answers of builds.
    pub answered: u64,
    /// Requests without one.
    pub lost: u64,
    /// Answers by a version that was not allowed then.
    pub wrong: u64,
}

impl Traffic {
    /// Sends so many requests per second to a service, from when it has an address.
    pub async fn start(data: &Path, application: &str, service: &str, rate: u32) -> Self {
        let to = find(data, application, service).await;
        Self {
            load: Load::start(to, LoadOptions::per_second(rate, CONNECTIONS)),
            to,
            data: data.to_owned(),
            application: application.to_owned(),
            service: service.to_owned(),
            rate,
            allowed: None,
            past: Vec::new(),
        }
    }

    /// From now on only these versions may answer.
    pub fn allow<'v>(&mut self, versions: impl IntoIterator<Item = &'v str>) {
        self.allowed = Some(versions.into_iter().map(str::to_owned).collect());
        self.load.allow(self.allowed.clone());
    }

    /// After a restart: follows the service if its old port was taken meanwhile.
    pub async fn follow(&mut self) {
        let to = find(&self.data, &self.application, &self.service).await;
        if to == self.to {
            return;
        }
        let load = Load::start(to, LoadOptions::per_second(self.rate, CONNECTIONS));
        load.allow(self.allowed.clone());
        self.to = to;
        let before = std::mem::replace(&mut self.load, load);
        self.past.push(before.stop().await);
    }

    /// What came of all requests so far.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for report in self.past.iter().chain([&self.load.report()]) {
            counted.answered += report.answered;
            counted.lost += report.lost;
            counted.wrong += report.wrong_version;
            for (version, count) in &report.versions {
                *counted.versions.entry(version.clone()).or_default() += count;
            }
        }
        counted
    }

    /// Waits until a build has answered again, and says which version it was of.
    pub async fn answers(&self) -> String {
        let before = self.load.report().versions;
        wait::until("an answer", SOON, async || {
            let now = self.load.report().versions;
            let more = now.iter().find(|(version, count)| before.get(*version).is_none_or(|before| before < count));
            more.map(|(version, _)| version.clone()).ok_or_else(|| format!("{now:?}"))
        })
        .await
    }
}

async fn find(data: &Path, application: &str, service: &str) -> SocketAddr {
    wait::until("the service has an address", SOON, async || {
        installation::address(data, application, service).ok_or_else(|| "none yet".to_owned())
    })
    .await
}
