//! An image's scan: basic and enhanced, of one image or of every platform of an index.
//!
//! Amazon ECR API Reference, `DescribeImageScanFindings` and `ImageScanStatus`; Amazon ECR User Guide, "Scan images for
//! software vulnerabilities". Severities without a finding are left out of the counts: absent is zero, once complete.

use std::collections::BTreeMap;

use aws_sdk_ecr::operation::describe_image_scan_findings::{
    DescribeImageScanFindingsError, DescribeImageScanFindingsOutput,
};
use aws_sdk_ecr::types::{
    EnhancedImageScanFinding, ImageIdentifier, ImageScanFinding, ImageScanStatus, PackageVulnerabilityDetails,
    ScanStatus as Told,
};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{Finding, ScanFact, ScanStatus};
use portcullis_domain::policy::Severity;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortError, PortResult};

use super::Asked;
use crate::error::found as why;
use crate::inspector::{Coverage, Vulnerability, Watches};
use crate::moment;

/// Findings of one answer: the most that ECR gives.
const PAGE: i32 = 1_000;
/// At most so many findings of an image are told, the worst.
const MOST_FINDINGS: usize = 50;
/// Longest id of a finding and longest name of its package, in characters.
const LONGEST_ID: usize = 60;
const LONGEST_PACKAGE: usize = 100;

/// What is known of one image's scan, before it is cut to what a fact holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scan {
    status: ScanStatus,
    completed_at: Option<Timestamp>,
    /// What the scanner counted.
    counts: BTreeMap<Severity, u32>,
    /// Every finding it named, and how often.
    named: BTreeMap<Finding, u32>,
}

/// What ECR told, page by page.
#[derive(Default)]
struct Pages {
    status: Option<ImageScanStatus>,
    completed_at: Option<Timestamp>,
    has_findings: bool,
    counts: BTreeMap<Severity, u32>,
    basic: Vec<Finding>,
    /// Enhanced findings by their ARN, so that one that Inspector names too is counted once.
    enhanced: BTreeMap<String, Finding>,
    is_enhanced: bool,
}

impl Asked<'_> {
    /// The scan of an image. ECR scans no index: where it says nothing of one, its platforms are asked for, and each must
    /// be scanned.
    pub(super) async fn scan(&self, inspector: Option<&dyn Watches>, digest: &Digest) -> PortResult<ScanFact> {
        let own = self.scan_of(inspector, digest).await?;
        if matches!(own.status, ScanStatus::Complete | ScanStatus::InProgress) {
            return Ok(own.fact());
        }
        let Some(platforms) = self.platforms(digest).await? else { return Ok(own.fact()) };
        let mut scans = Vec::with_capacity(platforms.len());
        for platform in &platforms {
            scans.push(self.scan_of(inspector, platform).await?);
        }
        Ok(Scan::of_all(&scans).fact())
    }

    async fn scan_of(&self, inspector: Option<&dyn Watches>, digest: &Digest) -> PortResult<Scan> {
        let Some(mut pages) = self.pages(digest).await? else { return Ok(Scan::missing()) };
        let is_active = matches!(pages.status.as_ref().and_then(|told| told.status()), Some(Told::Active));
        let mut coverage = None;
        if (pages.is_enhanced || is_active)
            && let Some(inspector) = inspector
        {
            let (found, covered) = inspector.look(self.place, &self.address, digest).await?;
            for one in found {
                pages.enhanced.insert(one.arn.clone(), finding(&one));
            }
            coverage = covered;
        }
        Ok(pages.scan(is_active, coverage.as_ref()))
    }

    /// All pages of what ECR tells; none = it has no scan of this image.
    async fn pages(&self, digest: &Digest) -> PortResult<Option<Pages>> {
        let mut answers = self
            .client
            .describe_image_scan_findings()
            .set_registry_id(self.address.registry.clone())
            .repository_name(&self.address.name)
            .image_id(ImageIdentifier::builder().image_digest(digest.to_string()).build())
            .into_paginator()
            .page_size(PAGE)
            .send();
        let mut pages = Pages::default();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(answer) => pages.add(&answer),
                Err(error) if is_not_there(error.as_service_error()) => return Ok(None),
                Err(error) => {
                    let doing = format!("reading the scan of {digest} of {}", self.repository);
                    return Err(PortError::new(doing, why(&error)));
                }
            }
        }
        Ok(Some(pages))
    }
}

/// Whether there is no scan, or nothing that could have one.
fn is_not_there(error: Option<&DescribeImageScanFindingsError>) -> bool {
    matches!(
        error,
        Some(
            DescribeImageScanFindingsError::ScanNotFoundException(_)
                | DescribeImageScanFindingsError::ImageNotFoundException(_)
                | DescribeImageScanFindingsError::RepositoryNotFoundException(_)
        )
    )
}

impl Pages {
    fn add(&mut self, answer: &DescribeImageScanFindingsOutput) {
        self.status = answer.image_scan_status.clone().or(self.status.take());
        let Some(found) = &answer.image_scan_findings else { return };
        self.has_findings = true;
        self.completed_at = self.completed_at.max(found.image_scan_completed_at.as_ref().and_then(moment::told));
        // Every page repeats the counts of the whole scan.
        for (severity, count) in found.finding_severity_counts.iter().flatten() {
            let count = u32::try_from(*count).unwrap_or(0);
            let known = self.counts.entry(severity_named(severity.as_str())).or_default();
            *known = count.max(*known);
        }
        self.basic.extend(found.findings().iter().map(basic));
        self.is_enhanced |= found.enhanced_findings.is_some();
        for one in found.enhanced_findings() {
            // What is closed is no longer there; what a suppression rule hides, ECR may still count.
            if one.status().is_none_or(|status| status == "ACTIVE") {
                let (arn, finding) = enhanced(one);
                self.enhanced.insert(arn, finding);
            }
        }
    }

    fn scan(self, is_active: bool, coverage: Option<&Coverage>) -> Scan {
        let mut status = status(self.status.as_ref(), self.has_findings);
        let mut completed_at = self.completed_at;
        if let Some(coverage) = coverage.filter(|_| is_active) {
            // A watched image is scanned again with every new vulnerability; ECR tells when the first scan was made.
            if coverage.is_pending {
                status = ScanStatus::InProgress;
            } else if coverage.is_watched {
                completed_at = completed_at.max(coverage.last_scanned_at);
            }
        }
        let mut named: BTreeMap<Finding, u32> = BTreeMap::new();
        for finding in self.basic.into_iter().chain(self.enhanced.into_values()) {
            *named.entry(finding).or_default() += 1;
        }
        Scan { status, completed_at, counts: self.counts, named }
    }
}

impl Scan {
    fn missing() -> Self {
        Self { status: ScanStatus::Missing, completed_at: None, counts: BTreeMap::new(), named: BTreeMap::new() }
    }

    /// The scan of an index: as complete as the least complete, as old as the oldest, with the findings of all. A finding
    /// that several platforms share counts once.
    fn of_all(scans: &[Scan]) -> Self {
        let rank = |status: ScanStatus| match status {
            ScanStatus::Failed => 0,
            ScanStatus::Unsupported => 1,
            ScanStatus::Missing => 2,
            ScanStatus::InProgress => 3,
            ScanStatus::Complete => 4,
        };
        let status = scans.iter().map(|scan| scan.status).min_by_key(|status| rank(*status));
        // `None` is less than any moment, so that one scan without a moment leaves all without one.
        let completed_at = scans.iter().map(|scan| scan.completed_at).min().flatten();
        let mut named: BTreeMap<Finding, u32> = BTreeMap::new();
        for (finding, count) in scans.iter().flat_map(|scan| &scan.named) {
            let known = named.entry(finding.clone()).or_default();
            *known = (*known).max(*count);
        }
        // What a platform's scanner counted and did not name may be different on each.
        let mut counts = tally(&named);
        for scan in scans {
            let told = tally(&scan.named);
            for (severity, count) in &scan.counts {
                let unnamed = count.saturating_sub(told.get(severity).copied().unwrap_or(0));
                *counts.entry(*severity).or_default() += unnamed;
            }
        }
        Self { status: status.unwrap_or(ScanStatus::Missing), completed_at, counts, named }
    }

    /// Cut to what a fact holds. More counted than named or more named than counted: the worse of both.
    fn fact(self) -> ScanFact {
        let mut counts = self.counts;
        for (severity, count) in tally(&self.named) {
            let known = counts.entry(severity).or_default();
            *known = (*known).max(count);
        }
        counts.retain(|_, count| *count > 0);
        let each = self.named.into_iter().flat_map(|(finding, count)| (0..count).map(move |_| finding.clone()));
        ScanFact {
            status: self.status,
            completed_at: self.completed_at,
            counts,
            findings: each.take(MOST_FINDINGS).collect(),
        }
    }
}

fn tally(named: &BTreeMap<Finding, u32>) -> BTreeMap<Severity, u32> {
    let mut counts = BTreeMap::new();
    for (finding, count) in named {
        *counts.entry(finding.severity).or_default() += count;
    }
    counts
}

/// What ECR's word for a scan's state means for a gate. A word that we do not know is no pass.
fn status(told: Option<&ImageScanStatus>, has_findings: bool) -> ScanStatus {
    let Some(word) = told.and_then(|told| told.status()) else {
        return if has_findings { ScanStatus::Complete } else { ScanStatus::Missing };
    };
    // Basic scanning says FAILED of a system it does not know, and why only in the description.
    let unreadable = told.and_then(|told| told.description()).is_some_and(|text| text.starts_with("UnsupportedImage"));
    match word {
        Told::Complete => ScanStatus::Complete,
        // Continuous scanning is on; without any findings object the first result has not come.
        Told::Active if has_findings => ScanStatus::Complete,
        Told::Active | Told::InProgress | Told::Pending => ScanStatus::InProgress,
        Told::UnsupportedImage => ScanStatus::Unsupported,
        Told::Failed if unreadable => ScanStatus::Unsupported,
        // Nobody looks for new vulnerabilities in it any more.
        Told::ScanEligibilityExpired | Told::ImageArchived => ScanStatus::Missing,
        _ => ScanStatus::Failed,
    }
}

/// A severity by ECR's (`UNDEFINED`) or Inspector's (`UNTRIAGED`) name; an unknown one is not lost.
pub(crate) fn severity_named(name: &str) -> Severity {
    match name {
        "CRITICAL" => Severity::Critical,
        "HIGH" => Severity::High,
        "MEDIUM" => Severity::Medium,
        "LOW" => Severity::Low,
        "INFORMATIONAL" => Severity::Informational,
        _ => Severity::Undefined,
    }
}

fn cut(severity: Severity, id: &str, package: &str) -> Finding {
    let part = |text: &str, most| text.chars().filter(|c| !c.is_control()).take(most).collect();
    Finding { severity, id: part(id, LONGEST_ID), package: part(package, LONGEST_PACKAGE) }
}

fn basic(one: &ImageScanFinding) -> Finding {
    let severity = severity_named(one.severity().map_or("UNDEFINED", |severity| severity.as_str()));
    let package = one.attributes().iter().find(|attribute| attribute.key() == "package_name");
    cut(severity, one.name().unwrap_or("unnamed"), package.and_then(|found| found.value()).unwrap_or_default())
}

/// One finding stays one, however many packages it names: a waiver of its id takes exactly one from the count.
fn enhanced(one: &EnhancedImageScanFinding) -> (String, Finding) {
    let details = one.package_vulnerability_details();
    let id = details.and_then(|details| details.vulnerability_id()).or(one.title()).unwrap_or("unnamed");
    let packages = details.map(PackageVulnerabilityDetails::vulnerable_packages).unwrap_or_default();
    let names = packages.iter().filter_map(|package| package.name());
    let finding = cut(severity_named(one.severity().unwrap_or_default()), id, &joined(names));
    // Without an ARN it can only be told apart by what it says.
    let arn = one
        .finding_arn()
        .map_or_else(|| format!("{} {} {}", finding.severity, finding.id, finding.package), str::to_owned);
    (arn, finding)
}

fn finding(one: &Vulnerability) -> Finding {
    cut(one.severity, &one.id, &joined(one.packages.iter().map(|package| package.name.as_str())))
}

/// Names, each once, in the order given.
fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut known = Vec::new();
    for name in names {
        if known.contains(&name) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name);
        known.push(name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(word: Told, description: Option<&str>) -> ImageScanStatus {
        ImageScanStatus::builder().status(word).set_description(description.map(str::to_owned)).build()
    }

    #[test]
    fn only_a_finished_scan_reads_complete() {
        for (word, with_findings, without) in [
            (Told::Complete, ScanStatus::Complete, ScanStatus::Complete),
            (Told::Active, ScanStatus::Complete, ScanStatus::InProgress),
            (Told::Pending, ScanStatus::InProgress, ScanStatus::InProgress),
            (Told::InProgress, ScanStatus::InProgress, ScanStatus::InProgress),
            (Told::Failed, ScanStatus::Failed, ScanStatus::Failed),
            (Told::UnsupportedImage, ScanStatus::Unsupported, ScanStatus::Unsupported),
            (Told::FindingsUnavailable, ScanStatus::Failed, ScanStatus::Failed),
            (Told::LimitExceeded, ScanStatus::Failed, ScanStatus::Failed),
            (Told::ScanEligibilityExpired, ScanStatus::Missing, ScanStatus::Missing),
            (Told::ImageArchived, ScanStatus::Missing, ScanStatus::Missing),
            (Told::from("A_NEW_WORD"), ScanStatus::Failed, ScanStatus::Failed),
        ] {
            let told = told(word, None);
            assert_eq!(status(Some(&told), true), with_findings, "{told:?}");
            assert_eq!(status(Some(&told), false), without, "{told:?}");
        }
        assert_eq!(status(None, false), ScanStatus::Missing);
        let unreadable = told(Told::Failed, Some("UnsupportedImageError: The operating system is not supported."));
        assert_eq!(status(Some(&unreadable), false), ScanStatus::Unsupported);
    }

    fn high(id: &str) -> Finding {
        cut(Severity::High, id, "openssl")
    }

    fn scan(status: ScanStatus, at: u64, high_counted: u32, named: &[&str]) -> Scan {
        Scan {
            status,
            completed_at: Some(Timestamp(at)),
            counts: BTreeMap::from([(Severity::High, high_counted)]),
            named: named.iter().map(|id| (high(id), 1)).collect(),
        }
    }

    #[test]
    fn an_index_is_as_scanned_as_its_least_scanned_platform() {
        let arm = scan(ScanStatus::Complete, 2_000, 1, &["CVE-1"]);
        let amd = scan(ScanStatus::Complete, 1_000, 2, &["CVE-1", "CVE-2"]);
        let both = Scan::of_all(&[arm.clone(), amd]).fact();
        assert_eq!(both.status, ScanStatus::Complete);
        assert_eq!(both.completed_at, Some(Timestamp(1_000)));
        assert_eq!(both.counts, BTreeMap::from([(Severity::High, 2)]), "a shared finding counts once");
        assert_eq!(both.findings, [high("CVE-1"), high("CVE-2")]);
        let unscanned = Scan::of_all(&[arm, Scan::missing()]).fact();
        assert_eq!((unscanned.status, unscanned.completed_at), (ScanStatus::Missing, None));
    }

    #[test]
    fn different_findings_of_two_platforms_are_not_one() {
        // Were they counted as the worse of both, waiving one of them would hide the other.
        let both =
            Scan::of_all(&[scan(ScanStatus::Complete, 1, 1, &["CVE-1"]), scan(ScanStatus::Complete, 1, 3, &["CVE-2"])]);
        assert_eq!(both.fact().counts, BTreeMap::from([(Severity::High, 4)]));
    }

    #[test]
    fn the_worse_of_what_is_counted_and_what_is_named_is_told() {
        let fewer_counted = scan(ScanStatus::Complete, 1, 0, &["CVE-1"]).fact();
        assert_eq!(fewer_counted.counts, BTreeMap::from([(Severity::High, 1)]));
        let more_counted = scan(ScanStatus::Complete, 1, 7, &["CVE-1"]).fact();
        assert_eq!(more_counted.counts, BTreeMap::from([(Severity::High, 7)]));
        assert_eq!(scan(ScanStatus::Complete, 1, 0, &[]).fact().counts, BTreeMap::new());
    }

    #[test]
    fn at_most_fifty_findings_are_told_the_worst_first() {
        let mut scan = scan(ScanStatus::Complete, 1, 0, &[]);
        scan.named.insert(cut(Severity::Low, "CVE-LOW", "zlib"), 60);
        scan.named.insert(cut(Severity::Critical, "CVE-CRITICAL", "zlib"), 1);
        let fact = scan.fact();
        assert_eq!(fact.findings.len(), MOST_FINDINGS);
        assert_eq!(fact.findings[0].id, "CVE-CRITICAL");
        assert_eq!(fact.counts, BTreeMap::from([(Severity::Critical, 1), (Severity::Low, 60)]));
    }
}
