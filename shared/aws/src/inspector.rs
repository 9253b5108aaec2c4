//! Amazon Inspector's findings on an image, for enhanced scanning and for evidence.
//!
//! Amazon Inspector API Reference: `ListFindings`, `ListCoverage`, `BatchGetFindingDetails`. Findings are those of the
//! account that the role is in; where the registry belongs to another account, that one must have made it its delegated
//! administrator.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_inspector2::Client;
use aws_sdk_inspector2::error::BuildError;
use aws_sdk_inspector2::types::{
    CoverageFilterCriteria, CoverageStringComparison, CoverageStringFilter, CoveredResource, EpssDetails,
    ExploitAvailable, FilterCriteria, Finding, PackageVulnerabilityDetails, ScanStatus, ScanStatusCode,
    ScanStatusReason, StringComparison, StringFilter,
};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::Repository;
use portcullis_domain::policy::{Place, Severity};
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{PortError, PortResult};
use serde::Serialize;

use crate::error::found as why;
use crate::moment;
use crate::registry::address::Address;
use crate::registry::severity_named;
use crate::roles::{Clients, Roles};

/// Findings of one answer: the most that Inspector gives.
const PAGE: i32 = 100;
/// At most so many findings of one image are read. Past this the image is beyond judging by its list.
const MOST_FINDINGS: usize = 20_000;
/// Findings that details are asked for at once: the most that Inspector takes.
const DETAILS: usize = 10;

/// One open vulnerability of an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Vulnerability {
    /// The finding's own name.
    pub arn: String,
    /// How bad.
    pub severity: Severity,
    /// `CVE-…`, or the vendor's own id.
    pub id: String,
    /// What is affected.
    pub packages: Vec<AffectedPackage>,
    /// Whether an exploit is known to exist; none = Inspector does not say.
    pub exploit_available: Option<bool>,
    /// Probability of exploitation within 30 days (FIRST's EPSS), 0 to 1; none = not scored.
    pub epss: Option<f64>,
    /// When the CISA added it to its catalogue of known exploited vulnerabilities; none = it is not in it, or it was not
    /// asked ([`Inspector::look_up_exploitation`]).
    pub known_exploited_since: Option<Timestamp>,
    /// When it was first found in this image.
    pub first_observed_at: Option<Timestamp>,
}

/// A package with a vulnerability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AffectedPackage {
    /// Its name.
    pub name: String,
    /// The version in the image.
    pub version: String,
    /// The version without the vulnerability; none = there is none yet.
    pub fixed_in: Option<String>,
}

/// Whether Inspector watches an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Whether it is scanned again when a vulnerability becomes known.
    pub is_watched: bool,
    /// Whether its first scan is still to come or to end.
    pub is_pending: bool,
    /// When it was last scanned.
    pub last_scanned_at: Option<Timestamp>,
}

/// Amazon Inspector in all places.
#[derive(Debug)]
pub struct Inspector {
    clients: Clients<Client>,
}

/// What is known of an image beside the registry. Behind a trait, so that a function whose registry is not told of
/// Inspector does not link its client.
#[async_trait]
pub(crate) trait Watches: std::fmt::Debug + Send + Sync {
    /// Its open findings, and whether it is watched; none = it is not known.
    async fn look(
        &self,
        place: &Place,
        address: &Address,
        digest: &Digest,
    ) -> PortResult<(Vec<Vulnerability>, Option<Coverage>)>;
}

#[async_trait]
impl Watches for Inspector {
    async fn look(
        &self,
        place: &Place,
        address: &Address,
        digest: &Digest,
    ) -> PortResult<(Vec<Vulnerability>, Option<Coverage>)> {
        tokio::try_join!(self.findings_at(place, address, digest), self.coverage_at(place, address, digest))
    }
}

impl Inspector {
    /// Inspector, asked with each place's role in the region of the image's registry.
    pub fn new(roles: Arc<Roles>) -> Self {
        Self { clients: Clients::new(roles, Client::new) }
    }

    /// The open findings on an image by its digest, worst first. Suppressed and closed ones are not open.
    pub async fn findings(
        &self,
        place: &Place,
        repository: &Repository,
        digest: &Digest,
    ) -> PortResult<Vec<Vulnerability>> {
        self.findings_at(place, &Address::of(place, repository)?, digest).await
    }

    async fn findings_at(&self, place: &Place, address: &Address, digest: &Digest) -> PortResult<Vec<Vulnerability>> {
        let wrong = |found: String| PortError::new(format!("listing Inspector's findings on {digest}"), found);
        let client = self.clients.in_account(place, address.registry.as_deref(), address.region.as_deref())?;
        let filter = open_findings(address, digest).map_err(|error| wrong(error.to_string()))?;
        let mut pages = client.list_findings().filter_criteria(filter).into_paginator().page_size(PAGE).send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| wrong(why(&error)))?;
            found.extend(page.findings().iter().map(vulnerability));
            if found.len() > MOST_FINDINGS {
                return Err(wrong(format!("more than {MOST_FINDINGS} findings")));
            }
        }
        found.sort_by(|one, other| (one.severity, &one.id, &one.arn).cmp(&(other.severity, &other.id, &other.arn)));
        Ok(found)
    }

    /// Whether Inspector watches an image; none = it does not know it.
    pub async fn coverage(
        &self,
        place: &Place,
        repository: &Repository,
        digest: &Digest,
    ) -> PortResult<Option<Coverage>> {
        self.coverage_at(place, &Address::of(place, repository)?, digest).await
    }

    async fn coverage_at(&self, place: &Place, address: &Address, digest: &Digest) -> PortResult<Option<Coverage>> {
        let Some(arn) = address.image_arn(digest) else { return Ok(None) };
        let wrong = |found: String| PortError::new(format!("asking whether Inspector watches {digest}"), found);
        let client = self.clients.in_account(place, address.registry.as_deref(), address.region.as_deref())?;
        let equals = CoverageStringFilter::builder().comparison(CoverageStringComparison::Equals).value(&arn).build();
        let equals = equals.map_err(|error| wrong(error.to_string()))?;
        let filter = CoverageFilterCriteria::builder().resource_id(equals).build();
        let answer = client.list_coverage().filter_criteria(filter).send().await.map_err(|error| wrong(why(&error)))?;
        Ok(answer.covered_resources().iter().find(|one| one.resource_id() == arn).map(coverage))
    }

    /// Asks, for findings already listed, whether they are known to be exploited. One call for ten of them: ask for the
    /// worst only. Inspector's error on a single finding leaves that one as it is.
    pub async fn look_up_exploitation(
        &self,
        place: &Place,
        repository: &Repository,
        found: &mut [Vulnerability],
    ) -> PortResult<()> {
        let address = Address::of(place, repository)?;
        let client = self.clients.in_account(place, address.registry.as_deref(), address.region.as_deref())?;
        for some in found.chunks_mut(DETAILS) {
            let arns: Vec<String> = some.iter().map(|one| one.arn.clone()).collect();
            let answer =
                client.batch_get_finding_details().set_finding_arns(Some(arns)).send().await.map_err(|error| {
                    PortError::new(format!("asking what is exploited of {repository}"), why(&error))
                })?;
            for detail in answer.finding_details() {
                let Some(one) = some.iter_mut().find(|one| detail.finding_arn() == Some(one.arn.as_str())) else {
                    continue;
                };
                let since = detail.cisa_data().and_then(|cisa| cisa.date_added());
                one.known_exploited_since = since.and_then(moment::told);
                one.epss = one.epss.or(detail.epss_score());
            }
        }
        Ok(())
    }
}

/// Active findings on exactly this image of this repository: the same digest may be pushed to several.
fn open_findings(address: &Address, digest: &Digest) -> Result<FilterCriteria, BuildError> {
    let equals = |value: &str| StringFilter::builder().comparison(StringComparison::Equals).value(value).build();
    let mut filter = FilterCriteria::builder()
        .resource_type(equals("AWS_ECR_CONTAINER_IMAGE")?)
        .ecr_image_hash(equals(&digest.to_string())?)
        .ecr_image_repository_name(equals(&address.name)?)
        .finding_status(equals("ACTIVE")?);
    if let Some(registry) = &address.registry {
        filter = filter.ecr_image_registry(equals(registry)?);
    }
    Ok(filter.build())
}

fn vulnerability(one: &Finding) -> Vulnerability {
    let details = one.package_vulnerability_details();
    let id = details.map(PackageVulnerabilityDetails::vulnerability_id).or(one.title());
    let packages = details.map(PackageVulnerabilityDetails::vulnerable_packages);
    Vulnerability {
        arn: one.finding_arn().to_owned(),
        severity: severity_named(one.severity().as_str()),
        id: id.unwrap_or("unnamed").to_owned(),
        packages: packages
            .unwrap_or_default()
            .iter()
            .map(|package| AffectedPackage {
                name: package.name().to_owned(),
                version: package.version().to_owned(),
                // Inspector writes this where no version has the fix.
                fixed_in: package.fixed_in_version().filter(|version| *version != "NotAvailable").map(str::to_owned),
            })
            .collect(),
        exploit_available: match one.exploit_available() {
            Some(ExploitAvailable::Yes) => Some(true),
            Some(ExploitAvailable::No) => Some(false),
            _ => None,
        },
        epss: one.epss().map(EpssDetails::score),
        known_exploited_since: None,
        first_observed_at: moment::told(one.first_observed_at()),
    }
}

fn coverage(one: &CoveredResource) -> Coverage {
    let status = one.scan_status();
    let reason = status.map(ScanStatus::reason);
    Coverage {
        is_watched: status.is_some_and(|status| *status.status_code() == ScanStatusCode::Active)
            && reason == Some(&ScanStatusReason::Successful),
        is_pending: matches!(
            reason,
            Some(
                ScanStatusReason::PendingInitialScan
                    | ScanStatusReason::PendingRevivalScan
                    | ScanStatusReason::ScanInProgress
            )
        ),
        last_scanned_at: one.last_scanned_at().and_then(moment::told),
    }
}
