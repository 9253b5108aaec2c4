//! How long a rollback took, as those saw it whose requests failed: from the moment at which the alarm rang until traffic
//! was back. Told as the metric `alarm_to_restored`, in seconds.
//!
//! The ledger has both ends. The way back names its alarm (`RollbackBegan`), and the same append says since when that
//! rang (`AlarmSeen`), by the alarm's own clock. An alarm whose all-clear was recorded before it changes nothing that is
//! known of it, so it has no `AlarmSeen` of its own: then the time runs from the beginning of the way back. A rollback
//! for another reason, a person's word for one, is not told.
//!
//! A notice may come twice, and then the metric is told twice: the same value at the same moment.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_domain::event::{Event, Reason, What};
use portcullis_domain::facts::AlarmState;
use portcullis_domain::names::{ReleaseId, Seq, TargetId};
use portcullis_domain::time::Timestamp;
use portcullis_engine::codec::Commit;
use portcullis_engine::ports::{Ledger, Notice, Notices, PortError, PortResult};

use crate::health::{self, Metric};

/// The reader's name: its cursors are kept under it.
pub const READER: &str = "restored";
/// Events that are looked through at a time, backwards: a way back of ten services takes fewer.
const WINDOW: u64 = 200;

/// Tells the metric for each rollback that an alarm began.
pub struct Restored {
    ledger: Arc<dyn Ledger>,
    function: &'static str,
}

impl Restored {
    /// Tells it as a metric of this function.
    pub fn new(ledger: Arc<dyn Ledger>, function: &'static str) -> Self {
        Self { ledger, function }
    }
}

#[async_trait]
impl Notices for Restored {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let What::RolledBack { release, restored_at } = notice.event.what else { return Ok(()) };
        let Some(rang) = rang_at(self.ledger.as_ref(), &notice.target, release, notice.event.seq).await? else {
            return Ok(());
        };
        let took = restored_at.since(rang);
        health::tell(restored_at, self.function, &[Metric::seconds("alarm_to_restored", took)]);
        tracing::info!(target = %notice.target, release = release.0, %took, "an alarm was answered");
        Ok(())
    }
}

/// What a way back began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Began {
    /// An alarm, which rang at this moment.
    ByAlarm(Timestamp),
    /// Anything else.
    Otherwise,
}

/// When the alarm rang for which a release was rolled back; none = it was for another reason. `back` is where the ledger
/// says that it is back: its way back began before.
async fn rang_at(
    ledger: &dyn Ledger,
    target: &TargetId,
    release: ReleaseId,
    back: Seq,
) -> PortResult<Option<Timestamp>> {
    let most = usize::try_from(WINDOW).unwrap_or(usize::MAX);
    let mut end = back;
    while end > Seq(0) {
        let after = Seq(end.0.saturating_sub(WINDOW));
        let commits = ledger.commits(target, after, most).await?;
        for commit in commits.iter().rev().filter(|commit| commit.first <= end) {
            let commit = Commit::decode(&commit.bytes)
                .map_err(|error| PortError::new(format!("reading the ledger of {target}"), error))?;
            match began(&commit.events, release) {
                Some(Began::ByAlarm(rang)) => return Ok(Some(rang)),
                Some(Began::Otherwise) => return Ok(None),
                None => {}
            }
        }
        end = after;
    }
    Ok(None)
}

/// What the way back of a release began with, if it began with the events of this append.
fn began(events: &[Event], release: ReleaseId) -> Option<Began> {
    let of_release = |event: &Event| matches!(event.what, What::RollbackBegan { release: of, .. } if of == release);
    let at = events.iter().rposition(of_release)?;
    let What::RollbackBegan { why: Reason::Alarm { alarm, .. }, .. } = &events[at].what else {
        return Some(Began::Otherwise);
    };
    let rang = events[..at].iter().rev().find_map(|event| match &event.what {
        What::AlarmSeen { alarm: seen, fact } if seen == alarm && fact.state == AlarmState::Alarm => {
            Some(fact.changed_at)
        }
        _ => None,
    });
    Some(Began::ByAlarm(rang.unwrap_or(events[at].at)))
}

#[cfg(test)]
mod tests {
    use portcullis_domain::time::Millis;
    use portcullis_engine::memory::World;

    use super::*;

    /// A world in which a release is watched.
    async fn watched() -> World {
        let mut world = World::new();
        world.push_all(1).await;
        world.run_until_phase("gated").await;
        world.approve("kofi").await;
        world.run_until_phase("watching").await;
        world
    }

    /// Lets the way back come to its end; where it is in the ledger, and when the alarm rang by it.
    async fn rolled_back(world: &mut World) -> (Event, Option<Timestamp>) {
        let release = world.newest().await;
        world.run_until(Millis::hours(1), "rolled back", |state| !state.releases.contains_key(&release)).await;
        let events = world.events().await;
        let back = events.into_iter().find(|event| matches!(event.what, What::RolledBack { .. })).unwrap();
        let rang = rang_at(world.ledger.as_ref(), &world.target, release, back.seq).await.unwrap();
        (back, rang)
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_runs_from_the_alarms_own_moment() {
        let mut world = watched().await;
        let rang = world.clock.now();
        world.alarm("shop-errors", AlarmState::Alarm).await;
        let (back, found) = rolled_back(&mut world).await;
        assert_eq!(found, Some(rang));
        let What::RolledBack { restored_at, .. } = back.what else { panic!("{back:?}") };
        assert!(restored_at >= rang);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rollback_that_a_person_wanted_answers_no_alarm() {
        let mut world = watched().await;
        world.roll_back("kofi").await;
        assert_eq!(rolled_back(&mut world).await.1, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_beginning_is_found_however_long_the_way_back_was() {
        let mut world = watched().await;
        let rang = world.clock.now();
        world.alarm("shop-errors", AlarmState::Alarm).await;
        let (back, _) = rolled_back(&mut world).await;
        let release = back.what.release().unwrap();
        let far = Seq(back.seq.0 + 3 * WINDOW);
        let found = rang_at(world.ledger.as_ref(), &world.target, release, far).await.unwrap();
        assert_eq!(found, Some(rang));
    }

    #[test]
    fn an_alarm_that_was_told_after_its_all_clear_counts_from_the_beginning_of_the_way_back() {
        let alarm = portcullis_domain::names::AlarmName::new("shop-errors").unwrap();
        let what = What::RollbackBegan {
            release: ReleaseId(1),
            why: Reason::Alarm { alarm, reason: String::new() },
            to: std::collections::BTreeMap::new(),
            served: true,
        };
        let actor = portcullis_domain::event::Actor::Portcullis;
        let events = [Event { seq: Seq(9), at: Timestamp(77), actor, what }];
        assert_eq!(began(&events, ReleaseId(1)), Some(Began::ByAlarm(Timestamp(77))));
        assert_eq!(began(&events, ReleaseId(2)), None);
    }
}
