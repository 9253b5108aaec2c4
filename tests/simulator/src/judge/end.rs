//! What must be true when everything is over.

use portcullis_domain::digest::Digest;
use portcullis_domain::names::Seq;
use portcullis_domain::time::Millis;
use portcullis_engine::codec;
use portcullis_engine::perform::backup::BackupIndex;
use portcullis_engine::ports::{Blobs, Ledger};

use super::Ending;
use super::court::Court;
use crate::line::at_once;
use crate::run;

/// What was appended so long before the end has been told to every reader.
const TOLD: Millis = Millis::minutes(4);

/// Judges the end: the head, the backups, the readers, the releases, the cluster.
pub(super) fn judge(court: &mut Court<'_>, deserted: bool) -> Result<(), String> {
    let target = &court.policy.target;
    if let Some(head) = at_once(court.outside.ledger.head(target)).and_then(Result::ok).flatten() {
        if (head.version, head.chain) != (court.state.seq, court.chain) {
            return Err("the ledger does not end where its head says".to_owned());
        }
        let state = codec::decode_head(&head.snapshot).map_err(|error| format!("the head: {error}"))?;
        if state != court.state {
            return Err("the ledger does not fold into its head".to_owned());
        }
    }
    backups(court)?;
    readers(court)?;
    releases(court, deserted)?;
    cluster(court)
}

/// Invariant 6: every backup that was recorded is there, whole.
fn backups(court: &Court<'_>) -> Result<(), String> {
    let blobs = &court.outside.blobs;
    for (id, (key, hash)) in court.backups() {
        let missing = || format!("invariant 6: the backup of release {id} is not there");
        let bytes = at_once(blobs.get(key)).and_then(Result::ok).flatten().ok_or_else(missing)?;
        if Digest::of(&bytes) != *hash {
            return Err(format!("invariant 6: the backup of release {id} is not the one recorded"));
        }
        let index = BackupIndex::read(&bytes).map_err(|error| format!("invariant 6: the backup of {id}: {error}"))?;
        for file in &index.files {
            let stored = at_once(blobs.get(&file.key)).and_then(Result::ok).flatten();
            if stored.as_deref().map(Digest::of) != Some(file.sha256) {
                return Err(format!("invariant 6: {} of the backup of release {id} is not whole", file.key));
            }
        }
    }
    Ok(())
}

/// A reader is told every event in order, some twice, none never.
fn readers(court: &Court<'_>) -> Result<(), String> {
    let mut told = Seq(0);
    for notice in court.outside.notices.told() {
        if notice.event.seq.0 > told.0 + 1 {
            return Err(format!("a reader was told {} after {told}: one was skipped", notice.event.seq));
        }
        told = told.max(notice.event.seq);
    }
    let until = court.outside.hub.now() - TOLD;
    match court.events.iter().find(|event| event.seq > told && event.at < until) {
        Some(event) => Err(format!("a reader was never told {}", event.seq)),
        None => Ok(()),
    }
}

/// Invariant 7 (and 8, 9: whatever was lost, doubled or died): every release has ended, or a person is asked.
fn releases(court: &mut Court<'_>, deserted: bool) -> Result<(), String> {
    let now = court.outside.hub.now();
    let open: Vec<_> = court.state.releases.values().map(|release| (release.id, release.phase)).collect();
    for (id, phase) in open {
        // Nobody comes: the call is not forgotten, it gets louder at a moment that is ahead.
        let called = court.state.releases[&id].asking.as_ref().is_some_and(|asking| asking.until + TOLD > now);
        let held = court.state.releases[&id].paused;
        if !(deserted && (called || held)) {
            return Err(format!("invariant 7: release {id} is still {}, whoever was asked", phase.name()));
        }
        if let Some(docket) = court.dockets.get_mut(&id) {
            docket.ending = Some(Ending::NeedsPerson);
        }
    }
    match court.dockets.iter().find(|(_, docket)| docket.ending.is_none()) {
        Some((id, _)) => Err(format!("invariant 7: release {id} vanished without an end")),
        None => Ok(()),
    }
}

/// What serves is what the ledger says, unless somebody changed it by hand.
fn cluster(court: &Court<'_>) -> Result<(), String> {
    if court.state.in_flight.is_some() {
        return Ok(());
    }
    for service in run::services(court.policy).into_keys() {
        if court.disturbed.contains(&service) {
            continue;
        }
        let Some(live) = court.state.live.get(&service) else { continue };
        let serves = court.serves(&service);
        if serves != Some(live.digest) {
            return Err(format!(
                "the ledger says that {service} serves {}, the cluster serves {serves:?}",
                live.digest
            ));
        }
    }
    Ok(())
}
