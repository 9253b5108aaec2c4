//! Manifests that are given with a commit: the new colour is made from them, the plan is bound to them, and where they
//! would not be what runs afterwards nothing is deployed.

use portcullis_domain::action::{Action, Bundle, ObjectKey, Purpose};
use portcullis_domain::digest::Digest;
use portcullis_domain::event::What;
use portcullis_domain::facts::BundleFact;
use portcullis_domain::policy::{Colour, Policy, Strategy};
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;

use crate::world::*;

fn given(text: &str, differs: bool) -> BundleFact {
    let bundle = Bundle { key: format!("manifests/shop/production/{text}"), hash: Digest::of(text.as_bytes()) };
    BundleFact { bundle, differs, serves: true }
}

/// The writes that were meant, with what they are made from.
fn writes(world: &World) -> Vec<(ObjectKey, Purpose, Option<Bundle>)> {
    let intended = world.events.iter().filter_map(|event| match &event.what {
        What::Intended { intention, .. } => Some(&intention.action),
        _ => None,
    });
    let writes = intended.filter_map(|action| match action {
        Action::Write(write) => Some((write.object.clone(), write.purpose, write.bundle.clone())),
        _ => None,
    });
    writes.collect()
}

#[test]
fn the_new_colour_is_made_from_them_and_nothing_else_is() {
    let mut world = World::new(policy());
    world.bundles.insert(service("web"), given("one", true));
    world.go_live(2);
    let made = ObjectKey::workload(&service("web"), Colour::Green);
    let (mut from_it, mut others) = (0, 0);
    for (object, purpose, bundle) in writes(&world) {
        let wanted = object == made && matches!(purpose, Purpose::Mark | Purpose::Deploy);
        let expected = wanted.then(|| given("one", true).bundle);
        assert_eq!(bundle, expected, "{purpose:?} of {object}");
        if wanted { from_it += 1 } else { others += 1 }
    }
    assert!(from_it >= 1 && others > 3, "{from_it} {others}");
}

#[test]
fn others_are_another_plan_which_nobody_approved() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let id = world.push(2);
    let before = world.release(id).plan.clone().unwrap().id;
    world.bundles.insert(service("web"), given("one", true));
    world.pass(Millis::minutes(2));
    let after = world.release(id).plan.clone().unwrap().id;
    assert_ne!(before, after);
    world.approve("kofi", id);
    assert_eq!(world.phase(id), Some(Phase::Watching));
}

#[test]
fn those_that_come_when_it_has_begun_are_not_switched_to() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.parked = |action| matches!(action, Action::AwaitReady(_));
    let id = world.push(2);
    world.approve("kofi", id);
    world.bundles.insert(service("web"), given("late", false));
    world.pass(Millis::minutes(3));
    world.parked = |_| false;
    world.pass(Millis::minutes(3));
    assert_eq!(world.phase(id), Some(Phase::Verifying), "{:#?}", world.story(id));
    let words = format!("{:?}", world.release(id).judgement);
    assert!(words.contains("other manifests were given since the release began"), "{words}");
    assert_eq!(world.serves("web"), Some(image(1, "web")));
    assert!(writes(&world).iter().all(|(.., bundle)| bundle.is_none()));
}

#[test]
fn where_they_would_not_be_what_runs_the_release_holds_and_says_why() {
    let rolling = Policy { strategy: Strategy::Rolling, ..policy() };
    for (policy, kept, words) in [
        (rolling, "", "web: manifests were given, and nothing keeps the old ones"),
        (policy(), "web", "web: the commit came with other manifests and without another image"),
    ] {
        let mut world = World::new(policy);
        world.build(2, "amara");
        world.bundles.insert(service("web"), given("one", true));
        if !kept.is_empty() {
            world.commits.get_mut(&commit(2)).unwrap().changed.insert(service(kept), false);
        }
        let id = world.push_without(2, kept);
        world.pass(Millis::minutes(1));
        let said = world.gate(id, "cluster");
        assert!(said.contains(words), "{said}");
        // What says the same as what serves is in nobody's way.
        world.bundles.insert(service("web"), given("one", false));
        world.pass(Millis::minutes(2));
        let said = world.gate(id, "cluster");
        assert!(!said.contains("manifests"), "{said}");
    }
}

#[test]
fn a_first_release_that_nobody_could_be_sent_to_holds() {
    for (serves, words) in [(false, "web: there is no Service, and its manifests have none"), (true, "")] {
        let mut world = World::empty(policy());
        world.build(2, "amara");
        world.bundles.insert(service("web"), BundleFact { serves, ..given("one", true) });
        let id = world.push(2);
        let said = world.gate(id, "cluster");
        assert!(said.contains(words) && said.contains("manifests") != serves, "{said}");
    }
}
