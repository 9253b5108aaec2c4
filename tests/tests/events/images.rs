//! Pushed and deleted images, and their scans.

use portcullis_domain::digest::Digest;
use portcullis_domain::policy::Severity;
use portcullis_tests::api::events;
use portcullis_tests::samples::{self, sample};
use serde_json::{Value, json};

use crate::{
    APP, COMMIT, NEST, SERVICES, SPRING, Volteryde, WORKERS, digest_of, has_looked, image_of, policy, verdict,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_the_branch_opens_a_release_of_its_commit_and_a_redelivery_changes_nothing() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    volteryde.image(NEST);
    volteryde.taken(&sample("ecr/image-action-push.json")).await;
    let release = volteryde.api.until("opened", COMMIT, |release| release["state"] == "gathering").await;
    assert_eq!((&release["target"], &release["requested_by"]), (&json!("volteryde/production"), &Value::Null));
    let detail = volteryde.api.until_detail("it has looked at all it asked for", &release["id"], has_looked).await;
    assert_eq!(detail["release"]["artifacts"][NEST]["digest"], json!(image_of(NEST)), "{detail}");
    let before = volteryde.all().await;
    for _ in 0..3 {
        volteryde.taken(&sample("ecr/image-action-push.json")).await;
    }
    assert_eq!(volteryde.all().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_elsewhere_does_nothing_but_complete_a_release_that_is_open() {
    let mut elsewhere = policy();
    elsewhere.branch = "release".to_owned();
    let volteryde = Volteryde::open(&elsewhere).await;
    volteryde.commit();
    let before = volteryde.all().await;
    volteryde.taken(&sample("ecr/image-action-push.json")).await;
    assert_eq!(volteryde.all().await, before);

    volteryde.image(SPRING);
    let start = json!({ "command": "start", "commit": COMMIT, "reason": "try it" });
    let answer = volteryde.api.command(&volteryde.target, &start).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let release = volteryde.api.until("opened", COMMIT, |release| release["state"] == "gathering").await;
    volteryde.image(NEST);
    // A delivery of its own: the one before was of a push that meant nothing then.
    let mut push = sample("ecr/image-action-push.json");
    push["id"] = json!("6c4f1b53-2d7e-4d7c-9b0f-3f7f6f4f8a01");
    volteryde.taken(&push).await;
    let detail = volteryde.api.release(&release["id"]).await;
    assert_eq!(detail["release"]["artifacts"][NEST]["digest"], json!(image_of(NEST)), "{detail}");
    assert_eq!(volteryde.api.releases(&volteryde.target).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untagged_push_counts_by_the_tag_that_the_registry_has() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    volteryde.image(NEST);
    volteryde.taken(&sample("ecr/image-action-push.json")).await;
    let release = volteryde.api.until("opened", COMMIT, |release| release["state"] == "gathering").await;
    let id = &release["id"];
    volteryde.api.until_detail("it has looked at all it asked for", id, has_looked).await;
    let before = volteryde.all().await;
    let untagged = sample("ecr/image-action-push-untagged.json");
    assert_eq!(volteryde.api.event(&untagged).await.status, 202, "the registry has no tag of it");
    assert_eq!(volteryde.all().await, before);
    volteryde.image(WORKERS);
    volteryde.taken(&untagged).await;
    let detail = volteryde.api.release(id).await;
    assert_eq!(detail["release"]["artifacts"][WORKERS]["digest"], json!(image_of(WORKERS)), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_image_makes_its_targets_look_again() {
    let volteryde = Volteryde::open(&policy()).await;
    let deleted = sample("ecr/image-action-delete.json");
    let digest = digest_of("ecr/image-action-delete.json");
    let commit = deleted["detail"]["image-tag"].as_str().unwrap();
    volteryde.home.commit(commit, None, &["main"]);
    for (service, _) in SERVICES {
        let image = if *service == NEST { digest } else { Digest::of(service.as_bytes()) };
        volteryde.home.image(APP, service, &image, &[commit]);
        volteryde.home.scan(APP, service, &image, &[]);
        volteryde.taken(&samples::push(APP, service, &image, Some(commit))).await;
    }
    let release = volteryde.api.until_asked(commit).await;
    let detail = volteryde.api.release(&release["id"]).await;
    assert_eq!(verdict(&detail, "images"), "pass", "{detail}");
    volteryde.home.remove_image(APP, NEST, &digest);
    volteryde.taken(&deleted).await;
    let held = |detail: &Value| verdict(detail, "images") == "hold";
    volteryde.api.until_detail("the image is missed", &release["id"], held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_scan_frequency_makes_its_targets_look_again() {
    let volteryde = Volteryde::open(&policy()).await;
    let release = volteryde.waiting().await;
    volteryde.home.scan(APP, NEST, &image_of(NEST), &[(Severity::Low, 3)]);
    volteryde.taken(&sample("ecr/scan-resource-change.json")).await;
    let planned = |now: &Value| now["plan"].is_string() && now["plan"] != release["plan"];
    volteryde.api.until("a new plan with what the registry says now", COMMIT, planned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_told_worse_than_known_holds_a_release_until_the_registry_was_asked_again() {
    let volteryde = Volteryde::open(&policy()).await;
    let release = volteryde.waiting().await;
    let id = &release["id"];
    let doubts = |detail: &Value| events(detail, "doubted").len();
    let worse = [
        "ecr/image-scan-complete.json",
        "ecr/image-scan-failed.json",
        "inspector/scan-complete.json",
        "inspector/finding-active.json",
    ];
    for (before, name) in worse.into_iter().enumerate() {
        volteryde.taken(&sample(name)).await;
        let detail = volteryde
            .api
            .until_detail(name, id, |detail| doubts(detail) == before + 1 && detail["release"]["doubt"].is_null())
            .await;
        // The registry says that nothing was found: the message alone made nothing better and nothing worse.
        assert_eq!((&detail["state"], &detail["plan"]), (&json!("gated"), &release["plan"]), "{name}");
        let ledger = detail["ledger"].as_array().unwrap();
        let doubted = ledger.iter().rposition(|event| event["event"] == "doubted").unwrap();
        assert!(ledger[doubted..].iter().any(|event| event["event"] == "facts_read"), "{name}: {detail}");
    }
    // What the registry confirms stays: a critical finding blocks.
    volteryde.home.scan(APP, SPRING, &image_of(SPRING), &[(Severity::Critical, 1)]);
    let mut again = sample("inspector/finding-active.json");
    again["id"] = json!("71c9f6a4-1b1f-4a5e-8a5f-08d1c5c0b7aa");
    volteryde.taken(&again).await;
    let rejected = volteryde.api.until_state(COMMIT, "rejected").await;
    assert!(rejected["why"].as_str().unwrap().starts_with("scan"), "{rejected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_never_makes_a_verdict_better() {
    let volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    for (service, _) in SERVICES {
        volteryde.image(service);
    }
    // Nobody has scanned it yet.
    let unscanned = image_of(NEST);
    volteryde.home.remove_image(APP, NEST, &unscanned);
    volteryde.home.image(APP, NEST, &unscanned, &[COMMIT]);
    for (service, _) in SERVICES {
        volteryde.taken(&samples::push(APP, service, &image_of(service), Some(COMMIT))).await;
    }
    volteryde.api.until("held", COMMIT, |now| now["state"] == "gated" && now["plan"].is_string()).await;
    let held = |detail: &Value| verdict(detail, "scan") == "hold";
    let id = volteryde.api.releases(&volteryde.target).await[0]["id"].clone();
    volteryde.api.until_detail("no scan holds", &id, held).await;
    for name in ["ecr/image-scan-complete.json", "inspector/scan-complete.json", "inspector/finding-closed.json"] {
        let answer = volteryde.post(name).await;
        assert!(answer.status < 300, "{name}: {answer:?}");
    }
    // A look that comes after all of them has seen what the registry says, and that is nothing.
    volteryde.home.scan(APP, WORKERS, &image_of(WORKERS), &[(Severity::Low, 1)]);
    volteryde.taken(&sample("ecr/scan-resource-change.json")).await;
    let looked = |detail: &Value| detail["release"]["facts"]["scans"].to_string().contains("\"low\"");
    let detail = volteryde.api.until_detail("it has looked", &id, looked).await;
    assert!(held(&detail), "{detail}");
}
