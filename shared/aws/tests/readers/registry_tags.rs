//! Tags that are moved or protected.

use portcullis_aws::registry::{EcrRegistry, Mutability, Pointed};
use serde_json::json;

use crate::registry::{digest, repository, tag};
use crate::replay::{Answer, Aws, place};

/// What `DescribeImages` answers of a tag that points at this digest.
fn points_at(digit: char) -> Answer {
    Answer::json("DescribeImages", shape!("ecr-image.json").replace(&"a".repeat(64), &String::from(digit).repeat(64)))
}

fn no_tag() -> Answer {
    Answer::error("DescribeImages", 400, "ImageNotFoundException", "no such tag")
}

fn manifest() -> Answer {
    Answer::json("BatchGetImage", shape!("ecr-image-manifest.json"))
}

async fn point(aws: &Aws) -> Result<Pointed, String> {
    let registry = EcrRegistry::new(aws.roles());
    registry.point(&place(), &repository(), &tag("production-live"), &digest('a')).await.map_err(|error| error.found)
}

#[tokio::test]
async fn a_pointer_is_put_on_the_very_manifest_and_read_back() {
    let aws = Aws::answering([points_at('b'), manifest(), Answer::json("PutImage", "{}"), points_at('a')]);
    assert_eq!(point(&aws).await, Ok(Pointed::Moved { from: Some(digest('b')) }));
    let asked = aws.asked();
    let stored: serde_json::Value = serde_json::from_str(shape!("ecr-image-manifest.json")).unwrap();
    let expected = json!({
        "registryId": "444444444444",
        "repositoryName": "volteryde/nestjs-service",
        "imageTag": "production-live",
        "imageDigest": digest('a').to_string(),
        "imageManifest": stored["images"][0]["imageManifest"],
        "imageManifestMediaType": stored["images"][0]["imageManifestMediaType"],
    });
    assert_eq!(asked[2].body(), expected);
}

#[tokio::test]
async fn a_pointer_that_is_right_already_is_let_be() {
    let aws = Aws::answering([points_at('a')]);
    assert_eq!(point(&aws).await, Ok(Pointed::Already));
    assert_eq!(aws.operations(), ["DescribeImages"]);
}

#[tokio::test]
async fn a_new_pointer_has_no_before() {
    let aws = Aws::answering([no_tag(), manifest(), Answer::json("PutImage", "{}"), points_at('a')]);
    assert_eq!(point(&aws).await, Ok(Pointed::Moved { from: None }));
}

#[tokio::test]
async fn another_driver_that_was_quicker_is_no_failure() {
    let exists = Answer::error("PutImage", 400, "ImageAlreadyExistsException", "already exists with tag");
    let aws = Aws::answering([points_at('b'), manifest(), exists, points_at('a')]);
    assert_eq!(point(&aws).await, Ok(Pointed::Moved { from: Some(digest('b')) }));
}

#[tokio::test]
async fn a_tag_that_may_not_move_is_told_with_the_way_out() {
    let immutable = Answer::error("PutImage", 400, "ImageTagAlreadyExistsException", "the tag is immutable");
    let aws = Aws::answering([points_at('b'), manifest(), immutable]);
    let found = point(&aws).await.unwrap_err();
    assert_eq!(found, "the repository forbids moving this tag: exclude pointer tags from its immutability");
}

#[tokio::test]
async fn a_pointer_that_somebody_moved_on_is_told() {
    let aws = Aws::answering([points_at('b'), manifest(), Answer::json("PutImage", "{}"), points_at('c')]);
    assert_eq!(point(&aws).await.unwrap_err(), format!("it points at {} now: somebody else moved it", digest('c')));
}

#[tokio::test]
async fn nothing_points_at_an_image_that_is_not_there() {
    let missing =
        r#"{"images": [], "failures": [{"imageId": {}, "failureCode": "ImageNotFound", "failureReason": "gone"}]}"#;
    let aws = Aws::answering([points_at('b'), Answer::json("BatchGetImage", missing)]);
    assert_eq!(point(&aws).await.unwrap_err(), "the registry does not have it");
    assert_eq!(aws.operations(), ["DescribeImages", "BatchGetImage"]);
}

#[tokio::test]
async fn pointers_may_move_beside_tags_that_may_not() {
    let some = vec!["*-live".to_owned(), "*-previous".to_owned()];
    for (rule, kind, filters) in [
        (Mutability::Immutable { except: Vec::new() }, "IMMUTABLE", None),
        (Mutability::Immutable { except: some.clone() }, "IMMUTABLE_WITH_EXCLUSION", Some(&some)),
        (Mutability::Mutable { except: Vec::new() }, "MUTABLE", None),
        (Mutability::Mutable { except: some.clone() }, "MUTABLE_WITH_EXCLUSION", Some(&some)),
    ] {
        let aws = Aws::answering([Answer::json("PutImageTagMutability", "{}")]);
        EcrRegistry::new(aws.roles()).set_mutability(&place(), &repository(), &rule).await.unwrap();
        let mut expected = json!({
            "registryId": "444444444444",
            "repositoryName": "volteryde/nestjs-service",
            "imageTagMutability": kind,
        });
        if let Some(filters) = filters {
            let filters: Vec<_> =
                filters.iter().map(|one| json!({ "filterType": "WILDCARD", "filter": one })).collect();
            expected["imageTagMutabilityExclusionFilters"] = json!(filters);
        }
        assert_eq!(aws.asked()[0].body(), expected);
    }
}
