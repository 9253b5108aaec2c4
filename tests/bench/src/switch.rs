//! 50 switches and 50 rollbacks of a real service under as much load as the machine carries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portcullis_domain::action::{AwaitReady, Fence, ObjectKey, Purpose, Stamp, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{LedgerId, Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place};
use portcullis_domain::time::Millis;
use portcullis_embedded::local::load::{Load, LoadOptions, LoadReport};
use portcullis_embedded::local::{Build, LocalCluster, LocalOptions};
use portcullis_engine::ports::{Cluster as _, Written};

use crate::report::{Goal, Line};

/// So many there, and as many back.
const TURNS: u32 = 50;
const CONNECTIONS: usize = 16;
const REPLICAS: u32 = 2;
/// No step takes longer, or something is broken.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn measure(dir: &Path, requests: u64) -> Result<Vec<Line>> {
    let folder = tempfile::Builder::new().prefix("bench-switch-").tempdir_in(dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (calm, report, mut moves) = runtime.block_on(run(folder.path(), requests))?;
    moves.sort_unstable();
    let millis =
        |part: usize| moves.get(moves.len() * part / 100).or(moves.last()).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3);
    let (with, without) = (per_second(&report), per_second(&calm));
    let what =
        format!("requests lost, failed or answered wrongly in {TURNS} switches and {TURNS} rollbacks at full load");
    let bad = report.lost + report.failed + report.wrong_version;
    let line = Line::new("switch", what, number(bad), "requests")
        .goal(Goal::Exactly(0.0))
        .beside_at(
            "the same load while nothing switches (ratio: speed with over without)",
            without,
            "requests/s",
            with / without,
        )
        .detail("requests", report.sent)
        .detail("requests/s", with.round())
        .detail("lost", report.lost)
        .detail("failed", report.failed)
        .detail("wrong version", report.wrong_version)
        .detail("versions", report.versions.len())
        .detail(
            "moving traffic",
            format!("{:.1} ms in the middle, {:.1} ms the slowest of {}", millis(50), millis(100), moves.len()),
        );
    Ok(vec![report.reasons.iter().fold(line, |line, why| line.detail("lost because", why.clone()))])
}

fn per_second(report: &LoadReport) -> f64 {
    number(report.sent) * 1e3 / number(report.length.0.max(1))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

/// The load without a switch, the load with all of them, and how long each move of the traffic took.
async fn run(dir: &Path, requests: u64) -> Result<(LoadReport, LoadReport, Vec<Duration>)> {
    let mut place = Cell::start(dir).await?;
    let address = place.cluster.address(&place.target, &place.service).context("the service has no address")?;
    let options = LoadOptions { bucket: Millis::seconds(1), ..LoadOptions::full(CONNECTIONS) };
    let calm = Load::start(address, options.clone());
    answered(&calm, requests / 10).await?;
    let calm = calm.stop().await;

    let load = Load::start(address, options);
    let share = requests.div_ceil(u64::from(2 * TURNS));
    let mut moves = Vec::new();
    for turn in 1..=TURNS {
        let version = format!("v{turn}");
        place.bring_up(&version).await?;
        for (colour, version, purpose) in
            [(Colour::Green, version.as_str(), Purpose::Switch), (Colour::Blue, "v0", Purpose::Restore)]
        {
            // From here on either may answer; once the switch is confirmed, only the one that was switched to.
            load.allow(Some(BTreeSet::from([format!("v{turn}"), "v0".to_owned()])));
            moves.push(place.move_to(colour, version, purpose).await?);
            load.allow(Some(BTreeSet::from([version.to_owned()])));
            let due = load.report().sent + share;
            answered(&load, due).await?;
        }
        place.drain().await?;
    }
    let report = load.stop().await;
    place.cluster.stop().await;
    ensure!(report.sent >= requests, "only {} requests were sent", report.sent);
    Ok((calm, report, moves))
}

async fn answered(load: &Load, sent: u64) -> Result<()> {
    let until = async {
        while load.report().sent < sent {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, until).await.context("the load stands still")
}

/// One service on a local cluster, written as the engine writes: fenced, from what was confirmed last.
struct Cell {
    cluster: Arc<LocalCluster>,
    target: TargetId,
    service: ServiceName,
    place: Place,
    ledger: LedgerId,
    seq: u64,
    confirmed: BTreeMap<ObjectKey, Stamp>,
}

impl Cell {
    /// Version `v0` serves in blue.
    async fn start(dir: &Path) -> Result<Self> {
        let cluster = LocalCluster::start(LocalOptions::new(dir)).await?;
        let (target, service): (TargetId, ServiceName) = ("app-0/production".parse()?, "front".parse()?);
        cluster.push_image(&digest("v0"), &Build::new("v0"))?;
        cluster.apply_baseline(&target, &[(service.clone(), digest("v0"), false, REPLICAS)]).await?;
        cluster.ready(&target, Millis::minutes(1)).await?;
        let value = Value::Workload { digest: digest("v0"), replicas: REPLICAS };
        let confirmed = BTreeMap::from([
            (ObjectKey::workload(&service, Colour::Blue), Stamp { fence: None, value }),
            (ObjectKey::traffic(&service), Stamp { fence: None, value: Value::Traffic { green: 0 } }),
        ]);
        let place =
            Place { account: None, region: None, role: None, cluster: "local".into(), namespace: "app-0".into() };
        Ok(Self { cluster, target, service, place, ledger: "bench".parse()?, seq: 0, confirmed })
    }

    /// Green comes up with a new version.
    async fn bring_up(&mut self, version: &str) -> Result<()> {
        self.cluster.push_image(&digest(version), &Build::new(version))?;
        let green = ObjectKey::workload(&self.service, Colour::Green);
        self.write(&green, Value::Workload { digest: digest(version), replicas: REPLICAS }, Purpose::Deploy).await?;
        self.ready(green, version).await
    }

    /// Claims a colour, waits until it is ready after the claim, and moves the traffic there. Says how long that
    /// last step took.
    async fn move_to(&mut self, colour: Colour, version: &str, purpose: Purpose) -> Result<Duration> {
        let own = ObjectKey::workload(&self.service, colour);
        let claim = if purpose == Purpose::Switch { Purpose::Claim } else { purpose };
        self.write(&own, Value::Workload { digest: digest(version), replicas: REPLICAS }, claim).await?;
        self.ready(own, version).await?;
        let green = if colour == Colour::Green { 10_000 } else { 0 };
        let traffic = ObjectKey::traffic(&self.service);
        let begin = Instant::now();
        self.write(&traffic, Value::Traffic { green }, purpose).await?;
        Ok(begin.elapsed())
    }

    /// Green goes.
    async fn drain(&mut self) -> Result<()> {
        let green = ObjectKey::workload(&self.service, Colour::Green);
        let Some(Stamp { value: Value::Workload { digest, .. }, .. }) = self.confirmed.get(&green).cloned() else {
            return Ok(());
        };
        self.write(&green, Value::Workload { digest, replicas: 0 }, Purpose::Restore).await
    }

    async fn write(&mut self, object: &ObjectKey, to: Value, purpose: Purpose) -> Result<()> {
        self.seq += 1;
        let fence = Fence { ledger: self.ledger.clone(), epoch: 1, seq: Seq(self.seq) };
        let write = Write {
            object: object.clone(),
            from: vec![self.confirmed.get(object).cloned()],
            to,
            purpose,
            bundle: None,
        };
        match self.cluster.write(&self.target, &self.place, &write, &fence).await? {
            Written::Done => {
                self.confirmed.insert(object.clone(), Stamp { fence: Some(fence), value: to });
                Ok(())
            }
            Written::Drift(found) => anyhow::bail!("{object} holds {found:?}"),
        }
    }

    async fn ready(&self, object: ObjectKey, version: &str) -> Result<()> {
        let ask = AwaitReady { object, digest: digest(version), replicas: REPLICAS, after: Seq(self.seq) };
        let until = async {
            while self.cluster.look(&self.target, &self.place, &ask).await?.ready < REPLICAS {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, until).await.with_context(|| format!("{version} does not become ready"))?
    }
}

fn digest(version: &str) -> Digest {
    Digest::of(version.as_bytes())
}
