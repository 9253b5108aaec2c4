//! What protects, and how people get past it: break-glass, a stopped line, a policy that was loosened.

use portcullis_embedded::local::Build;
use portcullis_tests::api::events;
use portcullis_tests::policy::PolicyText;
use portcullis_tests::traffic::Traffic;
use serde_json::{Value, json};

use crate::{APP, Shop, asks};

fn glass() -> PolicyText {
    let mut policy = asks();
    policy.gates.push("break_glass: 2 of owners".to_owned());
    policy
}

fn gate(detail: &Value, name: &str) -> Value {
    let gates = detail["gates"]["gates"].as_array().cloned().unwrap_or_default();
    gates.into_iter().find(|gate| gate["gate"] == name).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_breaks_no_glass_and_two_do() {
    let shop = Shop::open(glass()).await;
    let _traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    let (commit, release) = shop.waiting("v2", &shop.baseline).await;
    let (id, plan) = (release["id"].to_string(), release["plan"].as_str().unwrap());
    let said = ["release", "break-glass", &id, "--plan", plan, "--gate", "approval", "--reason", "incident 7", "--yes"];

    assert_eq!(shop.run("kofi", &["freeze", "shop/production", "--reason", "a moment"]).code, Some(0));
    let first = shop.run("kofi", &said);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stdout.contains("1 of 2 people so far (kofi)"), "{first:?}");
    assert!(first.stdout.contains("Now lena must say the same") && first.stdout.contains(plan), "{first:?}");
    // What holds changes, so it is judged again, and that is recorded with what one person alone comes to.
    assert_eq!(shop.run("kofi", &["unfreeze", "shop/production"]).code, Some(0));
    let said_by_one = |detail: &Value| gate(detail, "approval")["evidence"].to_string().contains("incident 7");
    let detail = shop.kofi.until_detail("judged with one person", &release["id"], said_by_one).await;
    assert_eq!(
        (&detail["state"], &gate(&detail, "approval")["verdict"]),
        (&json!("gated"), &json!("hold")),
        "{detail}"
    );
    let recorded = events(&detail, "glass_broken");
    assert_eq!(
        (recorded.len(), &recorded[0]["who"], &recorded[0]["reason"]),
        (1, &json!("kofi"), &json!("incident 7"))
    );

    // Twice is not two people.
    let again = shop.run("kofi", &[&said[..], &["--output", "json"]].concat());
    assert_eq!((again.code, &again.json()["recorded"]), (Some(0), &json!([])), "{again:?}");
    assert_eq!(again.json()["break_glass"]["gates"][0]["skipped"], false, "{again:?}");
    assert_eq!(shop.kofi.release(&release["id"]).await["state"], "gated");
    assert_eq!(shop.home.serving(APP, "web"), Some(shop.baseline.images["web"]));

    let ask = json!({
        "command": "break_glass", "release": release["id"], "plan": plan, "gates": ["approval"], "reason": "incident 7",
    });
    let lena = shop.kofi.with(&shop.home.person("lena"));
    let answer = lena.command(&shop.target, &ask).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shop.kofi.until_state(&commit.sha, "live").await;
    assert_eq!(shop.home.serving(APP, "web"), Some(commit.images["web"]));
    let detail = shop.kofi.release(&release["id"]).await;
    assert!(events(&detail, "approved").is_empty(), "{detail}");
    let skipped = gate(&detail, "approval");
    assert!(skipped["why"].as_str().unwrap().contains("skipped by kofi and lena"), "{skipped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn glass_is_broken_only_by_those_whom_the_policy_names_for_the_plan_as_shown() {
    let shop = Shop::open(glass()).await;
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    let (id, plan) = (release["id"].to_string(), release["plan"].as_str().unwrap());
    let say = |who: &str, plan: &str, gate: &str, more: &[&str]| {
        let said = ["release", "break-glass", &id, "--plan", plan, "--gate", gate, "--reason", "incident 7"];
        shop.run(who, &[&said[..], more].concat())
    };
    for (code, ran, why) in [
        (3, say("amara", plan, "approval", &["--yes"]), "not in owners"),
        (3, say("mallory", plan, "approval", &["--yes"]), "not in the policy"),
        (3, say("kofi", "0000-0000", "approval", &["--yes"]), plan),
        (3, say("kofi", plan, "images", &["--yes"]), "can not be skipped"),
        (2, say("kofi", plan, "approval", &[]), "--yes"),
    ] {
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(why) && ran.stdout.is_empty(), "{why}: {ran:?}");
    }
    let detail = shop.kofi.release(&release["id"]).await;
    assert!(events(&detail, "glass_broken").is_empty(), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_rollbacks_stop_the_line_until_a_person_resumes_it() {
    let mut policy = asks();
    policy.roll_back.push("most: 1 in 1h".to_owned());
    let shop = Shop::open(policy).await;
    let _traffic = Traffic::start(shop.server.data(), APP, "web", 50).await;
    let bad = shop.push_build("v2", &shop.baseline, &Build { error_every: Some(1), ..Build::new("v2") }).await;
    assert_eq!(shop.kofi.approve(&shop.kofi.until_asked(&bad.sha).await).await.status, 200);
    shop.kofi.until_state(&bad.sha, "rolled_back").await;
    let stopped = shop.kofi.target(&shop.target).await;
    assert!(stopped["line_stopped"].is_string(), "{stopped}");

    let good = shop.push("v3", &bad).await;
    let held = |now: &Value| now["state"] == "gated" && now["why"].as_str().is_some_and(|why| why.contains("the line"));
    let release = shop.kofi.until("held by the stopped line", &good.sha, held).await;
    assert_eq!(shop.kofi.approve(&release).await.status, 200);
    let status = shop.run("kofi", &["status", "shop/production"]);
    assert!(status.stdout.contains("LINE STOPPED") || status.stdout.contains("no release begins"), "{status:?}");
    assert!(status.stdout.contains("portcullis resume-line shop/production"), "{status:?}");
    assert_eq!(shop.home.serving(APP, "web"), Some(shop.baseline.images["web"]));

    let resumed = shop.run("kofi", &["resume-line", "shop/production", "--reason", "it was the database"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(resumed.stdout.contains("it was the database"), "{resumed:?}");
    shop.kofi.until_state(&good.sha, "live").await;
    assert_eq!(shop.home.serving(APP, "web"), Some(good.images["web"]));
    let detail = shop.kofi.release(&release["id"]).await;
    assert_eq!(events(&detail, "line_resumed").len(), 1, "{detail}");
    let again = shop.run("kofi", &["resume-line", "shop/production", "--reason", "once more"]);
    assert_eq!(again.code, Some(3), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_loosened_is_in_the_ledger_as_soon_as_it_is_read() {
    // Nothing but the reading of the policy looks at the release.
    let mut policy = asks().looks_on_hints_only();
    policy.gates = vec!["approvals: [2 of owners]".to_owned()];
    let shop = Shop::open(policy.clone()).await;
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    policy.gates = vec!["approvals: [1 of owners]".to_owned()];
    shop.home.write_policy(&policy);
    shop.server.signal("HUP");
    let loosened = |detail: &Value| {
        let changed = events(detail, "policy_changed");
        changed.iter().any(|event| event["changes"].as_array().unwrap().iter().any(|change| change["loosens"] == true))
    };
    shop.kofi.until_detail("the loosening is recorded", &release["id"], loosened).await;
    let shown = shop.run("kofi", &["release", "ledger", &release["id"].to_string()]);
    assert!(shown.stdout.contains("policy LOOSENED") && shown.stdout.contains("approvals"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_can_not_be_undone_says_so_everywhere() {
    let shop = Shop::open(asks()).await;
    let commit = shop.commit("v2", &shop.baseline, &Build::new("v2"));
    let started = ["release", "start", "shop/production", &commit.sha, "--forward-only", "--reason", "schema 7"];
    let ran = shop.run("kofi", &[&started[..], &["--output", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let id = ran.json()["release"].to_string();
    let shown = shop.run("kofi", &["release", "show", &id]);
    assert!(shown.stdout.contains("FORWARD ONLY"), "{shown:?}");
    assert_eq!(shop.kofi.release(&ran.json()["release"]).await["release"]["forward_only"], true);
}
