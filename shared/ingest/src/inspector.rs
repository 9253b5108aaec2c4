//! Amazon Inspector's events (enhanced scanning).
//!
//! Shapes: Amazon Inspector User Guide, "Amazon EventBridge event schema for Amazon Inspector events"; Amazon ECR User
//! Guide, "EventBridge events sent for enhanced scanning in Amazon ECR". The same detail types come for EC2
//! instances, Lambda functions and machine images.

use std::collections::BTreeMap;

use portcullis_domain::facts::ScanStatus;
use portcullis_domain::signal::FactKind;

use crate::envelope::Event;
use crate::json::shown;
use crate::registry::repository;
use crate::{Malformed, Read, ecr, severity};

/// `Inspector2 Scan`: the first scan of an image is complete.
pub(crate) fn scan(event: &Event<'_>) -> Result<Read, Malformed> {
    if event.detail.optional("repository-name")?.is_none()
        && let Some(other) = other_resource(event)
    {
        return Ok(event.ignored(format!("scan of {}, not of an image", shown(other))));
    }
    match event.detail.field("scan-status")?.word()? {
        "INITIAL_SCAN_COMPLETE" => ecr::scan_reported(event, ScanStatus::Complete),
        other => Ok(event.ignored(format!("scan status {} is not known", shown(other)))),
    }
}

/// What was scanned, if it is nothing of ECR's.
fn other_resource<'a>(event: &Event<'a>) -> Option<&'a str> {
    let first = event.whole.optional("resources").ok()??.items().ok()?.into_iter().next()?;
    first.text(2048).ok().filter(|resource| !resource.contains(":ecr:"))
}

/// `Inspector2 Finding`: a vulnerability was found in an image, perhaps long after it was scanned, or is no longer
/// there. An open one is reported as a scan with one finding: news that can only make a verdict worse.
pub(crate) fn finding(event: &Event<'_>) -> Result<Read, Malformed> {
    match event.detail.field("status")?.word()? {
        "ACTIVE" => {}
        "CLOSED" => return Ok(event.ignored("finding is closed")),
        "SUPPRESSED" => return Ok(event.ignored("finding is suppressed")),
        other => return Ok(event.ignored(format!("finding status {} is not known", shown(other)))),
    }
    let severity = severity::named(event.detail.field("severity")?.word()?);
    let mut images = Vec::new();
    let mut others = Vec::new();
    for resource in event.detail.field("resources")?.items()? {
        let kind = resource.field("type")?.word()?;
        if kind != "AWS_ECR_CONTAINER_IMAGE" {
            others.push(kind);
            continue;
        }
        let image = resource.field("details")?.field("awsEcrContainerImage")?;
        let registry = image.field("registry")?;
        if registry.account()? != event.account {
            return Err(registry.wrong(format!("is another account than the event's, {}", event.account)));
        }
        images.push(FactKind::ScanReported {
            // The resource's own region can be "N/A"; the event's is its registry's.
            repository: repository(&image.field("repositoryName")?, event.account, event.region)?,
            digest: image.field("imageHash")?.parsed(512)?,
            status: ScanStatus::Complete,
            counts: BTreeMap::from([(severity, 1)]),
        });
    }
    let other = others.first().copied().unwrap_or_default();
    Ok(event.facts(images)?.unwrap_or_else(|| event.ignored(format!("finding on {}, not on an image", shown(other)))))
}
