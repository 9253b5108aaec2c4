//! How a cluster is reached.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use portcullis_aws::cluster_access::ClusterAccess;
use portcullis_domain::policy::Place;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::ManualClock;
use portcullis_engine::ports::{Access as _, Endpoint};
use secrecy::ExposeSecret;

use crate::registry::NOON;
use crate::replay::{Answer, Aws, place};

const DESCRIBE: &str = "/clusters/volteryde-main";

fn access(aws: &Aws, now: Timestamp) -> ClusterAccess {
    ClusterAccess::new(aws.roles(), ManualClock::new(now))
}

async fn endpoint(body: String) -> Result<Endpoint, String> {
    let aws = Aws::answering([Answer::json(DESCRIBE, body)]);
    access(&aws, Timestamp(NOON)).endpoint(&place()).await.map_err(|error| error.found)
}

#[tokio::test]
async fn a_cluster_is_told_with_its_authority() {
    let found = endpoint(shape!("eks-cluster.json").to_owned()).await.unwrap();
    let url = "https://0123456789ABCDEF0123456789ABCDEF.gr7.us-east-1.eks.amazonaws.com".to_owned();
    assert_eq!(found, Endpoint { url, authority: b"-----BEGIN CERTIFICATE-----\n".to_vec() });
}

#[tokio::test]
async fn a_cluster_that_cannot_be_trusted_or_reached_is_none() {
    let shape = shape!("eks-cluster.json");
    for (body, found) in [
        (shape.replace("\"ACTIVE\"", "\"DELETING\""), "it is DELETING"),
        (shape.replace("https://0123", "http://0123"), "it has no https endpoint"),
        (shape.replace("\"data\"", "\"dada\""), "it has no certificate authority"),
        (shape.replace("LS0t", "****"), "its certificate authority"),
    ] {
        let error = endpoint(body).await.unwrap_err();
        assert!(error.starts_with(found), "{error}");
    }
    assert!(endpoint(shape.replace("\"ACTIVE\"", "\"UPDATING\"")).await.is_ok());
}

#[tokio::test]
async fn a_cluster_that_does_not_exist_is_told_by_name() {
    let missing = Answer::error(DESCRIBE, 404, "ResourceNotFoundException", "No cluster found for name");
    let aws = Aws::answering([missing]);
    let error = access(&aws, Timestamp(NOON)).endpoint(&place()).await.unwrap_err();
    assert!(error.doing.contains("volteryde-main") && error.found.contains("No cluster found"), "{error}");
}

#[tokio::test]
async fn a_token_is_signed_without_asking_aws_and_renewed_in_time() {
    let aws = Aws::default();
    let token = access(&aws, Timestamp(NOON)).token(&place()).await.unwrap();
    assert!(token.bearer.expose_secret().starts_with("k8s-aws-v1."));
    assert_eq!(token.renew_at, Timestamp(NOON) + Millis::minutes(10));
    assert_eq!(token.ends_at, Timestamp(NOON) + Millis::minutes(15));
    assert!(!format!("{token:?}").contains("k8s-aws-v1."));
    assert_eq!(aws.operations(), [""; 0]);
}

#[tokio::test]
async fn a_token_ends_with_the_role_that_signed_it() {
    let now = SystemTime::now();
    let ends = DateTime::from(now + Duration::from_mins(7)).fmt(Format::DateTime).unwrap();
    let answer = Answer::xml("AssumeRole", shape!("sts-assumed.xml").replace("EXPIRATION", &ends));
    let aws = Aws::answering([answer]);
    let millis = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let now = Timestamp(u64::try_from(millis).unwrap());
    let place = Place { role: Some("arn:aws:iam::444444444444:role/portcullis".to_owned()), ..place() };
    let access = ClusterAccess::new(aws.roles(), Arc::clone(&ManualClock::new(now)) as _);
    let token = access.token(&place).await.unwrap();
    assert_eq!(token.renew_at, token.ends_at);
    let lasts = token.ends_at.since(now);
    assert!((Millis::seconds(419)..=Millis::seconds(420)).contains(&lasts), "{lasts}");
}
