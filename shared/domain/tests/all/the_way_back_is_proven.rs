//! Before it goes forward a release shows that it can return, and in what time.

use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;
use portcullis_domain::verdict::Verdict;

use crate::world::*;

#[test]
fn an_image_that_serves_and_is_gone_from_the_registry_holds_the_next_release() {
    let mut world = World::new(policy());
    let first = world.go_live(2);
    world.pass(Millis::hours(2));
    world.build(3, "amara");
    world.images.remove(&image(2, "api"));
    let id = world.push(3);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Gated));
    let why = format!("hold: what serves api now, {}, is not in registry.test/shop/api", image(2, "api").short());
    assert_eq!(world.gate(id, "way back"), why);
    world.images.insert(image(2, "api"));
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
    assert!(world.target.ended.iter().any(|ended| ended.release == first));
}

#[test]
fn it_says_how_one_would_return_and_how_long_it_took_last() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    let says = "pass: by a switch; the old pods stay up until 1h after live";
    assert_eq!(world.gate(id, "way back"), says);
    let gate = |world: &World, id| {
        let judgement = world.release(id).judgement.clone().unwrap();
        judgement.gates.into_iter().find(|gate| gate.gate == "way back").unwrap()
    };
    assert!(gate(&world, id).evidence.is_empty());
    let found = gate(&world, id).parts.iter().map(|part| part.why.clone()).collect::<Vec<_>>();
    assert!(found[0].ends_with("as it was found; never verified by Portcullis"), "{found:?}");
    world.approve("kofi", id);
    world.pass(Millis::minutes(6));
    world.parked = |action| matches!(action, portcullis_domain::action::Action::AwaitReady(_));
    world.roll_back("kofi");
    world.pass(Millis::minutes(2));
    world.parked = |_| false;
    world.settle();
    assert!(world.rolled_back(id));
    assert_eq!(world.target.last_return, Some(Millis::minutes(2)));
    world.build(3, "amara");
    let next = world.push(3);
    assert_eq!(gate(&world, next).evidence, ["the last return took 2m"]);
}

#[test]
fn room_for_both_colours_is_asked_for_where_the_cluster_says() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.room = Some(5);
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.gate(id, "way back"), "hold: room for 5 more pods, 6 are needed beside the old ones");
    world.room = Some(6);
    world.pass(Millis::minutes(7));
    assert_eq!(world.phase(id), Some(Phase::Live), "{:#?}", world.story(id));
}

#[test]
fn where_nothing_served_before_there_is_nothing_to_prove() {
    let mut world = World::empty(policy());
    world.build(2, "amara");
    let id = world.push(2);
    assert_eq!(world.gate(id, "way back"), "pass: nothing to return to");
}

#[test]
fn before_traffic_moves_the_backup_is_named_as_read_back() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));
    let judgement = world.release(id).judgement.clone().unwrap();
    let gate = judgement.gates.iter().find(|gate| gate.gate == "way back").unwrap();
    let backup = gate.parts.iter().find(|part| part.gate == "backup").unwrap();
    assert_eq!((backup.verdict, backup.why.as_str()), (Verdict::Pass, "stored and read back"));
}
