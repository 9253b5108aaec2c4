//! Amazon ECR's events.
//!
//! Shapes: Amazon ECR User Guide, "Amazon ECR events and EventBridge" and "EventBridge events sent for enhanced
//! scanning in Amazon ECR". ECR sends them as best effort: a missing one is normal.

use portcullis_domain::digest::Digest;
use portcullis_domain::facts::ScanStatus;
use portcullis_domain::names::Tag;
use portcullis_domain::signal::FactKind;

use crate::envelope::Event;
use crate::json::{At, shown};
use crate::registry::repository;
use crate::{Malformed, Read, severity};

/// Longest digest and tag, in bytes, whose text an error may show.
const NAME: usize = 512;

/// `ECR Image Action`: an image, or an index of images, was pushed or deleted. Archiving and restoring are other
/// actions of the same type.
pub(crate) fn image_action(event: &Event<'_>) -> Result<Read, Malformed> {
    let detail = &event.detail;
    let (action, result) = (detail.field("action-type")?.word()?, detail.field("result")?.word()?);
    let (deleted, what) = match action {
        "PUSH" => (false, "push"),
        "DELETE" => (true, "delete"),
        _ => return Ok(event.ignored(format!("action {} is not used", shown(action)))),
    };
    if result != "SUCCESS" {
        return Ok(event.ignored(format!("{what} failed")));
    }
    let repository = repository(&detail.field("repository-name")?, event.account, event.region)?;
    let digest = image_digest(detail)?;
    let tag = tag(detail)?;
    Ok(event.fact(if deleted {
        FactKind::ImageDeleted { repository, digest, tag }
    } else {
        FactKind::ImagePushed { repository, digest, tag }
    }))
}

/// `ECR Image Scan`: a scan of basic scanning ended. One fact, however many tags the image has. Severities without a
/// finding are left out, and a failed scan has no counts at all.
pub(crate) fn image_scan(event: &Event<'_>) -> Result<Read, Malformed> {
    let detail = &event.detail;
    // The words are those of `ImageScanStatus` in the Amazon ECR API Reference.
    let status = match detail.field("scan-status")?.word()? {
        "COMPLETE" | "ACTIVE" => ScanStatus::Complete,
        "IN_PROGRESS" | "PENDING" => ScanStatus::InProgress,
        "FAILED" | "LIMIT_EXCEEDED" => ScanStatus::Failed,
        "UNSUPPORTED_IMAGE" => ScanStatus::Unsupported,
        other => return Ok(event.ignored(format!("scan status {} is not known", shown(other)))),
    };
    scan_reported(event, status)
}

/// What ECR's and Inspector's scans have in common.
pub(crate) fn scan_reported(event: &Event<'_>, status: ScanStatus) -> Result<Read, Malformed> {
    let detail = &event.detail;
    let repository = repository(&detail.field("repository-name")?, event.account, event.region)?;
    let digest = image_digest(detail)?;
    let counts = detail.optional("finding-severity-counts")?;
    let counts = counts.map(|at| severity::counts(&at)).transpose()?.unwrap_or_default();
    Ok(event.fact(FactKind::ScanReported { repository, digest, status, counts }))
}

/// `ECR Scan Resource Change`: how often repositories are scanned has changed.
pub(crate) fn scan_resource_change(event: &Event<'_>) -> Result<Read, Malformed> {
    let action = event.detail.field("action-type")?.word()?;
    if action != "SCAN_FREQUENCY_CHANGE" {
        return Ok(event.ignored(format!("action {} is not used", shown(action))));
    }
    let mut repositories = Vec::new();
    for item in event.detail.field("repositories")?.items()? {
        repositories.push(repository(&item.field("repository-name")?, event.account, event.region)?);
    }
    Ok(event.fact(FactKind::ScanFrequencyChanged { repositories }))
}

fn image_digest(detail: &At<'_>) -> Result<Digest, Malformed> {
    detail.field("image-digest")?.parsed(NAME)
}

/// The tag; none if it is left out, null or empty, as for a push by digest.
fn tag(detail: &At<'_>) -> Result<Option<Tag>, Malformed> {
    match detail.optional("image-tag")? {
        Some(at) if at.maybe_text() != Some("") => at.parsed(NAME).map(Some),
        _ => Ok(None),
    }
}
