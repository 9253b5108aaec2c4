//! Images and tags of ECR.

use std::collections::BTreeSet;

use portcullis_aws::registry::{EcrRegistry, ReferrerKind};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::ImageFact;
use portcullis_domain::names::{Repository, Tag};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::Registry;
use serde_json::json;

use crate::replay::{Answer, Aws, place};

/// 2026-05-04T12:00:00Z, in milliseconds.
pub(crate) const NOON: u64 = 1_777_896_000_000;

pub(crate) fn repository() -> Repository {
    Repository::new("444444444444.dkr.ecr.us-east-1.amazonaws.com/volteryde/nestjs-service").unwrap()
}

/// The digest of the shapes that is this digit 64 times.
pub(crate) fn digest(digit: char) -> Digest {
    format!("sha256:{}", String::from(digit).repeat(64)).parse().unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    Tag::new(text).unwrap()
}

fn registry(aws: &Aws) -> EcrRegistry {
    EcrRegistry::new(aws.roles())
}

fn no_image() -> Answer {
    Answer::error("DescribeImages", 400, "ImageNotFoundException", "The image with imageId {…} does not exist")
}

fn no_repository() -> Answer {
    Answer::error("DescribeImages", 400, "RepositoryNotFoundException", "The repository does not exist")
}

#[tokio::test]
async fn an_image_is_described_by_its_digest_in_its_own_registry() {
    let aws = Aws::answering([Answer::json("DescribeImages", shape!("ecr-image.json"))]);
    let image = registry(&aws).image(&place(), &repository(), &digest('a')).await.unwrap();
    // The tag that is longer than OCI allows names nothing.
    let tags = BTreeSet::from([tag("8f3c2a1"), tag("main")]);
    assert_eq!(image, Some(ImageFact { tags, pushed_at: Timestamp(NOON + 250), size: Some(48_200_000) }));
    let [asked] = &aws.asked()[..] else { panic!("one call") };
    let expected = json!({
        "registryId": "444444444444",
        "repositoryName": "volteryde/nestjs-service",
        "imageIds": [{ "imageDigest": digest('a').to_string() }],
    });
    assert_eq!(asked.body(), expected);
}

#[tokio::test]
async fn an_image_index_is_an_image_as_any_other() {
    let aws = Aws::answering([Answer::json("DescribeImages", shape!("ecr-image-index.json"))]);
    let image = registry(&aws).image(&place(), &repository(), &digest('e')).await.unwrap().unwrap();
    assert_eq!((image.pushed_at, image.size), (Timestamp(NOON), Some(51_000_000)));
}

#[tokio::test]
async fn an_image_or_repository_that_is_not_there_is_none() {
    for answer in [no_image(), no_repository()] {
        let aws = Aws::answering([answer]);
        assert_eq!(registry(&aws).image(&place(), &repository(), &digest('a')).await.unwrap(), None);
    }
    for answer in [no_image(), no_repository()] {
        let aws = Aws::answering([answer]);
        assert_eq!(registry(&aws).tagged(&place(), &repository(), &tag("main")).await.unwrap(), None);
    }
    let aws = Aws::answering([no_repository()]);
    assert_eq!(registry(&aws).list(&place(), &repository()).await.unwrap(), Vec::new());
}

#[tokio::test]
async fn what_is_forbidden_is_no_absence() {
    let message = "User: portcullis is not authorized to perform: ecr:DescribeImages";
    let aws = Aws::answering([Answer::error("DescribeImages", 400, "AccessDeniedException", message)]);
    let error = registry(&aws).image(&place(), &repository(), &digest('a')).await.unwrap_err();
    assert!(error.doing.contains(&digest('a').to_string()), "{error}");
    assert!(error.found.contains("AccessDeniedException") && error.found.contains(message), "{error}");
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_no_image() {
    let archived = shape!("ecr-image.json").replace("\"ACTIVE\"", "\"ARCHIVED\"");
    let aws = Aws::answering([Answer::json("DescribeImages", archived)]);
    let error = registry(&aws).image(&place(), &repository(), &digest('a')).await.unwrap_err();
    assert_eq!(error.found, "the image is ARCHIVED: restore it from ECR's archive before it is deployed");
}

#[tokio::test]
async fn another_image_than_asked_for_is_refused() {
    let aws = Aws::answering([Answer::json("DescribeImages", shape!("ecr-image.json"))]);
    let error = registry(&aws).image(&place(), &repository(), &digest('b')).await.unwrap_err();
    assert_eq!(error.found, format!("the registry answered with {}", digest('a')));
}

#[tokio::test]
async fn a_tag_is_looked_up_where_the_repository_is() {
    let aws = Aws::answering([Answer::json("DescribeImages", shape!("ecr-image.json"))]);
    let elsewhere = Repository::new("555555555555.dkr.ecr.eu-west-1.amazonaws.com/volteryde/nestjs-service").unwrap();
    let found = registry(&aws).tagged(&place(), &elsewhere, &tag("main")).await.unwrap();
    assert_eq!(found, Some(digest('a')));
    let [asked] = &aws.asked()[..] else { panic!("one call") };
    assert!(asked.uri.starts_with("https://api.ecr.eu-west-1.amazonaws.com"), "{}", asked.uri);
    assert_eq!(asked.body()["registryId"], "555555555555");
    assert_eq!(asked.body()["imageIds"], json!([{ "imageTag": "main" }]));
}

#[tokio::test]
async fn all_pages_of_tags_are_listed_newest_first() {
    let aws = Aws::answering([
        Answer::json("DescribeImages", shape!("ecr-tagged-1.json")),
        Answer::json("DescribeImages", shape!("ecr-tagged-2.json")).when("page-2"),
    ]);
    let listed = registry(&aws).list(&place(), &repository()).await.unwrap();
    let expected = [
        (tag("newest"), digest('c'), Timestamp(NOON + 3_600_000)),
        (tag("8f3c2a1"), digest('a'), Timestamp(NOON)),
        (tag("main"), digest('a'), Timestamp(NOON)),
        (tag("older"), digest('b'), Timestamp(NOON - 7_200_000)),
    ];
    assert_eq!(listed, expected);
    let asked = aws.asked();
    assert_eq!(asked[0].body()["filter"], json!({ "tagStatus": "TAGGED" }));
    assert_eq!(asked[0].body()["maxResults"], 1_000);
}

#[tokio::test]
async fn at_most_a_thousand_tags_are_listed_and_they_are_the_newest() {
    let page = |first: u64, next: Option<&str>| {
        let details: Vec<_> = (first..first + 800)
            .map(|at| json!({ "imageDigest": digest('a').to_string(), "imageTags": [format!("t{at}")], "imagePushedAt": at }))
            .collect();
        Answer::json("DescribeImages", json!({ "imageDetails": details, "nextToken": next }).to_string())
    };
    let aws = Aws::answering([page(1_000, Some("page-2")), page(5_000, None)]);
    let listed = registry(&aws).list(&place(), &repository()).await.unwrap();
    assert_eq!(listed.len(), 1_000);
    assert_eq!(listed[0].0, tag("t5799"));
    assert_eq!(listed[999].0, tag("t1600"), "800 of the second page, then the newest 200 of the first");
}

#[tokio::test]
async fn what_refers_to_an_image_is_told_by_what_it_is() {
    let aws = Aws::answering([
        Answer::json("ListImageReferrers", shape!("ecr-referrers-1.json")),
        Answer::json("ListImageReferrers", shape!("ecr-referrers-2.json")).when("page-2"),
    ]);
    let referrers = registry(&aws).referrers(&place(), &repository(), &digest('a')).await.unwrap();
    let kinds: Vec<_> = referrers.iter().map(|one| (one.kind, one.digest)).collect();
    let expected = [
        (ReferrerKind::Sbom, digest('b')),
        (ReferrerKind::Signature, digest('d')),
        (ReferrerKind::Attestation, digest('c')),
        (ReferrerKind::Other, digest('e')),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(referrers[1].annotations["io.cncf.notary.x509chain.thumbprint#S256"], "[]");
    assert_eq!(aws.asked()[0].body()["subjectId"], json!({ "imageDigest": digest('a').to_string() }));
}
