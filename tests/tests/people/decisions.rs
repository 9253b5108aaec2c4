//! Approvals, vetoes, rollbacks and freezes.

use portcullis_domain::policy::Severity;
use portcullis_tests::api::events;
use portcullis_tests::ledger::Ledger;
use portcullis_tests::traffic::Traffic;
use portcullis_tests::wait::{self, SOON};
use serde_json::json;

use crate::{APP, Shop, approve, asks};

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
    assert_eq!(ran.code, Some(0), "{ran:?}");
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
