//! Findings after a release serves: undone if what served before is better, else a person is asked.

use std::collections::BTreeMap;

use super::Draft;
use crate::action::{Action, Look};
use crate::digest::Digest;
use crate::event::{Reason, What};
use crate::facts::{Artifact, Facts, ScanFact, ScanStatus};
use crate::gate::uncounted;
use crate::names::{ReleaseId, ServiceName};
use crate::policy::{Policy, Severity};
use crate::target::{Phase, Release};
use crate::time::Millis;

/// How often the scans of what serves are looked at where no message tells of a change.
const LOOK: Millis = Millis::hours(1);

/// Something that was found in what serves and was not known when its gates held.
struct News {
    service: ServiceName,
    digest: Digest,
    finding: String,
    severity: Severity,
    before_has_it: Option<bool>,
}

impl Draft<'_> {
    /// A release that serves and is still watched, or in its window, has its scans looked at from time to time.
    pub(super) fn keep_scanning(&mut self, id: ReleaseId, policy: &Policy) {
        let Some(release) = self.release(id) else { return };
        if policy.roll_back.vulnerability.is_none()
            || self.is_outstanding(id, |action| matches!(action, Action::Look(_)))
        {
            return;
        }
        let digests = brought(release).map(|(service, artifact)| (service, artifact.digest));
        let before = release.before.iter().map(|(service, serving)| (service, serving.digest));
        let images: BTreeMap<_, _> = digests
            .chain(before)
            .filter_map(|(service, digest)| Some((digest, policy.service(service)?.repository.clone())))
            .collect();
        let look = Look { images, scans: true, ..Look::default() };
        self.intend(id, Action::Look(look), Some(LOOK), Millis::days(365));
    }

    /// The scans of what serves were read.
    pub(super) fn look_for_vulnerabilities(&mut self, id: ReleaseId, facts: &Facts) {
        let Some(release) = self.release(id) else { return };
        if !matches!(release.phase, Phase::Watching | Phase::Live) {
            return;
        }
        let policy = self.policy_of(id);
        let Some(limit) = policy.roll_back.vulnerability else { return };
        let is_waived = uncounted(policy.gates.scan.as_ref(), self.now());
        let Some(news) = news(release, facts, limit, &is_waived) else { return };
        let News { service, digest, finding, severity, before_has_it } = news;
        self.push(What::VulnerabilityFound {
            release: id,
            service: service.clone(),
            digest,
            finding: finding.clone(),
            severity,
            before_has_it,
        });
        if before_has_it == Some(false) {
            self.begin_rollback(id, Reason::Vulnerability { service, finding, severity });
            return;
        }
        let before = match before_has_it {
            Some(_) => "what served before has it too",
            None => "nobody can say whether what served before has it",
        };
        if self.release(id).is_some_and(|release| release.asking.is_none()) {
            let why = format!("{severity} vulnerability in {service}: {finding}; {before}. Roll it back or promote it");
            self.ask(id, why);
        }
    }

    /// A message says something bad of what serves, and no release that brought it is there any more to look at it, or
    /// to be undone.
    pub(super) fn note_vulnerable(&mut self, digest: &Digest, counts: &BTreeMap<Severity, u32>) {
        let Some(limit) = self.policy.roll_back.vulnerability else { return };
        let Some((severity, count)) = counts.iter().find(|(severity, count)| **severity <= limit && **count > 0) else {
            return;
        };
        let serves: Vec<ServiceName> = self
            .target()
            .live
            .iter()
            .filter(|(service, serving)| {
                let told = self.target().vulnerable.get(*service) == Some(digest);
                let watched = |release: &Release| {
                    matches!(release.phase, Phase::Watching | Phase::Live)
                        && brought(release).any(|(_, artifact)| artifact.digest == *digest)
                };
                serving.digest == *digest && !told && !self.target().releases.values().any(watched)
            })
            .map(|(service, _)| service.clone())
            .collect();
        for service in serves {
            let why = format!("a scan is said to have {count} {severity} in {}, which serves", digest.short());
            self.push(What::LiveVulnerable { service, digest: *digest, why });
        }
    }
}

/// The images that are new with a release; the others were kept from the one before.
fn brought(release: &Release) -> impl Iterator<Item = (&ServiceName, &Artifact)> {
    release.artifacts.iter().filter(|(_, artifact)| !artifact.kept)
}

/// The worst finding at or above the limit that is new, not waived, and in an image that the release brought.
fn news(release: &Release, facts: &Facts, limit: Severity, is_waived: &impl Fn(&str) -> bool) -> Option<News> {
    let found = brought(release).filter_map(|(service, artifact)| {
        let scan = facts.scans.get(&artifact.digest).filter(|scan| scan.status == ScanStatus::Complete)?;
        let (severity, finding) = worst(release, scan, limit, is_waived)?;
        let before = release.before.get(service).and_then(|serving| facts.scans.get(&serving.digest));
        let before_has_it = before
            .filter(|scan| scan.status == ScanStatus::Complete)
            .map(|scan| has(scan, &finding, severity, is_waived));
        let (service, digest) = (service.clone(), artifact.digest);
        Some(News { service, digest, finding, severity, before_has_it })
    });
    found.min_by_key(|news| news.severity)
}

fn worst(
    release: &Release,
    scan: &ScanFact,
    limit: Severity,
    is_waived: &impl Fn(&str) -> bool,
) -> Option<(Severity, String)> {
    let bad = scan.findings.iter().filter(|finding| finding.severity <= limit);
    let new = bad.filter(|finding| !is_waived(&finding.id) && !release.findings.contains(&finding.id));
    if let Some(finding) = new.min_by_key(|finding| finding.severity) {
        return Some((finding.severity, finding.id.clone()));
    }
    // A scanner that names no findings: more than the plan was made on is news.
    let planned =
        |severity: &Severity| release.plan.as_ref().and_then(|plan| plan.evidence.get(severity)).copied().unwrap_or(0);
    let nameless = |severity: &Severity| !scan.findings.iter().any(|finding| finding.severity == *severity);
    scan.counts
        .iter()
        .filter(|(severity, count)| **severity <= limit && nameless(severity) && **count > planned(severity))
        .map(|(severity, count)| (*severity, format!("{count} {severity}")))
        .find(|(_, finding)| !release.findings.contains(finding))
}

/// Whether what served before has the finding, or one as bad, too.
fn has(scan: &ScanFact, finding: &str, severity: Severity, is_waived: &impl Fn(&str) -> bool) -> bool {
    if scan.findings.iter().any(|known| known.id == finding) {
        return true;
    }
    let named = scan.findings.iter().filter(|known| known.severity <= severity);
    let waived = named.filter(|known| is_waived(&known.id)).count();
    let all: u32 = scan.counts.iter().filter(|(known, _)| **known <= severity).map(|(_, count)| count).sum();
    usize::try_from(all).unwrap_or(usize::MAX) > waived
}
