//! A push may open a release, add to one, or only be recorded.

use portcullis_domain::event::What;
use portcullis_domain::facts::CommitFacts;
use portcullis_domain::names::ReleaseId;
use portcullis_domain::signal::{Command, Pushed, Signal};
use portcullis_domain::time::{Millis, Timestamp};

use crate::world::stages::{FIRST, live, names, why};
use crate::world::*;

fn push(n: u8, pushed_at: Timestamp, facts: Option<CommitFacts>) -> Signal {
    Signal::Pushed(Pushed {
        service: service("web"),
        digest: image(n, "web"),
        tag: None,
        commit: commit(n),
        pushed_at,
        facts,
        opens: true,
    })
}

#[test]
fn a_commit_that_is_not_newer_is_recorded_with_how_that_is_known() {
    let ancestors = |numbers: &[u8]| {
        Some(CommitFacts { ancestors: numbers.iter().map(|n| commit(*n)).collect(), ..CommitFacts::default() })
    };
    let (before, after) = (Millis::minutes(1), Millis::minutes(2));
    for (n, pushed, facts, expected) in [
        (3, after, None, Some("it was tried with release 1")),
        (2, after, None, Some("it is an ancestor of 0303030, release 1")),
        (9, Millis(before.0 - 1), None, Some("it was pushed before 0303030, release 1")),
        (9, before, None, None),
        (9, after, None, None),
        (9, Millis(0), ancestors(&[3]), None),
        (9, Millis(0), ancestors(&[8]), Some("it was pushed before 0303030, release 1")),
    ] {
        let mut world = World::new(policy());
        let base = world.now;
        world.signal(&push(3, base + before, ancestors(&[2, 1])));
        world.command("kofi", Command::Cancel { release: FIRST, reason: why("no") });
        let mut events = world.signal(&push(n, base + pushed, facts.clone()));
        let told = match events.remove(0).what {
            What::Outdated { why, .. } => Some(why),
            What::Opened { release, gather_until, .. } => {
                assert_eq!((release, gather_until), (ReleaseId(2), world.now + Millis::hours(2)));
                None
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told.as_deref(), expected, "commit {n}, pushed {pushed}, {facts:?}");
    }
}

#[test]
fn an_old_push_is_recorded_once_and_not_where_its_image_serves_or_was_rolled_back() {
    let mut world = live();
    let early = Timestamp(1);
    let moved = |n: u8, digest| match push(n, early, None) {
        Signal::Pushed(pushed) => Signal::Pushed(Pushed { digest, ..pushed }),
        other => other,
    };
    assert_eq!(world.signal(&moved(1, image(2, "web"))), vec![], "it serves");
    assert_eq!(names(&world.signal(&moved(1, image(9, "web")))), ["outdated"]);
    assert_eq!(world.signal(&moved(1, image(9, "web"))), vec![], "said again");
    world.roll_back("kofi");
    assert!(world.rolled_back(FIRST));
    world.target.outdated.clear();
    assert_eq!(world.signal(&moved(1, image(2, "web"))), vec![], "it was rolled back");
    assert_eq!(world.signal(&moved(1, image(1, "web"))), vec![], "it serves again");
}

#[test]
fn an_image_of_an_open_release_is_taken_while_it_gathers_and_never_swapped() {
    let with = |world: &World, name: &str, digest, tag: bool| {
        Signal::Pushed(Pushed {
            service: service(name),
            digest,
            tag: tag.then(|| commit(2).as_str().parse().unwrap()),
            commit: commit(2),
            pushed_at: world.now,
            facts: None,
            opens: true,
        })
    };
    let mut world = World::new(policy());
    world.build(2, "amara");
    world.push_one(2, "web");
    let again = with(&world, "web", image(2, "web"), true);
    assert_eq!(world.signal(&again), vec![], "the same image again");
    let untagged = with(&world, "web", image(9, "web"), false);
    assert_eq!(world.signal(&untagged), vec![], "no tag moved");
    let (to, back) = (with(&world, "web", image(9, "web"), true), with(&world, "web", image(8, "web"), true));
    assert_eq!(names(&world.signal(&to)), ["tag_moved"]);
    assert_eq!(world.signal(&to), vec![]);
    assert_eq!(names(&world.signal(&back)), ["tag_moved"], "it moved on");
    let api = with(&world, "api", image(2, "api"), true);
    assert_eq!(names(&world.signal(&api))[0], "image_added");

    // What was kept stays so once the gates are judged, whatever comes later; before, its own image counts.
    for (first, expected) in [(["web", "api"].as_slice(), false), (["web"].as_slice(), true)] {
        let mut world = World::new(policy());
        world.build(2, "amara");
        world.commits.get_mut(&commit(2)).unwrap().changed.insert(service("jobs"), false);
        for name in first {
            world.push_one(2, name);
        }
        world.settle();
        assert!(world.release(FIRST).artifacts[&service("jobs")].kept);
        let jobs = with(&world, "jobs", image(2, "jobs"), true);
        let added = names(&world.signal(&jobs)).contains(&why("image_added"));
        assert_eq!(added, expected, "{:?}", world.phase(FIRST));
    }
}

#[test]
fn a_push_that_may_not_open_a_release_opens_none() {
    let mut world = World::new(policy());
    let Signal::Pushed(mut pushed) = push(2, world.now, None) else { unreachable!() };
    pushed.opens = false;
    assert_eq!(world.signal(&Signal::Pushed(pushed)), vec![]);
}
