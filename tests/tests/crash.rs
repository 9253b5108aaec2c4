//! `kill -9` of `serve` at random moments during 20 releases under load: every release settles as the ledger says, and
//! no request is answered by a version that was never approved.
//!
//! `PORTCULLIS_CRASH_SEED` names the seed of a run that failed. Pods are in the process that is killed: requests are
//! lost while it is down, and only wrong answers count.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use portcullis_domain::digest::Digest;
use portcullis_domain::event::What;
use portcullis_domain::names::{ReleaseId, TargetId};
use portcullis_domain::policy::Severity;
use portcullis_domain::time::Millis;
use portcullis_embedded::local::Build;
use portcullis_tests::api::Api;
use portcullis_tests::installation::{Commit, Installation, target};
use portcullis_tests::ledger::{Fold, Ledger};
use portcullis_tests::policy::PolicyText;
use portcullis_tests::server::Server;
use portcullis_tests::traffic::{Counted, Traffic};
use portcullis_tests::wait::{self, LIFE, SOON};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Two applications side by side: a kill hits each at another moment of its life.
const APPLICATIONS: [&str; 2] = ["alpha", "beta"];
const SERVICES: &[(&str, bool)] = &[("web", false), ("jobs", true)];
/// What each application releases, in an order that the seed says.
const RELEASES: [Kind; 10] = [
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::Good,
    Kind::Errors,
    Kind::Errors,
    Kind::Crashes,
    Kind::Critical,
    Kind::Vetoed,
];
/// Fewer kills than this would show nothing.
const LEAST_KILLS: u32 = 15;
const RATE: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// It is as it should be.
    Good,
    /// Every request fails.
    Errors,
    /// It never becomes ready.
    Crashes,
    /// Its scan found something critical.
    Critical,
    /// A person says no.
    Vetoed,
}

impl Kind {
    fn build(self, version: &str) -> Build {
        let good = Build { ready_after: Millis(100), ..Build::new(version) };
        match self {
            Kind::Errors => Build { error_every: Some(1), ..good },
            Kind::Crashes => Build { crash: true, ..good },
            Kind::Good | Kind::Critical | Kind::Vetoed => good,
        }
    }

    fn findings(self) -> &'static [(Severity, u32)] {
        if self == Kind::Critical { &[(Severity::Critical, 1)] } else { &[] }
    }

    fn is_approved(self) -> bool {
        matches!(self, Kind::Good | Kind::Errors | Kind::Crashes)
    }
}

/// A small generator (`SplitMix64`, Steele et al. 2014): the same numbers for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high` - 1.
    fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.within(0, last as u64 + 1)).unwrap();
            items.swap(last, other);
        }
    }
}

fn seed() -> u64 {
    match std::env::var("PORTCULLIS_CRASH_SEED") {
        Ok(said) => said.parse().expect("PORTCULLIS_CRASH_SEED is a number"),
        Err(_) => u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap(),
    }
}

/// Just after a start pods are not up yet, and some requests fail: that alone must not undo a release of these tests.
fn policy(application: &str) -> PolicyText {
    let mut policy = PolicyText::new(application, SERVICES);
    let healthy = policy.watch.iter_mut().find(|line| line.starts_with("healthy:")).unwrap();
    "healthy: { error_rate: below 60% for 1500ms }".clone_into(healthy);
    policy.limits = "ready: 20s, write: 20s, backup: 30s";
    policy
}

/// What one release was, and how it ended.
#[derive(Debug, Clone)]
struct Ended {
    id: ReleaseId,
    kind: Kind,
    state: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_serve_is_killed_every_release_settles_and_nothing_unapproved_answers() {
    let seed = seed();
    println!("PORTCULLIS_CRASH_SEED={seed}");
    let mut random = Random(seed);
    let began = Instant::now();
    let policies = APPLICATIONS.map(policy);
    let home = Installation::new(&[&policies[0], &policies[1]]);
    let mut drives = Vec::new();
    for policy in &policies {
        let baseline = home.baseline(policy, "v1").await;
        let mut kinds = RELEASES;
        random.shuffle(&mut kinds);
        println!("{}: {kinds:?}", policy.application);
        drives.push(Drive::new(&home, policy, baseline, kinds));
    }
    let kofi = home.person("kofi");
    let mut server = Server::start(&home).await;
    let api = server.api().with(&kofi);
    for drive in &drives {
        let mut traffic = Traffic::start(server.data(), drive.application(), "web", RATE).await;
        traffic.allow(["v1"]);
        *drive.traffic.lock().await = Some(traffic);
    }
    let left = Cell::new(drives.len());
    let kills = tokio::join!(
        kill_until_all_settled(&mut server, &mut random, &drives, &left),
        async { drives[0].run(&api, &left).await },
        async { drives[1].run(&api, &left).await },
    )
    .0;
    let took = began.elapsed();

    let ledger = Ledger::open(server.data());
    for drive in &drives {
        let fold = drive.agrees(&api, &ledger).await;
        drive.ended_as_they_should(&fold);
        let counted = drive.counted().await;
        drive.answered_by_approved_versions_only(&counted);
        println!("{}: {:?}\n  {counted:?}", drive.application(), drive.ended.borrow());
    }
    println!("{kills} kills in {:.0} s", took.as_secs_f64());
    assert!(kills >= LEAST_KILLS, "only {kills} kills: every release was over too soon to show anything");
    let status = server.stop().await;
    assert!(status.success(), "{status}");
    // What is stored when nobody runs is the same.
    for drive in &drives {
        drive.is_consistent(&Ledger::open(server.data()).verified(&drive.target).await);
    }
}

/// Kills and starts until every release has settled, then leaves a server running.
async fn kill_until_all_settled(
    server: &mut Server,
    random: &mut Random,
    drives: &[Drive<'_>],
    left: &Cell<usize>,
) -> u32 {
    let mut kills = 0;
    while left.get() > 0 {
        // Pods are looked at every two seconds: every other life is long enough to see some come up.
        let (waits, after) = match random.within(0, 5) {
            _ if kills % 2 == 1 => (true, random.within(2_500, 4_000)),
            0 => (false, random.within(0, 400)),
            _ => (true, random.within(0, 1_500)),
        };
        if waits {
            server.ready().await;
            for drive in drives {
                drive.traffic.lock().await.as_mut().unwrap().follow().await;
            }
        }
        // The moment is random, and nothing waits for it.
        let moment = Instant::now() + Duration::from_millis(after);
        while Instant::now() < moment && left.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5).min(moment - Instant::now().min(moment))).await;
        }
        if left.get() == 0 {
            break;
        }
        server.kill9();
        kills += 1;
        server.spawn();
    }
    server.ready().await;
    for drive in drives {
        drive.traffic.lock().await.as_mut().unwrap().follow().await;
    }
    kills
}

/// One application's releases, one after the other.
struct Drive<'a> {
    home: &'a Installation,
    policy: &'a PolicyText,
    target: TargetId,
    baseline: Commit,
    kinds: [Kind; 10],
    traffic: Mutex<Option<Traffic>>,
    /// Versions of which some image was ever allowed to serve.
    approved: RefCell<BTreeSet<String>>,
    /// The version of every image.
    versions: RefCell<BTreeMap<Digest, String>>,
    ended: RefCell<Vec<Ended>>,
}

impl<'a> Drive<'a> {
    fn new(home: &'a Installation, policy: &'a PolicyText, baseline: Commit, kinds: [Kind; 10]) -> Self {
        let drive = Self {
            target: target(&policy.application),
            home,
            policy,
            kinds,
            traffic: Mutex::new(None),
            approved: RefCell::new(BTreeSet::from([baseline.version.clone()])),
            versions: RefCell::default(),
            ended: RefCell::default(),
            baseline,
        };
        drive.learn(&drive.baseline);
        drive
    }

    fn application(&self) -> &str {
        &self.policy.application
    }

    fn learn(&self, commit: &Commit) {
        let images = commit.images.values().map(|digest| (*digest, commit.version.clone()));
        self.versions.borrow_mut().extend(images);
    }

    async fn run(&self, api: &Api, left: &Cell<usize>) {
        let mut parent = self.baseline.sha.clone();
        for (number, kind) in (2..).zip(self.kinds) {
            let commit = Commit::new(self.application(), &format!("v{number}"), &self.policy.services);
            self.learn(&commit);
            self.home.push(&commit, Some(&parent), &kind.build(&commit.version), kind.findings());
            for event in commit.pushes() {
                self.tell(api, &event).await;
            }
            let settled = self.decide_until_settled(api, &commit, kind).await;
            let (id, state) = (ReleaseId(settled["id"].as_u64().unwrap()), settled["state"].as_str().unwrap());
            self.ended.borrow_mut().push(Ended { id, kind, state: state.to_owned() });
            let ledger = Ledger::open(&self.home.data());
            let fold = self.is_as_told(&ledger, id, state).await;
            self.is_consistent(&fold);
            let serves = self.versions.borrow()[&fold.state.live["web"].digest].clone();
            let mut traffic = self.traffic.lock().await;
            // From here on nothing but what is live may answer, until another one is approved.
            traffic.as_mut().unwrap().allow([serves.as_str()]);
            parent = commit.sha;
        }
        left.set(left.get() - 1);
    }

    /// Posts an event until it is acknowledged, as its sender does.
    async fn tell(&self, api: &Api, event: &Value) {
        wait::until("the event is acknowledged", SOON, async || match api.try_event(event.to_string()).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) if answer.status < 500 => panic!("{event}: {answer:?}"),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// Says what a person says as long as it is asked, until the release has settled.
    async fn decide_until_settled(&self, api: &Api, commit: &Commit, kind: Kind) -> Value {
        wait::until(&format!("{} {kind:?} {} settles", self.target, commit.version), LIFE, async || {
            let list = api.get(&format!("/api/releases?target={}", self.target)).await?;
            if list.status != 200 {
                return Err(format!("{list:?}"));
            }
            let list = list.json();
            let release = list.as_array().and_then(|all| all.iter().find(|one| one["commit"] == commit.sha));
            let Some(release) = release else { return Err(format!("it is not in {list}")) };
            match release["state"].as_str().unwrap() {
                "live" | "rolled_back" | "rejected" | "failed" => return Ok(release.clone()),
                "gathering" => return Err(release.to_string()),
                "gated" => {}
                // A person who is needed here is a defect: nobody touched anything.
                "needs_help" | "expired" | "superseded" | "cancelled" | "outdated" => panic!("{release}"),
                _ if release["asks"] == true => panic!("{release}"),
                _ => return Err(release.to_string()),
            }
            let asked = release["why"].as_str().is_some_and(|why| why.starts_with("approval"));
            if !asked || !release["plan"].is_string() {
                return Err(release.to_string());
            }
            let command = if kind.is_approved() {
                self.approved.borrow_mut().insert(commit.version.clone());
                let live = self.live_version().await;
                self.traffic.lock().await.as_mut().unwrap().allow([live.as_str(), &commit.version]);
                json!({ "command": "approve", "release": release["id"], "plan": release["plan"] })
            } else {
                json!({ "command": "reject", "release": release["id"], "reason": "not this one" })
            };
            // Whether it was done although no answer came is seen by looking again.
            let answer = api.try_command(&self.target, &command).await?;
            Err(format!("{release}: {answer:?}"))
        })
        .await
    }

    async fn live_version(&self) -> String {
        let fold = Ledger::open(&self.home.data()).verified(&self.target).await;
        let live = fold.state.live.get("web").map_or(self.baseline.images["web"], |serving| serving.digest);
        self.versions.borrow()[&live].clone()
    }

    /// The ledger says of the release what the API said.
    async fn is_as_told(&self, ledger: &Ledger, id: ReleaseId, state: &str) -> Fold {
        let fold = ledger.verified(&self.target).await;
        assert_eq!(fold.release(id), state, "release {id} of {}", self.target);
        fold
    }

    /// No release is under way, and the cluster serves what the ledger says is live.
    fn is_consistent(&self, fold: &Fold) {
        assert_eq!(fold.state.in_flight, None, "{}", self.target);
        for (service, _) in SERVICES {
            let live = fold.state.live[*service].digest;
            assert_eq!(self.home.serving(self.application(), service), Some(live), "{service} of {}", self.target);
        }
    }

    /// API, ledger, cluster and what really answers say the same at the end.
    async fn agrees(&self, api: &Api, ledger: &Ledger) -> Fold {
        let fold = wait::until("API and ledger agree", SOON, async || {
            let fold = ledger.verified(&self.target).await;
            fold.compare(&api.target(&self.target).await, &api.releases(&self.target).await)?;
            Ok(fold)
        })
        .await;
        self.is_consistent(&fold);
        let live = self.versions.borrow()[&fold.state.live["web"].digest].clone();
        let traffic = self.traffic.lock().await;
        assert_eq!(traffic.as_ref().unwrap().answers().await, live);
        fold
    }

    /// Nothing faulty is live, and what is good went live, unless the ledger says what the kills did to it.
    fn ended_as_they_should(&self, fold: &Fold) {
        let ended = self.ended.borrow();
        assert_eq!(ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), fold.releases());
        let mut went_live = 0;
        for Ended { id, kind, state } in &*ended {
            let rolled_back = fold.events.iter().find_map(|event| match &event.what {
                What::RollbackBegan { release, why, .. } if release == id => Some(why.to_string()),
                _ => None,
            });
            match (kind, state.as_str()) {
                (Kind::Good, "live") => went_live += 1,
                // Its own pods were killed with the process: to whoever watches that is an unhealthy release.
                (Kind::Good, "rolled_back") => println!("good release {id} was rolled back: {rolled_back:?}"),
                (Kind::Errors | Kind::Crashes, "rolled_back") => {
                    assert!(rolled_back.is_some(), "release {id} ended as {state} without a way back");
                }
                (Kind::Critical | Kind::Vetoed, "rejected") => {
                    let began =
                        fold.events.iter().any(|e| matches!(e.what, What::Began { release, .. } if release == *id));
                    assert!(!began, "release {id} was rejected, and yet began");
                }
                other => panic!("release {id} of {}: {other:?}", self.target),
            }
        }
        assert!(went_live >= 3, "only {went_live} of 5 good releases of {} went live", self.target);
    }

    async fn counted(&self) -> Counted {
        self.traffic.lock().await.as_ref().unwrap().counted()
    }

    fn answered_by_approved_versions_only(&self, counted: &Counted) {
        let approved = self.approved.borrow();
        let unapproved: Vec<&String> = counted.versions.keys().filter(|version| !approved.contains(*version)).collect();
        assert!(unapproved.is_empty(), "{unapproved:?} were never approved, and answered: {counted:?}");
        assert_eq!(counted.wrong, 0, "{counted:?}");
        assert!(counted.answered > 1_000 && counted.versions.len() >= 5, "too little to show anything: {counted:?}");
    }
}
