//! Secrets of Secrets Manager.

use std::sync::Arc;

use portcullis_aws::secrets::{Keeping, Secrets};
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::ManualClock;
use secrecy::ExposeSecret;

use crate::registry::NOON;
use crate::replay::{Answer, Aws};

const GET: &str = "GetSecretValue";

fn current() -> Answer {
    Answer::json(GET, shape!("secrets-current.json")).when("AWSCURRENT")
}

fn previous() -> Answer {
    Answer::json(GET, shape!("secrets-previous.json")).when("AWSPREVIOUS")
}

fn none(label: &str) -> Answer {
    let message = "Secrets Manager can't find the specified secret value for staging label";
    Answer::error(GET, 400, "ResourceNotFoundException", message).when(label)
}

fn failing(label: &str) -> Answer {
    Answer::error(GET, 500, "InternalServiceError", "try again").when(label)
}

struct World {
    aws: Aws,
    clock: Arc<ManualClock>,
    secrets: Secrets,
}

/// A minute after the secret was rotated.
fn world(answers: impl IntoIterator<Item = Answer>) -> World {
    let aws = Aws::answering(answers);
    let clock = ManualClock::new(Timestamp(NOON) + Millis::minutes(1));
    let secrets = Secrets::new(&aws.config(), clock.clone(), Keeping::default());
    World { aws, clock, secrets }
}

impl World {
    async fn values(&self) -> Result<Vec<String>, String> {
        let values = self.secrets.values("webhook").await.map_err(|error| error.to_string())?;
        Ok(values.iter().map(|value| value.expose_secret().to_owned()).collect())
    }
}

#[tokio::test]
async fn while_a_secret_is_rotated_both_count_the_new_one_first() {
    let world = world([current(), previous()]);
    assert_eq!(world.values().await.unwrap(), ["new secret", "old secret"]);
    let labels: Vec<_> = world.aws.asked().iter().map(|asked| asked.body()["VersionStage"].clone()).collect();
    assert_eq!(labels, ["AWSCURRENT", "AWSPREVIOUS"]);
}

#[tokio::test]
async fn the_old_one_ends_a_day_after_the_new_one_came() {
    let world = world([current(), previous()]);
    world.clock.advance(Millis::minutes(24 * 60 - 3));
    assert_eq!(world.values().await.unwrap(), ["new secret", "old secret"]);
    // Not even one that is kept counts longer.
    world.clock.advance(Millis::minutes(2));
    assert_eq!(world.values().await.unwrap(), ["new secret"]);
    assert_eq!(world.aws.asked().len(), 2);
}

#[tokio::test]
async fn a_secret_that_was_never_rotated_is_one() {
    let world = world([current(), none("AWSPREVIOUS")]);
    assert_eq!(world.values().await.unwrap(), ["new secret"]);
}

#[tokio::test]
async fn two_labels_on_one_version_are_one_value() {
    let same = Answer::json(GET, shape!("secrets-current.json")).when("AWSPREVIOUS");
    let world = world([current(), same]);
    assert_eq!(world.values().await.unwrap(), ["new secret"]);
}

#[tokio::test]
async fn a_value_is_asked_for_again_after_five_minutes() {
    let world = world([current(), previous()]);
    world.values().await.unwrap();
    world.clock.advance(Millis::seconds(299));
    world.values().await.unwrap();
    assert_eq!(world.aws.asked().len(), 2);
    world.clock.advance(Millis::seconds(1));
    let rotated = shape!("secrets-current.json").replace("new secret", "newer secret");
    world.aws.also([Answer::json(GET, rotated).when("AWSCURRENT"), none("AWSPREVIOUS")]);
    assert_eq!(world.values().await.unwrap(), ["newer secret"]);
}

#[tokio::test]
async fn a_value_outlives_a_failure_for_half_an_hour() {
    let world = world([current(), previous()]);
    world.values().await.unwrap();
    for minutes in [5, 24] {
        world.clock.advance(Millis::minutes(minutes));
        world.aws.also([failing("AWSCURRENT"), failing("AWSPREVIOUS")]);
        assert_eq!(world.values().await.unwrap(), ["new secret", "old secret"]);
    }
    world.clock.advance(Millis::minutes(1));
    world.aws.also([failing("AWSCURRENT"), failing("AWSPREVIOUS")]);
    let error = world.values().await.unwrap_err();
    assert!(error.contains("webhook") && error.contains("InternalServiceError"), "{error}");
}

#[tokio::test]
async fn a_secret_that_was_deleted_or_forbidden_ends_at_once() {
    let deleted = |label: &str| {
        let message = "You can't perform this operation on the secret because it was marked for deletion.";
        Answer::error(GET, 400, "InvalidRequestException", message).when(label)
    };
    let forbidden = |label: &str| Answer::error(GET, 400, "AccessDeniedException", "not authorized").when(label);
    for (answers, word) in [
        ([deleted("AWSCURRENT"), deleted("AWSPREVIOUS")], "marked for deletion"),
        ([forbidden("AWSCURRENT"), forbidden("AWSPREVIOUS")], "AccessDenied"),
        ([none("AWSCURRENT"), none("AWSPREVIOUS")], "there is no such secret"),
    ] {
        let world = world([current(), previous()]);
        world.values().await.unwrap();
        world.clock.advance(Millis::minutes(5));
        world.aws.also(answers);
        assert!(world.values().await.unwrap_err().contains(word), "{word}");
        // And a failure after that has nothing to fall back on.
        world.aws.also([failing("AWSCURRENT"), failing("AWSPREVIOUS")]);
        assert!(world.values().await.is_err(), "{word}");
    }
}

#[tokio::test]
async fn being_throttled_is_no_answer() {
    let world = world([current(), previous()]);
    world.values().await.unwrap();
    world.clock.advance(Millis::minutes(5));
    let throttled = |label: &str| Answer::error(GET, 400, "ThrottlingException", "rate exceeded").when(label);
    world.aws.also([throttled("AWSCURRENT"), throttled("AWSPREVIOUS")]);
    assert_eq!(world.values().await.unwrap(), ["new secret", "old secret"]);
}

#[tokio::test]
async fn an_empty_secret_is_none() {
    let empty = shape!("secrets-current.json").replace("new secret", "");
    let world = world([Answer::json(GET, empty).when("AWSCURRENT"), none("AWSPREVIOUS")]);
    assert!(world.values().await.unwrap_err().ends_with("it is empty"));
}

#[tokio::test]
async fn no_value_is_ever_shown() {
    let world = world([current(), previous()]);
    let values = world.secrets.values("webhook").await.unwrap();
    let shown = format!("{values:?} {:?}", world.secrets);
    assert!(!shown.contains("new secret") && !shown.contains("old secret"), "{shown}");
}
