//! After a rollback somebody tidies up and deletes the colour that was undone; its fence is gone with it. A deploy of
//! the undone release that was sent before, and arrives now, must not bring it up again.
//! Here: a workload that is not there is created at rest first, so no later write takes "not there" for what it expects.

use portcullis_domain::action::{Action, Fence, ObjectKey, Purpose, Value, Write};
use portcullis_domain::event::What;
use portcullis_domain::names::{ReleaseId, Seq};
use portcullis_domain::policy::Colour;
use portcullis_domain::time::Millis;
use portcullis_engine::memory::World;
use portcullis_engine::memory::world::name;
use portcullis_engine::ports::{Ledger, Written};

use crate::{is_over, verifying};

/// Every write of this purpose that was ever intended.
async fn intended(world: &World, purpose: Purpose) -> Vec<(Seq, Write)> {
    let events = world.events().await;
    let writes = events.iter().filter_map(|event| match &event.what {
        What::Intended { intention, .. } => match &intention.action {
            Action::Write(write) if write.purpose == purpose => Some((event.seq, write.clone())),
            _ => None,
        },
        _ => None,
    });
    writes.collect()
}

async fn arrives(world: &World, (seq, write): &(Seq, Write)) -> Written {
    let fence = Fence { ledger: world.ledger.id(), epoch: 0, seq: *seq };
    world.ports.cluster.write(&world.target, &World::policy().place, write, &fence).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_late_deploy_finds_nothing_and_leaves_it_so() {
    let mut world = verifying().await;
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(ReleaseId(1))).await;
    let green = ObjectKey::workload(&name("api"), Colour::Green);
    world.cluster.delete(&world.target, &green);
    let deploys = intended(&world, Purpose::Deploy).await;
    let late = deploys.iter().find(|(_, write)| write.object == green).unwrap();
    assert!(matches!(arrives(&world, late).await, Written::Drift(_)), "the late deploy got through");
    assert!(world.cluster.found(&world.target, &green).stamp.is_none());
    assert!(world.all_serve(0));
}

#[tokio::test(start_paused = true)]
async fn the_write_that_creates_it_leaves_it_at_rest_however_late() {
    let mut world = verifying().await;
    let green = ObjectKey::workload(&name("api"), Colour::Green);
    let marks = intended(&world, Purpose::Mark).await;
    let created = marks.iter().find(|(_, write)| write.object == green).expect("it is created before it is deployed");
    assert_eq!(created.1.from, vec![None]);
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", is_over(ReleaseId(1))).await;
    world.cluster.delete(&world.target, &green);
    assert!(matches!(arrives(&world, created).await, Written::Done));
    let found = world.cluster.found(&world.target, &green);
    assert!(matches!(found.stamp.unwrap().value, Value::Workload { replicas: 0, .. }));
    assert_eq!(found.ready, 0);
    assert!(world.all_serve(0));
}
