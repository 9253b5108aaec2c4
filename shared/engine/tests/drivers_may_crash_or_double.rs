//! Two drivers on one target, a driver parked in a slow step, a driver that dies between any two effects, a patch that
//! lands after its sender is gone: it ends the same.

use portcullis_domain::action::{ObjectKey, Value};
use portcullis_domain::event::{End, What};
use portcullis_domain::facts::AlarmState;
use portcullis_domain::policy::Colour;
use portcullis_domain::time::Millis;
use portcullis_engine::driver::Driver;
use portcullis_engine::memory::world::{Ending, image, name};
use portcullis_engine::memory::{Faults, ManualClock, Op, World};
use portcullis_engine::ports::{Blobs, Ledger, Ports, Queue};
use portcullis_engine::recorder::Recorder;

async fn gated() -> World {
    let mut world = World::new();
    world.push_all(1).await;
    world.settle().await;
    world
}

fn written(world: &World) -> Vec<(ObjectKey, Value)> {
    world.cluster.effects().into_iter().map(|effect| (effect.object, effect.to)).collect()
}

#[tokio::test(start_paused = true)]
async fn two_drivers_on_one_target_do_each_thing_once() {
    let mut alone = gated().await;
    alone.approve("kofi").await;
    alone.run_until_phase("live").await;

    let mut both = gated().await;
    both.add_driver();
    both.queue.copies(2);
    both.approve("kofi").await;
    both.run_until_phase("live").await;
    assert_eq!(written(&alone), written(&both));
    both.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn even_without_leases_two_drivers_end_the_same() {
    let mut world = gated().await;
    world.add_driver();
    world.queue.copies(2);
    world.faults.fail(Op::Lease, Faults::ALWAYS);
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", |state| state.releases.is_empty()).await;
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_parked_in_a_backup_delays_no_alarm_of_the_release_before() {
    // Release 1 is live and may still be rolled back; the driver is parked in the backup of release 2.
    let mut world = World::with(|policy| policy.roll_back.keep_old = Millis::minutes(1));
    world.push_all(1).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    let first = world.newest().await;
    world.push_all(2).await;
    world.run_for(Millis::minutes(2)).await;
    world.faults.hold_before(Op::Export);
    world.approve("kofi").await;
    world.run_for(Millis::minutes(2)).await;
    assert_eq!(world.faults.held(Op::Export), 1, "the driver is parked");
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world.run_for(Millis::seconds(5)).await;
    assert!(world.all_serve(0), "what served before serves again");
    assert!(world.faults.held(Op::Export) >= 1, "while the driver was parked all the time");
    world.faults.heal(Op::Export);
    world.run_for(Millis::minutes(30)).await;
    assert_eq!(world.ending(first).await, Some(Ending::RolledBack));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_parked_in_a_backup_delays_no_person() {
    let mut world = gated().await;
    world.faults.hold_before(Op::Export);
    world.approve("kofi").await;
    world.run_until_phase("backing_up").await;
    assert_eq!(world.faults.held(Op::Export), 1, "the driver is parked");
    world.run_for(Millis::seconds(60)).await;
    assert!(world.faults.held(Op::Export) >= 1, "and stays parked");
    let release = world.newest().await;
    let asked = world.clock.now();
    world.roll_back("ama").await;
    world.run_until(Millis::seconds(5), "settled", |state| state.releases.is_empty()).await;
    assert!(world.clock.now().since(asked) <= Millis::seconds(5));
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Cancelled)));
    assert!(world.faults.held(Op::Export) >= 1, "while it was parked all the time");

    world.faults.heal(Op::Export);
    world.run_for(Millis::minutes(1)).await;
    assert!(world.blobs.list("shop/").await.unwrap().is_empty(), "the parked one saw that its intention is gone");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_parked_in_a_measurement_delays_no_alarm() {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.faults.hold_before(Op::Measure);
    world.run_for(Millis::seconds(75)).await;
    assert_eq!(world.faults.held(Op::Measure), 1, "the driver is parked");
    let rang = world.clock.now();
    world.alarm("shop-errors", AlarmState::Alarm).await;
    world
        .run_until(Millis::seconds(5), "traffic restored", |state| {
            state
                .releases
                .values()
                .all(|release| release.rollback.as_ref().is_some_and(|rollback| rollback.restored_at.is_some()))
        })
        .await;
    assert!(world.all_serve(0));
    assert!(world.clock.now().since(rang) <= Millis::seconds(5));
    assert_eq!(world.faults.held(Op::Measure), 1, "while it was parked all the time");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_dies_after_any_effect_before_its_outcome_is_recorded_converges() {
    // The n-th call of each kind does its work and never returns; the process dies; another takes over.
    let mut died = 0;
    for op in [Op::Put, Op::Write, Op::Export] {
        for nth in 0..6 {
            let mut world = gated().await;
            world.faults.hold_after_nth(op, nth);
            world.approve("kofi").await;
            world.run_for(Millis::seconds(25)).await;
            died += world.faults.held(op).min(1);
            world.crash().await;
            world.faults.heal(op);
            world.run_until_phase("live").await;
            assert!(world.all_serve(1), "{op:?} {nth}");
            world.assert_sound().await;
        }
    }
    assert_eq!(died, 3 + 6 + 1, "two files and an index, six writes, one export");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_dies_on_the_way_back_converges() {
    for nth in 0..6 {
        let mut world = gated().await;
        world.approve("kofi").await;
        world.run_until_phase("watching").await;
        world.faults.hold_after_nth(Op::Write, nth);
        world.roll_back("ama").await;
        world.run_for(Millis::seconds(20)).await;
        assert!(world.faults.held(Op::Write) > 0, "the driver is in its {nth}th write");
        world.crash().await;
        world.faults.heal(Op::Write);
        world.run_until(Millis::minutes(3), "rolled back", |state| state.releases.is_empty()).await;
        assert!(world.all_serve(0), "{nth}");
        world.assert_sound().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_dies_holds_its_work_up_for_seconds_only() {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    world.faults.hold_before(Op::Write);
    world.roll_back("ama").await;
    world.settle().await;
    world.crash().await;
    world.faults.heal(Op::Write);
    let died = world.clock.now();
    world.run_until(Millis::minutes(2), "rolled back", |state| state.releases.is_empty()).await;
    let took = world.clock.now().since(died);
    assert!(took <= Millis::seconds(60), "a dead driver's lease held a rollback up for {took}");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_lands_after_its_release_was_rolled_back_changes_nothing() {
    let mut world = gated().await;
    world.cluster.set_test_takes(Millis::seconds(10));
    world.approve("kofi").await;
    world.run_until_phase("verifying").await;
    // The switch of `api` leaves the driver and is on its way for a long time: the claim goes through, it does not.
    world.faults.hold_before_nth(Op::Write, 1);
    world.run_for(Millis::seconds(30)).await;
    let state = world.state().await;
    let switch = state.outstanding.iter().find_map(|(seq, outstanding)| match &outstanding.intention.action {
        portcullis_domain::action::Action::Write(write) => Some((*seq, write.clone())),
        _ => None,
    });
    let (seq, write) = switch.expect("the switch is outstanding");
    assert_eq!(write.object, ObjectKey::traffic(&name("api")));
    world.crash().await;
    world.faults.heal(Op::Write);
    world.roll_back("ama").await;
    world.run_until(Millis::minutes(2), "rolled back", |state| state.releases.is_empty()).await;

    let fence = portcullis_domain::action::Fence { ledger: world.ledger.id(), epoch: 0, seq };
    let late = world.ports.cluster.write(&world.target, &World::policy().place, &write, &fence).await.unwrap();
    assert!(matches!(late, portcullis_engine::ports::Written::Drift(_)), "the late switch got through");
    assert!(world.all_serve(0));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_say_whether_it_stored_is_asked_again() {
    let mut world = gated().await;
    world.faults.fail_after(Op::Append, 1);
    world.approve("kofi").await;
    let approvals = world.events().await.iter().filter(|event| matches!(event.what, What::Approved { .. })).count();
    assert_eq!(approvals, 1, "made once, and known to be made");
    world.faults.fail(Op::Append, 2);
    world.run_until_phase("live").await;
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_ledger_fails_the_recording_and_loses_nothing_that_was_acknowledged() {
    let mut world = gated().await;
    world.faults.fail(Op::Append, Faults::ALWAYS);
    let fact = world.publish("api", 2);
    assert!(world.recorder.ingest(&fact).await.is_err(), "not acknowledged: it comes again");
    world.run_for(Millis::minutes(5)).await;
    world.faults.heal(Op::Append);
    assert_eq!(world.ingest(&fact).await.targets.len(), 1);
    world.push("web", 2).await;
    world.settle().await;
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    assert!(world.serves("api", 2));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn an_action_that_always_fails_is_performed_a_bounded_number_of_times() {
    for (op, phase) in [(Op::Export, "backing_up"), (Op::Write, "deploying"), (Op::Measure, "watching")] {
        let mut world = gated().await;
        world.faults.fail(op, Faults::ALWAYS);
        world.approve("kofi").await;
        world.run_until_phase(phase).await;
        world.run_for(Millis::minutes(1)).await;
        let before = world.faults.calls(op);
        let (appended, sent) = (world.state().await.seq, world.queue.sent());
        world.run_for(Millis::seconds(50)).await;
        let calls = world.faults.calls(op) - before;
        // Four objects get their mark at once; everything else is one at a time.
        let at_once = if op == Op::Write { 4 } else { 1 };
        assert!((1..=6 * at_once).contains(&calls), "{op:?} was called {calls} times in a minute");
        assert!(world.queue.sent() - sent <= 20 * at_once, "{op:?}: {} wakes", world.queue.sent() - sent);
        assert_eq!(world.state().await.seq, appended, "{op:?}: a failure that changes nothing is not appended");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_is_there_already_is_the_backup() {
    let mut world = gated().await;
    world.faults.hold_after_nth(Op::Put, 2);
    world.approve("kofi").await;
    world.settle().await;
    let stored = world.blobs.list("shop/production/deployments/").await.unwrap();
    let key = stored.iter().find(|key| key.ends_with("/index.json")).expect("the index was written");
    let first = world.blobs.get(key).await.unwrap().expect("the index was written, its outcome not");
    world.crash().await;
    world.faults.heal(Op::Put);
    world.run_until_phase("watching").await;
    assert_eq!(world.blobs.get(key).await.unwrap().unwrap(), first, "the first index counts");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_backup_is_no_backup() {
    let mut world = gated().await;
    world.faults.hold_after_nth(Op::Put, 2);
    world.approve("kofi").await;
    world.settle().await;
    world.crash().await;
    let files = world.blobs.list("shop/production/deployments/").await.unwrap();
    let file = files.iter().find(|file| file.contains("/backup-")).unwrap();
    world.blobs.damage(file, b"not what it was");
    world.faults.heal(Op::Put);
    world.run_for(Millis::minutes(20)).await;
    let release = world.newest().await;
    assert_eq!(world.ending(release).await, Some(Ending::Settled(End::Failed)));
    assert!(world.cluster.effects().is_empty(), "without a backup nothing is changed");
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_ledger_of_a_newer_engine_is_left_alone() {
    let world = gated().await;
    world.approve("kofi").await;
    let before = written(&world);
    world.ledger.damage(&world.target, |head| head.min_reader = 99);
    let target = world.target.clone();
    let version = world.ledger.head(&target).await.unwrap().unwrap().version;
    let wake = portcullis_engine::ports::Wake { target, version, at: world.clock.now() };
    let report = world.drivers[0].step(&wake).await.unwrap();
    assert!(report.needs_newer);
    assert_eq!(written(&world), before);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_read_is_folded_anew_from_the_ledger() {
    let mut world = gated().await;
    world.ledger.damage(&world.target, |head| head.snapshot = b"j\x09{}".to_vec());
    world.approve("kofi").await;
    world.run_until_phase("live").await;
    assert!(world.all_serve(1));
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_behind_the_ledger_decides_nothing() {
    use portcullis_domain::signal::Command;
    use portcullis_engine::recorder::RecordError;
    let world = gated().await;
    let now = world.clock.now();
    let who = "kofi".parse().unwrap();
    let command = Command::Cancel { release: world.newest().await, reason: "no".into() };
    world.clock.set(now - Millis::seconds(6));
    let refused = world.recorder.command(&world.target, &who, command.clone()).await;
    assert!(matches!(refused, Err(RecordError::Clock { .. })), "{refused:?}");
    world.clock.set(now - Millis::seconds(4));
    world.recorder.command(&world.target, &who, command).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_by_hand_is_not_overwritten() {
    let mut world = gated().await;
    world.cluster.set_test_takes(Millis::seconds(10));
    world.approve("kofi").await;
    world.run_until_phase("verifying").await;
    let traffic = ObjectKey::traffic(&name("api"));
    let by_hand = Value::Workload { digest: image("api", 99), replicas: 7 };
    let green = ObjectKey::workload(&name("api"), Colour::Green);
    world.cluster.by_hand(&world.target, &green, by_hand);
    world.run_until_phase("needs_help").await;
    assert_eq!(world.cluster.found(&world.target, &green).stamp.unwrap().value, by_hand);
    assert_eq!(world.cluster.found(&world.target, &traffic).stamp.unwrap().value, Value::Traffic { green: 0 });
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn many_recorders_at_once_lose_nothing() {
    use portcullis_domain::signal::Command;
    let world = World::new();
    let until = world.clock.now() + Millis::hours(1);
    let mut writers = Vec::new();
    for n in 0..32 {
        let recorder = portcullis_engine::recorder::Recorder::new(world.ports.clone());
        let target = world.target.clone();
        writers.push(tokio::spawn(async move {
            let who = "kofi".parse().unwrap();
            let command = Command::HandsOff { until: Some(until + Millis(n)), reason: format!("writer {n}") };
            recorder.command(&target, &who, command).await.unwrap();
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // And the first sight of the policy.
    assert_eq!(world.events().await.len(), 33);
    world.assert_sound().await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_whose_clock_is_behind_waits_for_a_measurement_and_does_not_spin() {
    let mut world = gated().await;
    world.approve("kofi").await;
    world.run_until_phase("watching").await;
    let behind = Millis::seconds(3);
    let watch = world.release(world.newest().await).await.unwrap().watch.unwrap();
    let due = watch.measured_to + Millis::minutes(1) + world.ports.metrics.settle();
    world.clock.set(due);
    let late = ManualClock::new(due - behind);
    let ports = Ports { clock: late.clone(), ..world.ports.clone() };
    let driver = Driver::new(ports.clone(), Recorder::new(ports));
    let measured = async || world.events().await.iter().any(|event| matches!(event.what, What::Measured { .. }));
    for second in 0..=5 {
        // All that is there to be handed over now; what is sent meanwhile for this moment would come at once, too.
        for round in 0.. {
            let wakes = world.queue.take(10);
            if wakes.is_empty() {
                break;
            }
            assert!(round < 3, "it spins, {second} s after it was due");
            for one in wakes {
                driver.step(&one.wake).await.unwrap();
                world.queue.done(&one.receipt).await.unwrap();
            }
        }
        assert_eq!(measured().await, second >= 3, "{second} s after it was due");
        world.clock.advance(Millis::seconds(1));
        late.advance(Millis::seconds(1));
    }
}
