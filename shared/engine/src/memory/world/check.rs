//! What must be true at the end of every story.

use std::collections::BTreeSet;

use portcullis_domain::event::{Event, What};
use portcullis_domain::names::Seq;
use portcullis_domain::target::Target;

use super::World;
use crate::codec::{self, Commit};
use crate::core::apply;
use crate::ports::Ledger;

impl World {
    /// Checks what must hold whatever happened: nothing was done to the cluster that must never be; the ledger is
    /// whole, chained, and folds into its head; after a rollback began nothing moves forward; one release at a time.
    pub async fn assert_sound(&self) {
        let story = self.story().await;
        assert_eq!(self.cluster.violations(), Vec::<String>::new(), "{story}");
        let Some(head) = self.ledger.head(&self.target).await.unwrap() else { return };
        let (mut state, mut chain, mut events) = (Target::default(), codec::genesis(), Vec::new());
        for stored in self.ledger.commits(&self.target, Seq(0), usize::MAX).await.unwrap() {
            assert_eq!(stored.before, chain, "the chain is broken at {}", stored.first);
            chain = codec::chain(chain, &stored.bytes);
            for event in Commit::decode(&stored.bytes).unwrap().events {
                assert_eq!(event.seq.0, state.seq.0 + 1, "events are numbered without a gap");
                apply(&mut state, &event);
                events.push(event);
            }
            assert_eq!(state.seq, stored.last);
        }
        assert_eq!((head.version, head.chain), (state.seq, chain));
        assert_eq!(codec::decode_head(&head.snapshot).unwrap(), state, "the ledger folds into its head");
        check_order(&events, &story);
    }
}

fn check_order(events: &[Event], story: &str) {
    let (mut going_back, mut in_flight) = (BTreeSet::new(), BTreeSet::new());
    for event in events {
        let Some(release) = event.what.release() else { continue };
        assert!(
            !(event.what.moves_forward() && going_back.contains(&release)),
            "release {release} moved forward on its way back, at {}\n{story}",
            event.seq
        );
        match &event.what {
            What::RollbackBegan { .. } => {
                going_back.insert(release);
            }
            What::Began { .. } => {
                in_flight.insert(release);
                assert_eq!(in_flight.len(), 1, "two releases in flight at {}\n{story}", event.seq);
            }
            What::WentLive { .. } | What::RolledBack { .. } | What::Settled { .. } | What::Resolved { .. } => {
                in_flight.remove(&release);
            }
            _ => {}
        }
    }
}
