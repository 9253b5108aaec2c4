//! `portcullis demo`, run as a newcomer runs it: what it shows is true, it asks, and what is killed in the middle goes
//! on under `serve`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use portcullis_domain::event::What;
use portcullis_domain::names::{ReleaseId, TargetId};
use portcullis_domain::target::Phase;
use portcullis_tests::binary;
use portcullis_tests::installation::serving;
use portcullis_tests::ledger::{Fold, Ledger};
use portcullis_tests::server::Server;
use portcullis_tests::traffic::Traffic;
use portcullis_tests::wait::{self, LIFE};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

const APP: &str = "demo";
const FRONTS: [&str; 2] = ["nestjs-service", "springboot-service"];

/// A demo measures itself: one at a time, so that none is slowed by another.
static TURN: Mutex<()> = Mutex::const_new(());

/// A demo's process and folder. Killed when dropped.
struct Demo {
    folder: TempDir,
    child: Child,
    _turn: MutexGuard<'static, ()>,
}

impl Demo {
    async fn start(flags: &[&str]) -> Self {
        let turn = TURN.lock().await;
        let folder = tempfile::Builder::new().prefix("portcullis-test-demo-").tempdir().unwrap();
        let mut command = binary::command();
        command.arg("demo").args(flags).arg("--data").arg(folder.path().join("data"));
        // Its log would be between its lines.
        command.env_remove("RUST_LOG");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { folder, child, _turn: turn }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Waits until it ends by itself: its status, stdout and stderr.
    async fn ended(&mut self) -> (ExitStatus, String, String) {
        let (mut stdout, mut stderr) = (self.child.stdout.take().unwrap(), self.child.stderr.take().unwrap());
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let written = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let child = &mut self.child;
        let status = wait::until("the demo ends", LIFE, async || {
            child.try_wait().unwrap().ok_or_else(|| "it still runs".to_owned())
        })
        .await;
        (status, written.join().unwrap(), read.join().unwrap())
    }

    /// Waits until its ledger says this.
    async fn until(&self, what: &str, wanted: impl Fn(&Fold) -> bool) -> Fold {
        let data = self.data();
        wait::until(what, LIFE, async || {
            let fold = Ledger::try_open(&data)?.verified(&target()).await;
            if wanted(&fold) { Ok(fold) } else { Err(format!("{:?}", fold.events.last())) }
        })
        .await
    }

    fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn target() -> TargetId {
    "demo/production".parse().unwrap()
}

fn phase(fold: &Fold, id: u64) -> Option<Phase> {
    fold.state.releases.get(&ReleaseId(id)).map(|release| release.phase)
}

/// A server on what a demo left, with requests to it.
async fn go_on(data: &Path) -> (Server, Vec<Traffic>) {
    let mut server = Server::on(data, &[data.join("policy.yaml")]);
    server.spawn();
    server.ready().await;
    let mut traffic = Vec::new();
    for service in FRONTS {
        traffic.push(Traffic::start(data, APP, service, 100).await);
    }
    (server, traffic)
}

async fn until_settled(data: &Path, id: u64, state: &str) -> Fold {
    wait::until(&format!("release {id} is {state}"), LIFE, async || {
        let fold = Ledger::open(data).verified(&target()).await;
        let is = fold.release(ReleaseId(id));
        if is == state { Ok(fold) } else { Err(format!("{is}: {:?}", fold.events.last())) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_by_itself_and_what_it_says_is_true() {
    let mut demo = Demo::start(&["--yes", "--output", "json"]).await;
    let (status, stdout, stderr) = demo.ended().await;
    assert!(status.success(), "{status}\n{stderr}\n{stdout}");
    let said: Value = serde_json::from_str(stdout.trim()).unwrap_or_else(|error| panic!("{error}: {stdout}"));
    let number = |path: &str| said.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {said}"));
    assert_eq!(said["releases"].as_array().map(Vec::len), Some(2), "{said}");
    assert_eq!((&said["releases"][0]["state"], &said["releases"][1]["state"]), (&json!("live"), &json!("rolled_back")));
    assert_eq!((number("/requests/lost"), number("/requests/wrong_version")), (0, 0), "{said}");
    assert!(number("/requests/sent") > 2_000, "{said}");
    let (bad, noticed, restored) =
        (number("/rollback/bad_ms"), number("/rollback/noticed_ms"), number("/rollback/restored_ms"));
    assert!(bad < noticed && noticed <= restored, "{said}");

    // The ledger it left says the same, and can be looked at.
    let data = demo.data();
    let fold = Ledger::open(&data).verified(&target()).await;
    for release in said["releases"].as_array().unwrap() {
        let id = ReleaseId(release["id"].as_u64().unwrap());
        assert_eq!(json!(fold.release(id)), release["state"], "{said}");
        let opened = fold.events.iter().find_map(|event| match &event.what {
            What::Opened { release, commit, .. } if *release == id => Some(commit.to_string()),
            _ => None,
        });
        assert_eq!(json!(opened), release["commit"]);
        let shown = binary::run(
            &["release", "show", &id.to_string(), "--data", &data.to_string_lossy(), "--output", "json"],
            &[],
        );
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert_eq!(shown.json()["state"], release["state"]);
    }
    for (service, live) in &fold.state.live {
        assert_eq!(live.release, Some(ReleaseId(said["releases"][0]["id"].as_u64().unwrap())), "{service}");
        assert_eq!(serving(&data, APP, service.as_str()), Some(live.digest), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_asks_and_a_no_is_a_veto() {
    let mut demo = Demo::start(&[]).await;
    let waiting =
        |fold: &Fold| phase(fold, 1) == Some(Phase::Gated) && fold.state.releases[&ReleaseId(1)].plan.is_some();
    demo.until("release 1 waits", waiting).await;
    demo.child.stdin.as_mut().unwrap().write_all(b"no\n").unwrap();
    let (status, stdout, stderr) = demo.ended().await;
    assert!(stderr.contains("Approve plan") && stderr.contains("[y/N]"), "{stderr}");
    assert!(!status.success(), "{stdout}");
    let fold = Ledger::open(&demo.data()).verified(&target()).await;
    assert_eq!(fold.release(ReleaseId(1)), "rejected");
    let approved = fold.events.iter().any(|event| matches!(event.what, What::Approved { .. } | What::Began { .. }));
    assert!(!approved, "nobody said yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_killed_while_its_good_release_is_watched_goes_on_under_serve() {
    let mut demo = Demo::start(&["--yes"]).await;
    demo.until("release 1 is watched", |fold| phase(fold, 1) == Some(Phase::Watching)).await;
    demo.kill9();
    let (mut server, traffic) = go_on(&demo.data()).await;
    let fold = until_settled(&demo.data(), 1, "live").await;
    assert_eq!(fold.releases(), [ReleaseId(1)]);
    for (traffic, service) in traffic.iter().zip(FRONTS) {
        assert_eq!(traffic.answers().await, "v2");
        assert_eq!(serving(&demo.data(), APP, service), Some(fold.state.live[service].digest));
    }
    let status = server.stop().await;
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_killed_while_its_bad_release_serves_is_rolled_back_under_serve() {
    let mut demo = Demo::start(&["--yes"]).await;
    demo.until("release 2 serves", |fold| {
        matches!(phase(fold, 2), Some(Phase::Switching { .. } | Phase::Watching | Phase::RollingBack))
    })
    .await;
    demo.kill9();
    let (_server, mut traffic) = go_on(&demo.data()).await;
    let fold = until_settled(&demo.data(), 2, "rolled_back").await;
    assert_eq!(fold.release(ReleaseId(1)), "live");
    for (traffic, service) in traffic.iter_mut().zip(FRONTS) {
        traffic.allow(["v2"]);
        assert_eq!(traffic.answers().await, "v2");
        assert_eq!(traffic.counted().wrong, 0);
        assert_eq!(serving(&demo.data(), APP, service), Some(fold.state.live[service].digest));
    }
}

#[test]
fn a_demo_never_empties_a_folder_that_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis"), "x").unwrap();
    let data = folder.path().to_string_lossy();
    let ran = binary::run(&["demo", "--yes", "--data", &data], &[]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("left alone"), "{ran:?}");
    assert_eq!(std::fs::read(folder.path().join("thesis")).unwrap(), b"x");
}
