//! Roles that are assumed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use portcullis_aws::registry::EcrRegistry;
use portcullis_aws::roles::{EARLY, ReaderRole, Roles, Trust};
use portcullis_domain::policy::Place;
use portcullis_engine::ports::{PortResult, Registry};

use crate::registry::{digest, repository};
use crate::replay::{Answer, Aws, place};

const ROLE: &str = "arn:aws:iam::444444444444:role/portcullis";
const HOUR: Duration = Duration::from_hours(1);
/// So little that they are fetched anew at once.
const SHORT: Duration = Duration::from_secs(EARLY.as_secs() - 60);

fn place_with_role() -> Place {
    Place { role: Some(ROLE.to_owned()), region: Some("eu-west-1".to_owned()), ..place() }
}

/// Credentials that last so long from now.
fn assumed(lasts: Duration) -> Answer {
    let ends = DateTime::from(SystemTime::now() + lasts).fmt(Format::DateTime).unwrap();
    Answer::xml("AssumeRole", shape!("sts-assumed.xml").replace("EXPIRATION", &ends))
}

fn refused() -> Answer {
    let body =
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not your role</Message></Error></ErrorResponse>";
    Answer::xml("AssumeRole", body).status(403)
}

fn image() -> Answer {
    Answer::json("DescribeImages", shape!("ecr-image.json"))
}

async fn look(registry: &EcrRegistry) -> PortResult<()> {
    registry.image(&place_with_role(), &repository(), &digest('a')).await.map(drop)
}

#[tokio::test]
async fn a_role_is_assumed_as_its_trust_policy_asks() {
    let aws = Aws::answering([assumed(HOUR), image(), image()]);
    let trust = Trust {
        external_id: Some("portcullis-4be1".to_owned()),
        tags: BTreeMap::from([("environment".to_owned(), "production".to_owned())]),
    };
    let registry = EcrRegistry::new(Arc::new(Roles::new(aws.config()).with_trust(ROLE, trust)));
    look(&registry).await.unwrap();
    look(&registry).await.unwrap();
    let asked = aws.asked();
    let operations: Vec<_> = asked.iter().map(|asked| asked.operation.as_str()).collect();
    assert_eq!(operations, ["AssumeRole", "DescribeImages", "DescribeImages"], "the role is assumed once");
    assert!(asked[0].uri.starts_with("https://sts.eu-west-1.amazonaws.com"), "{}", asked[0].uri);
    assert!(asked[0].headers["authorization"].contains("Credential=AKIDOWN/"), "with our own credentials");
    let body = asked[0].text();
    let mut fields: Vec<&str> = body.split('&').collect();
    fields.sort_unstable();
    let expected = [
        "Action=AssumeRole",
        "DurationSeconds=3600",
        "ExternalId=portcullis-4be1",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A444444444444%3Arole%2Fportcullis",
        "RoleSessionName=portcullis-volteryde",
        "Tags.member.1.Key=environment",
        "Tags.member.1.Value=production",
        "Version=2011-06-15",
    ];
    assert_eq!(fields, expected);
    for asked in &asked[1..] {
        assert!(asked.headers["authorization"].contains("Credential=ASIAASSUMED/"), "{:?}", asked.headers);
        assert_eq!(asked.headers["x-amz-security-token"], "assumed session");
    }
}

#[tokio::test]
async fn without_a_trust_of_its_own_a_role_is_asked_for_by_name_only() {
    let aws = Aws::answering([assumed(HOUR), image()]);
    look(&EcrRegistry::new(aws.roles())).await.unwrap();
    let body = aws.asked()[0].text();
    assert!(!body.contains("ExternalId") && !body.contains("Tags"), "{body}");
}

#[tokio::test]
async fn credentials_are_fetched_anew_before_they_end() {
    let aws = Aws::answering([assumed(SHORT), image(), assumed(HOUR), image(), image()]);
    let registry = EcrRegistry::new(aws.roles());
    for _ in 0..3 {
        look(&registry).await.unwrap();
    }
    let expected = ["AssumeRole", "DescribeImages", "AssumeRole", "DescribeImages", "DescribeImages"];
    assert_eq!(aws.operations(), expected);
}

#[tokio::test]
async fn credentials_that_still_last_outlive_a_failure_of_sts() {
    let aws = Aws::answering([assumed(SHORT), image(), refused(), image()]);
    let registry = EcrRegistry::new(aws.roles());
    look(&registry).await.unwrap();
    look(&registry).await.unwrap();
    let asked = aws.asked();
    assert_eq!(asked[2].operation, "AssumeRole");
    assert!(asked[3].headers["authorization"].contains("Credential=ASIAASSUMED/"));
}

#[tokio::test]
async fn a_role_that_is_refused_is_told_by_name() {
    let aws = Aws::answering([refused()]);
    let error = look(&EcrRegistry::new(aws.roles())).await.unwrap_err();
    assert!(error.found.contains(ROLE) && error.found.contains("AccessDenied"), "{error}");
    assert_eq!(aws.operations(), ["AssumeRole"], "nothing is asked without the role");
}

#[tokio::test]
async fn a_reader_role_is_assumed_once_for_all_places_of_its_account_and_told_the_external_id() {
    let aws = Aws::answering([assumed(HOUR), image(), image()]);
    let reader: ReaderRole = "arn:aws:iam::444444444444:role/reader".parse().unwrap();
    let roles = Roles::new(aws.config()).with_external_id("portcullis-4be1");
    let registry = EcrRegistry::new(Arc::new(roles.reading(Some("111111111111".to_owned()), [reader])));
    for namespace in ["shop", "books"] {
        let place = Place { namespace: namespace.to_owned(), ..place_with_role() };
        registry.image(&place, &repository(), &digest('a')).await.unwrap();
    }
    let asked = aws.asked();
    let operations: Vec<_> = asked.iter().map(|asked| asked.operation.as_str()).collect();
    assert_eq!(operations, ["AssumeRole", "DescribeImages", "DescribeImages"]);
    let body = asked[0].text();
    for field in ["RoleArn=arn%3Aaws%3Aiam%3A%3A444444444444%3Arole%2Freader", "ExternalId=portcullis-4be1"] {
        assert!(body.contains(field), "{body}");
    }
    assert!(body.contains("RoleSessionName=portcullis-reader"), "{body}");
}

#[tokio::test]
async fn a_reader_assumes_nothing_in_its_own_account() {
    let aws = Aws::answering([image()]);
    let roles = Roles::new(aws.config()).with_external_id("portcullis-4be1");
    look(&EcrRegistry::new(Arc::new(roles.reading(Some("444444444444".to_owned()), [])))).await.unwrap();
    let asked = aws.asked();
    assert!(asked[0].headers["authorization"].contains("Credential=AKIDOWN/"), "{:?}", asked[0].headers);
}
