//! Nobody can name themselves, and reading never changes anything.

use hyper::Method;
use portcullis_tests::api::{EVENTS_TOKEN, events};
use portcullis_tests::binary::{self};
use portcullis_tests::traffic::Traffic;
use serde_json::json;

use crate::{APP, Shop, approve, asks};

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
    let freeze = json!({ "scope": "all", "stop": { "reason": "x" } }).to_string();
    let token = format!("Bearer {}", shop.tokens["mallory"]);
    let answer = shop.mallory.send(Method::POST, "/api/scopes", Some(&token), freeze).await.unwrap();
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
async fn a_removed_persons_token_ends_at_once() {
    let shop = Shop::open(asks()).await;
    assert_eq!(shop.kofi.get("/api/targets").await.unwrap().status, 200);
    let data = shop.server.data().to_string_lossy().into_owned();
    let ran = binary::run(&["person", "remove", "kofi", "--data", &data], &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(shop.kofi.get("/api/targets").await.unwrap().status, 401);
    assert_eq!(shop.amara.get("/api/targets").await.unwrap().status, 200);
}
