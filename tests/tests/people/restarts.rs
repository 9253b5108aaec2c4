//! Stopping and starting in the middle of things.

use portcullis_tests::ledger::Ledger;
use portcullis_tests::traffic::Traffic;
use serde_json::json;

use crate::{APP, Shop, asks};

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
