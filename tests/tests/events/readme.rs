//! Every sample, as its line in the README reads it.

use portcullis_tests::ledger::Ledger;
use portcullis_tests::samples::{self};
use portcullis_tests::wait::{self, SOON};
use serde_json::json;
use std::collections::BTreeSet;

use crate::{APP, COMMIT, NEST, Volteryde, image_of, policy};

#[test]
fn every_sample_has_its_line_in_the_readme() {
    let told: BTreeSet<String> = samples::lines().into_iter().map(|line| line.file).collect();
    let there: BTreeSet<String> = samples::names().into_iter().collect();
    assert_eq!(told, there);
    assert!(there.len() >= 18, "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_is_answered_as_the_readme_reads_it_and_what_is_ignored_changes_nothing() {
    let volteryde = Volteryde::open(&policy()).await;
    for line in samples::lines() {
        let before = volteryde.all().await;
        let answer = volteryde.post(&line.file).await;
        match line.ignored() {
            Some(reason) => {
                assert_eq!((answer.status, answer.json()), (202, json!({ "ignored": reason })), "{line:?}");
                assert_eq!(volteryde.all().await, before, "{line:?}");
            }
            // A push whose commit nobody knows says nothing to anybody.
            None if line.file == "ecr/image-action-push-untagged.json" => {
                assert_eq!(answer.status, 202, "{line:?}: {answer:?}");
                assert_eq!(volteryde.all().await, before, "{line:?}");
            }
            None => {
                let targets = json!({ "targets": ["volteryde/production"] });
                assert_eq!((answer.status, answer.json()), (200, targets), "{line:?}");
                // On an idle target only alarms are news.
                if !line.file.starts_with("cloudwatch/") {
                    assert_eq!(volteryde.all().await, before, "{line:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_acknowledged_survives_a_kill() {
    let mut volteryde = Volteryde::open(&policy()).await;
    volteryde.commit();
    volteryde.image(NEST);
    for round in 0..3 {
        let mut push = samples::push(APP, NEST, &image_of(NEST), Some(COMMIT));
        push["id"] = json!(format!("delivery-{round}"));
        volteryde.taken(&push).await;
        volteryde.server.kill9();
        volteryde.server.spawn();
        volteryde.server.ready().await;
        let releases = wait::until("the release is there", SOON, async || {
            let releases = volteryde.api.get("/api/releases").await?.json();
            if releases.as_array().is_some_and(|all| all.len() == 1) { Ok(releases) } else { Err(releases.to_string()) }
        })
        .await;
        assert_eq!(releases[0]["commit"], COMMIT);
    }
    Ledger::open(volteryde.server.data()).verified(&volteryde.target).await;
}
