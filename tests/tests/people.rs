//! What people may do, and what nothing but a person's word does: on a real server, by its API and command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

use std::collections::BTreeMap;

use hyper::Method;
use portcullis_domain::names::TargetId;
use portcullis_domain::policy::Severity;
use portcullis_embedded::local::Build;
use portcullis_tests::api::{Api, EVENTS_TOKEN, events};
use portcullis_tests::binary::{self, Ran};
use portcullis_tests::installation::{Commit, Installation, target};
use portcullis_tests::ledger::Ledger;
use portcullis_tests::policy::PolicyText;
use portcullis_tests::server::Server;
use portcullis_tests::traffic::Traffic;
use portcullis_tests::wait::{self, SOON};
use serde_json::{Value, json};

const APP: &str = "shop";
const SERVICES: &[(&str, bool)] = &[("web", false)];

/// A server with people, a baseline that serves, and no release yet.
struct Shop {
    policy: PolicyText,
    home: Installation,
    server: Server,
    target: TargetId,
    baseline: Commit,
    /// The author of every commit.
    amara: Api,
    /// An owner.
    kofi: Api,
    /// Somebody whom no policy names.
    mallory: Api,
    tokens: BTreeMap<&'static str, String>,
}

impl Shop {
    async fn open(policy: PolicyText) -> Self {
        let home = Installation::new(&[&policy]);
        let baseline = home.baseline(&policy, "v1").await;
        let tokens: BTreeMap<&'static str, String> =
            ["amara", "kofi", "mallory"].into_iter().map(|name| (name, home.person(name))).collect();
        let server = Server::start(&home).await;
        let api = |name| server.api().with(&tokens[name]);
        let (amara, kofi, mallory) = (api("amara"), api("kofi"), api("mallory"));
        Self { target: target(APP), policy, home, server, baseline, amara, kofi, mallory, tokens }
    }

    /// Pushes a version and tells of it.
    async fn push(&self, version: &str, parent: &Commit) -> Commit {
        let commit = Commit::new(APP, version, &self.policy.services);
        self.home.push(&commit, Some(&parent.sha), &Build::new(version), &[]);
        for event in commit.pushes() {
            assert_eq!(self.kofi.event(&event).await.status, 200);
        }
        commit
    }

    /// Pushes a version, and waits until it waits for a person.
    async fn waiting(&self, version: &str, parent: &Commit) -> (Commit, Value) {
        let commit = self.push(version, parent).await;
        let release = self.kofi.until_asked(&commit.sha).await;
        (commit, release)
    }

    /// Brings a version live.
    async fn live(&self, version: &str, parent: &Commit) -> (Commit, Value) {
        let (commit, release) = self.waiting(version, parent).await;
        let answer = self.kofi.approve(&release).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let live = self.kofi.until_state(&commit.sha, "live").await;
        (commit, live)
    }

    /// The ledger's ends, and what every reader is shown.
    async fn all(&self) -> Value {
        let ends = Ledger::open(self.server.data()).ends().await;
        let mut all = json!({ "ends": ends.values().map(|seq| seq.0).collect::<Vec<_>>() });
        for path in ["/api/targets", "/api/releases", "/api/scopes", "/api/releases/1"] {
            all[path] = self.kofi.get(path).await.unwrap().json();
        }
        all
    }

    /// Runs a command against the server, as a person.
    fn run(&self, who: &str, args: &[&str]) -> Ran {
        let token = self.tokens.get(who).map_or(who, String::as_str);
        binary::run(args, &[("PORTCULLIS_SERVER", &self.server.url()), ("PORTCULLIS_TOKEN", token)])
    }
}

fn asks() -> PolicyText {
    PolicyText::new(APP, SERVICES)
}

fn approve(release: &Value, plan: &Value) -> Value {
    json!({ "command": "approve", "release": release["id"], "plan": plan })
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_name_themselves() {
    let shop = Shop::open(asks().looks_on_hints_only()).await;
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    let before = shop.all().await;
    let path = format!("/api/targets/{}/commands", shop.target);
    let command = approve(&release, &release["plan"]);

    let mut named = command.clone();
    named["who"] = json!("kofi");
    let answer = shop.amara.command(&shop.target, &named).await;
    assert_eq!(answer.status, 400);
    assert!(answer.reason().contains("who"), "{answer:?}");

    let events_token = format!("Bearer {EVENTS_TOKEN}");
    let kofi = &shop.tokens["kofi"];
    for (authorization, why) in [
        (None, "without a token"),
        (Some("Bearer kofi".to_owned()), "with a name"),
        (Some(events_token), "with the events' token"),
        (Some(format!("Basic {kofi}")), "with another scheme"),
        (Some(kofi.clone()), "without a scheme"),
        (Some(format!("Bearer {}", &kofi[..kofi.len() - 1])), "with a part of a token"),
        (Some(format!("Bearer {kofi}0")), "with more than a token"),
        (Some(format!("Bearer {}", kofi.to_uppercase())), "with a token in capitals"),
        (Some("Bearer ".to_owned()), "with an empty token"),
    ] {
        for (method, path, body) in [
            (Method::POST, path.as_str(), command.to_string()),
            (Method::POST, "/api/scopes", json!({ "scope": "all", "stop": { "reason": "x" } }).to_string()),
            (Method::GET, "/api/targets", String::new()),
            (Method::GET, "/api/releases", String::new()),
            (Method::GET, "/api/releases/1", String::new()),
            (Method::GET, "/api/scopes", String::new()),
        ] {
            let answer = shop.kofi.send(method, path, authorization.as_deref(), body).await.unwrap();
            assert_eq!(answer.status, 401, "{path} {why}: {answer:?}");
            answer.reason();
            assert!(!answer.text.contains(kofi.as_str()), "a token is repeated: {answer:?}");
        }
    }
    assert_eq!(shop.all().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_did_is_recorded_under_the_name_of_their_token() {
    let shop = Shop::open(asks()).await;
    let _traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    let (commit, release) = shop.waiting("v2", &shop.baseline).await;
    let answer = shop.kofi.approve(&release).await;
    assert_eq!((answer.status, &answer.json()["who"]), (200, &json!("kofi")), "{answer:?}");
    shop.kofi.until_state(&commit.sha, "live").await;
    let detail = shop.kofi.release(&release["id"]).await;
    let approvals = events(&detail, "approved");
    assert_eq!(approvals.len(), 1, "{detail}");
    assert_eq!((&approvals[0]["who"], &approvals[0]["plan"]), (&json!("kofi"), &release["plan"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_no_policy_can_neither_approve_nor_stop_anything() {
    let shop = Shop::open(asks()).await;
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    let answer = shop.mallory.approve(&release).await;
    assert_eq!(answer.status, 409);
    assert!(answer.reason().contains("mallory"), "{answer:?}");
    let stop = json!({ "scope": "all", "stop": { "reason": "x" } }).to_string();
    let token = format!("Bearer {}", shop.tokens["mallory"]);
    let answer = shop.mallory.send(Method::POST, "/api/scopes", Some(&token), stop).await.unwrap();
    assert_eq!(answer.status, 409);
    assert!(answer.reason().contains("mallory"), "{answer:?}");
    assert_eq!(shop.kofi.read("/api/scopes").await, json!([]));
    assert_eq!(shop.kofi.release(&release["id"]).await["state"], "gated");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_never_changes_anything() {
    let shop = Shop::open(asks().looks_on_hints_only()).await;
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    let before = shop.all().await;
    let id = &release["id"];
    let commands = format!("/api/targets/{}/commands", shop.target);
    let paths = [
        "/healthz".to_owned(),
        "/metrics".to_owned(),
        "/api/targets".to_owned(),
        "/api/releases".to_owned(),
        format!("/api/releases?target={}", shop.target),
        "/api/releases?state=gated".to_owned(),
        "/api/releases?target=no/such".to_owned(),
        "/api/releases?state=no-such".to_owned(),
        format!("/api/releases/{id}"),
        "/api/releases/999".to_owned(),
        "/api/scopes".to_owned(),
        // What a link scanner might make of addresses that take something.
        "/events".to_owned(),
        commands.clone(),
        format!("{commands}?command=approve&release={id}&plan={}", release["plan"].as_str().unwrap()),
        "/api/scopes?stop=all".to_owned(),
    ];
    let token = format!("Bearer {}", shop.tokens["kofi"]);
    for path in &paths {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let ask = async || shop.kofi.send(method.clone(), path, Some(&token), "").await.unwrap();
            let (first, second) = (ask().await, ask().await);
            assert_eq!(first.status, second.status, "{method} {path}");
            assert!(first.status < 500, "{method} {path}: {first:?}");
            if path != "/metrics" {
                assert_eq!(first.text, second.text, "{method} {path}");
            }
        }
    }
    for path in ["/events", &commands] {
        let answer = shop.kofi.get(path).await.unwrap();
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
        answer.reason();
    }
    for args in [
        &["status"][..],
        &["release", "list"],
        &["release", "show", "1"],
        &["release", "show", "1", "--all"],
        &["release", "gates", "1"],
        &["release", "ledger", "1"],
    ] {
        let ran = shop.run("kofi", args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    }
    assert_eq!(shop.all().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_can_not_approve_their_own_commit_and_is_told_why() {
    // The author is an owner, too: it is the authorship that excludes them.
    let mut policy = asks();
    policy.gates = vec!["approvals: [1 of owners]".to_owned()];
    let text = policy.render().replace("owners: [kofi, lena]", "owners: [amara, kofi, lena]");
    let shop = Shop::open(policy).await;
    std::fs::write(&shop.home.policies()[0], text).unwrap();
    shop.server.signal("HUP");
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    wait::until("the policy was read again", SOON, async || {
        let why = shop.amara.approve(&release).await.reason();
        // A policy that is read again makes a new plan; until then amara is in no group at all.
        if why.contains("wrote part of it") || why.contains("plan") { Ok(()) } else { Err(why) }
    })
    .await;
    let release = shop.kofi.until_asked(release["commit"].as_str().unwrap()).await;
    let answer = shop.amara.approve(&release).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    let why = answer.reason();
    assert!(why.contains("amara") && why.contains("wrote part of it"), "{why}");
    let detail = shop.kofi.release(&release["id"]).await;
    assert_eq!(detail["state"], "gated");
    assert!(events(&detail, "approved").is_empty(), "{detail}");
    let refused = events(&detail, "refused");
    assert!(refused.iter().any(|event| event["who"] == "amara"), "the refusal is in the ledger: {detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_an_old_plan_is_refused_and_the_new_one_named() {
    let shop = Shop::open(asks()).await;
    let (commit, release) = shop.waiting("v2", &shop.baseline).await;
    // Evidence that gets worse makes a new plan.
    shop.home.scan(APP, "web", &commit.images["web"], &[(Severity::High, 3)]);
    let again = shop
        .kofi
        .until("a new plan", &commit.sha, |now| now["plan"].is_string() && now["plan"] != release["plan"])
        .await;
    let answer = shop.kofi.command(&shop.target, &approve(&release, &release["plan"])).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    let why = answer.reason();
    assert!(why.contains(again["plan"].as_str().unwrap()), "{why} does not name {}", again["plan"]);
    assert_eq!(shop.kofi.release(&release["id"]).await["state"], "gated");

    let _traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    assert_eq!(shop.kofi.approve(&again).await.status, 200);
    shop.kofi.until_state(&commit.sha, "live").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_veto_ends_a_release() {
    let shop = Shop::open(asks()).await;
    let (commit, release) = shop.waiting("v2", &shop.baseline).await;
    let ran = shop.run("kofi", &["release", "reject", &release["id"].to_string(), "--reason", "not on a friday"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rejected = shop.kofi.until_state(&commit.sha, "rejected").await;
    assert!(rejected["why"].as_str().unwrap().contains("not on a friday"), "{rejected}");
    let answer = shop.kofi.approve(&release).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert_eq!(shop.home.serving(APP, "web"), Some(shop.baseline.images["web"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_is_repeated_changes_nothing() {
    let shop = Shop::open(asks().window_open()).await;
    let mut traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    let (second, first_release) = shop.live("v2", &shop.baseline).await;
    let id = first_release["id"].to_string();
    // The old pods are kept for an hour; a person frees them, or the next release would wait for that.
    let freed = json!({ "command": "close_window", "reason": "go on" });
    assert_eq!(shop.kofi.command(&shop.target, &freed).await.status, 200);
    let (third, _) = shop.live("v3", &second).await;
    let rollback = |reason: &str| {
        shop.run("kofi", &["rollback", "shop/production", "--to", &id, "--yes", "--reason", reason, "--output", "json"])
    };
    let first = rollback("checkout fails");
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_ne!(first.json()["recorded"], json!([]), "{first:?}");
    // At once, while it is on its way back, and after it is back.
    let second_time = rollback("checkout fails");
    assert_eq!((second_time.code, &second_time.json()["recorded"]), (Some(0), &json!([])), "{second_time:?}");
    shop.kofi.until_state(&third.sha, "rolled_back").await;
    assert_eq!(shop.home.serving(APP, "web"), Some(second.images["web"]));
    traffic.allow(["v2"]);
    let before = shop.all().await;
    for _ in 0..3 {
        let ran = rollback("checkout still fails");
        assert_eq!((ran.code, &ran.json()["recorded"]), (Some(0), &json!([])), "{ran:?}");
    }
    assert_eq!(traffic.answers().await, "v2");
    assert_eq!(shop.all().await, before);
    assert_eq!(traffic.counted().wrong, 0);
    let ledger = Ledger::open(shop.server.data()).verified(&shop.target).await;
    let began = ledger.events.iter().filter(|event| format!("{:?}", event.what).starts_with("RollbackBegan"));
    assert_eq!(began.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rollback_without_a_destination_never_goes_forward_again() {
    let shop = Shop::open(asks().window_open()).await;
    let mut traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    let (second, _) = shop.live("v2", &shop.baseline).await;
    let rollback = || shop.run("kofi", &["rollback", "shop/production", "--yes", "--reason", "checkout fails"]);
    assert_eq!(rollback().code, Some(0));
    shop.kofi.until_state(&second.sha, "rolled_back").await;
    traffic.allow(["v1"]);
    let ran = rollback();
    assert!(matches!(ran.code, Some(0 | 3)), "{ran:?}");
    assert_eq!(traffic.answers().await, "v1");
    let now = shop.kofi.target(&shop.target).await;
    assert_eq!(now["live"]["web"]["digest"], json!(shop.baseline.images["web"]), "{now}");
    assert_eq!(shop.home.serving(APP, "web"), Some(shop.baseline.images["web"]));
    assert_eq!(traffic.counted().wrong, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_holds_a_release_and_an_unfreeze_lets_it_go() {
    for scope in [&["shop/production"][..], &["--app", "shop"], &["--env", "production"], &["--all"]] {
        let shop = Shop::open(asks()).await;
        let traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
        let (commit, release) = shop.waiting("v2", &shop.baseline).await;
        let freeze = shop.run("kofi", &[&["freeze", "--reason", "black friday"], scope].concat());
        assert_eq!(freeze.code, Some(0), "{freeze:?}");
        let stops = shop.kofi.read("/api/scopes").await;
        assert_eq!((stops.as_array().unwrap().len(), &stops[0]["stop"]["who"]), (1, &json!("kofi")), "{stops}");
        assert_eq!(shop.kofi.approve(&release).await.status, 200);
        let held = shop
            .kofi
            .until_detail("held by the freeze, with its approval", &release["id"], |detail| {
                let gates = detail["gates"]["gates"].as_array().cloned().unwrap_or_default();
                let gate = |name: &str| gates.iter().find(|gate| gate["gate"] == name).cloned().unwrap_or_default();
                gate("freeze")["verdict"] == "hold" && gate("approval")["verdict"] == "pass"
            })
            .await;
        assert!(held["gates"].to_string().contains("black friday"), "{held}");
        assert_eq!(held["state"], "gated");
        // A stop that was acknowledged holds whatever happens to the process.
        let mut shop = shop;
        shop.server.restart().await;
        assert_eq!(shop.kofi.read("/api/scopes").await, stops);
        assert_eq!(shop.kofi.release(&release["id"]).await["state"], "gated");
        assert_eq!(shop.home.serving(APP, "web"), Some(shop.baseline.images["web"]));

        let unfreeze = shop.run("kofi", &[&["unfreeze"], scope].concat());
        assert_eq!(unfreeze.code, Some(0), "{unfreeze:?}");
        let mut traffic = traffic;
        traffic.follow().await;
        shop.kofi.until_state(&commit.sha, "live").await;
        assert_eq!(shop.home.serving(APP, "web"), Some(commit.images["web"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_waits_goes_on_after_a_restart() {
    let mut shop = Shop::open(asks()).await;
    let (commit, release) = shop.waiting("v2", &shop.baseline).await;
    let before = shop.all().await;
    let status = shop.server.stop().await;
    assert!(status.success(), "a graceful stop ends with {status}");
    shop.server.spawn();
    shop.server.ready().await;
    let after = shop.kofi.until_asked(&commit.sha).await;
    assert_eq!((&after["id"], &after["plan"]), (&release["id"], &release["plan"]));
    assert_eq!(after, before["/api/releases"][0]);
    let _traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    // The plan that was shown before the restart is still the one that can be approved.
    assert_eq!(shop.kofi.approve(&release).await.status, 200);
    shop.kofi.until_state(&commit.sha, "live").await;
    let status = shop.server.stop().await;
    assert!(status.success(), "a graceful stop ends with {status}");
    Ledger::open(shop.server.data()).verified(&shop.target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_serve_with_zero_in_the_middle_of_a_release_and_a_start_goes_on() {
    let mut shop = Shop::open(asks()).await;
    let mut traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    let (commit, release) = shop.waiting("v2", &shop.baseline).await;
    assert_eq!(shop.kofi.approve(&release).await.status, 200);
    let in_flight = ["deploying", "verifying", "switching", "watching"].map(|state| json!(state));
    shop.kofi.until("in flight", &commit.sha, |now| in_flight.contains(&now["state"])).await;
    let status = shop.server.stop().await;
    assert!(status.success(), "a graceful stop ends with {status}");
    shop.server.spawn();
    shop.server.ready().await;
    traffic.follow().await;
    let settled = shop.kofi.until("it settled", &commit.sha, |now| now["state"] == "live").await;
    assert_eq!(settled["id"], release["id"]);
    let ledger = Ledger::open(shop.server.data()).verified(&shop.target).await;
    assert_eq!(ledger.releases().len(), 1);
}

/// What a command ends with, as `portcullis --help` says.
#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_as_the_help_says() {
    let shop = Shop::open(asks()).await;
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.yaml");
    std::fs::write(
        &bad,
        "portcullis: 1\napplication: shop\nservices: { web: {} }\nenvironments: { x: { mode: deplyo } }\n",
    )
    .unwrap();
    let (good, bad) = (shop.home.policies()[0].to_string_lossy().into_owned(), bad.to_string_lossy().into_owned());
    let data = shop.server.data().to_string_lossy().into_owned();
    let id = release["id"].to_string();
    let plan = release["plan"].as_str().unwrap();

    let help = binary::run(&["--help"], &[]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Exit codes:"), "{help:?}");

    let check = |code: i32, ran: &Ran, what: &str| assert_eq!(ran.code, Some(code), "{what}: {ran:?}");
    for (code, args) in [
        (0, &["policy", "check", &good][..]),
        (0, &["policy", "schema"]),
        (0, &["policy", "explain", &good, "--target", "shop/production"]),
        (0, &["completions", "bash"]),
        (0, &["--version"]),
        (0, &["person", "list", "--data", &data]),
        (2, &["policy", "check", &bad]),
        (2, &["policy", "check", "/no/such/file.yaml"]),
        (2, &["policy", "explain", &bad]),
        (2, &["serve", "--policy", &good, "--data", &data]),
        (2, &["no-such-command"]),
        (2, &["rollback", "--reason", "x"]),
        (2, &["person", "add", "a b", "--data", &data]),
        (2, &["status"]),
        (3, &["person", "add", "kofi", "--data", &data]),
        (4, &["person", "remove", "nobody", "--data", &data]),
        (4, &["policy", "explain", &good, "--target", "shop/staging"]),
    ] {
        check(code, &binary::run(args, &[]), &args.join(" "));
    }
    for (code, who, args) in [
        (0, "kofi", &["status", "shop/production"][..]),
        (0, "kofi", &["release", "show", &id]),
        (0, "kofi", &["release", "list", "--state", "gated"]),
        (2, "kofi", &["release", "list", "--state", "done"]),
        (2, "kofi", &["release", "approve", &id, "--plan", "latest"]),
        (2, "kofi", &["rollback", "shop/production", "--reason", "x"]),
        (2, "", &["status"]),
        (3, "mallory", &["release", "approve", &id, "--plan", plan]),
        (3, "amara", &["release", "approve", &id, "--plan", plan]),
        (3, "kofi", &["release", "approve", &id, "--plan", "0000-0000"]),
        (3, "kofi", &["rollback", "shop/production", "--reason", "x", "--yes"]),
        (3, "not-a-token", &["status"]),
        (4, "kofi", &["release", "show", "999"]),
        (4, "kofi", &["release", "approve", "999", "--plan", plan]),
        (4, "kofi", &["status", "shop/staging"]),
        (4, "kofi", &["rollback", "shop/staging", "--reason", "x", "--yes"]),
    ] {
        let ran = shop.run(who, args);
        check(code, &ran, &args.join(" "));
        if code != 0 {
            assert!(!ran.stderr.trim().is_empty() && ran.stdout.is_empty(), "{}: {ran:?}", args.join(" "));
        }
    }
    // Nobody listens there.
    let gone = binary::run(&["status"], &[("PORTCULLIS_SERVER", "http://127.0.0.1:1"), ("PORTCULLIS_TOKEN", "x")]);
    check(1, &gone, "a server that is not there");
    // Reading works beside a running server; writing does not.
    check(0, &binary::run(&["status", "--data", &data], &[]), "status of a data directory in use");
    let token = shop.tokens["kofi"].as_str();
    let write =
        binary::run(&["release", "pause", &id, "--data", &data, "--policy", &good], &[("PORTCULLIS_TOKEN", token)]);
    check(1, &write, "writing beside a running server");
    assert_eq!(shop.kofi.release(&release["id"]).await["paused"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_persons_token_ends_at_once() {
    let shop = Shop::open(asks()).await;
    assert_eq!(shop.kofi.get("/api/targets").await.unwrap().status, 200);
    let data = shop.server.data().to_string_lossy().into_owned();
    let ran = binary::run(&["person", "remove", "kofi", "--data", &data], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(shop.kofi.get("/api/targets").await.unwrap().status, 401);
    assert_eq!(shop.amara.get("/api/targets").await.unwrap().status, 200);
}
