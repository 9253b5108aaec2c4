//! Fetching the facts of the gates: everything at once, and what could not be fetched by name.

use std::collections::BTreeMap;

use portcullis_domain::action::{Bundle, Look, Outcome};
use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{BundleFact, Facts, ImageFact, Promoted, ScanFact, Verified};
use portcullis_domain::names::{EnvName, Repository, ServiceName, TargetId};
use portcullis_domain::policy::Place;
use tokio::task::JoinSet;

use super::cut;
use crate::ports::{Bundled, PortError, PortResult, Ports};
use crate::{bundles, codec};

/// Tags kept per image, and findings per scan.
const MOST_TAGS: usize = 100;
const MOST_FINDINGS: usize = 50;
/// Verified releases of another environment that are kept.
const MOST_VERIFIED: usize = 10;

/// Fetches the facts. It never fails as a whole: each source that could not be asked is named in `missing`.
pub(super) async fn look(ports: &Ports, target: &TargetId, place: &Place, ask: &Look) -> Outcome {
    let mut facts = Facts { fetched_at: ports.clock.now(), ..Facts::default() };
    let (images, commit, alarms, objects, manifests, given, room, promoted) = tokio::join!(
        images(ports, place, &ask.images, ask.scans),
        commit(ports, target, ask),
        async {
            if ask.alarms.is_empty() { Ok(BTreeMap::new()) } else { ports.metrics.alarms(place, &ask.alarms).await }
        },
        async {
            if ask.services.is_empty() {
                Ok(BTreeMap::new())
            } else {
                ports.cluster.observe(target, place, &ask.services).await
            }
        },
        async {
            if ask.services.is_empty() {
                Ok(BTreeMap::new())
            } else {
                ports.cluster.manifests(target, place, &ask.services).await
            }
        },
        given(ports, target, ask),
        async { if ask.services.is_empty() { Ok(None) } else { ports.cluster.room(target, place).await } },
        promoted(ports, target, ask.promoted_from.as_ref()),
    );
    for (digest, image, scan) in images {
        if let Some(Some(mut image)) = or_missing(&mut facts, "registry", image) {
            image.tags = image.tags.into_iter().take(MOST_TAGS).collect();
            facts.images.insert(digest, image);
        }
        if let Some(scan) = scan
            && let Some(mut scan) = or_missing(&mut facts, "scan", scan)
        {
            scan.findings.truncate(MOST_FINDINGS);
            facts.scans.insert(digest, scan);
        }
    }
    if let Some(found) = or_missing(&mut facts, "source", commit) {
        facts.commit = found;
    }
    if let Some(found) = or_missing(&mut facts, "alarms", alarms) {
        facts.alarms = found;
    }
    if let Some(found) = or_missing(&mut facts, "cluster", objects) {
        facts.objects = found;
    }
    if let Some(found) = or_missing(&mut facts, "manifests", manifests) {
        facts.manifests = found;
    }
    if let Some(given) = or_missing(&mut facts, "manifests", given).filter(|given| !given.is_empty()) {
        let made = bundled(ports, target, place, given, &mut facts).await;
        or_missing(&mut facts, "manifests", made);
    }
    if let Some(found) = or_missing(&mut facts, "room", room) {
        facts.room = found;
    }
    if let Some(found) = or_missing(&mut facts, "promotion", promoted) {
        facts.promoted = found;
    }
    Outcome::Facts(Box::new(facts))
}

/// Bundles by service, each with its text.
type Given = BTreeMap<ServiceName, (Bundle, String)>;

/// The manifests that were given with the commit.
async fn given(ports: &Ports, target: &TargetId, ask: &Look) -> PortResult<Given> {
    let Some(commit) = ask.commit.as_ref().filter(|_| !ask.services.is_empty()) else { return Ok(Given::new()) };
    let mut given = bundles::of_commit(&*ports.blobs, target, commit).await?;
    given.retain(|service, _| ask.services.contains(service));
    Ok(given)
}

/// Puts what they come to in place of what is live.
async fn bundled(ports: &Ports, target: &TargetId, place: &Place, given: Given, facts: &mut Facts) -> PortResult<()> {
    let (bundles, texts): (BTreeMap<_, _>, BTreeMap<_, _>) =
        given.into_iter().map(|(service, (bundle, text))| ((service.clone(), bundle), (service, text))).unzip();
    let made = ports.cluster.bundles(target, place, &texts, &mut facts.objects).await?;
    for (service, bundle) in bundles {
        let Some(Bundled { hash, differs, serves }) = made.get(&service).copied() else { continue };
        facts.manifests.insert(service.clone(), hash);
        facts.bundles.insert(service, BundleFact { bundle, differs, serves });
    }
    Ok(())
}

/// What another environment of the application verified: read from its ledger, which is the truth, at this moment.
async fn promoted(ports: &Ports, target: &TargetId, from: Option<&EnvName>) -> PortResult<Option<Promoted>> {
    let Some(environment) = from else { return Ok(None) };
    let other = TargetId { app: target.app.clone(), env: environment.clone() };
    let Some(head) = ports.ledger.head(&other).await? else {
        return Ok(Some(Promoted { environment: environment.clone(), verified: Vec::new() }));
    };
    let state = codec::decode_head(&head.snapshot)
        .map_err(|error| PortError::new(format!("reading what {other} verified"), error))?;
    let verified = state.ended.into_iter().filter(|ended| ended.verified).map(|ended| Verified {
        release: ended.release,
        commit: ended.commit,
        tree: ended.tree,
        at: ended.at,
        digests: ended.digests,
    });
    Ok(Some(Promoted { environment: environment.clone(), verified: verified.take(MOST_VERIFIED).collect() }))
}

/// What was fetched; a failure is noted under its source, the first of each.
fn or_missing<T>(facts: &mut Facts, source: &str, fetched: PortResult<T>) -> Option<T> {
    match fetched {
        Ok(found) => Some(found),
        Err(error) => {
            facts.missing.entry(source.to_owned()).or_insert_with(|| cut(&error.to_string()));
            None
        }
    }
}

type AboutImage = (Digest, PortResult<Option<ImageFact>>, Option<PortResult<ScanFact>>);

/// Asks the registry for every image, all at once; in the order of their digests.
async fn images(ports: &Ports, place: &Place, wanted: &BTreeMap<Digest, Repository>, scans: bool) -> Vec<AboutImage> {
    let mut tasks = JoinSet::new();
    for (digest, repository) in wanted {
        let (registry, place) = (ports.registry.clone(), place.clone());
        let (digest, repository) = (*digest, repository.clone());
        tasks.spawn(async move {
            let scan = async { if scans { Some(registry.scan(&place, &repository, &digest).await) } else { None } };
            let (image, scan) = tokio::join!(registry.image(&place, &repository, &digest), scan);
            (digest, image, scan)
        });
    }
    let mut found = tasks.join_all().await;
    found.sort_by_key(|(digest, ..)| *digest);
    found
}

async fn commit(
    ports: &Ports,
    target: &TargetId,
    ask: &Look,
) -> PortResult<Option<portcullis_domain::facts::CommitFacts>> {
    let Some(commit) = &ask.commit else { return Ok(None) };
    let policy = ports.policies.get(target);
    let repository = policy.as_ref().and_then(|policy| policy.source.as_deref());
    ports.source.commit(repository, commit, &ask.since, &ask.sources).await
}
