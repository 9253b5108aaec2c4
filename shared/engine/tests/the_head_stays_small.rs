//! At the largest allowed policy, at every step of a whole release and its rollback, the encoded state stays within
//! its limit: a rollback can always be appended.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

#[path = "../../domain/tests/all/world/mod.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::facts::{AlarmState, Finding};
use portcullis_domain::names::{Identity, Repository};
use portcullis_domain::policy::*;
use portcullis_domain::target::Phase;
use portcullis_domain::time::Millis;
use portcullis_engine::codec::{MOST_HEAD, encode_head};
use world::*;

/// The most that `policy check` allows: 50 services, long names, 16 KiB.
fn largest() -> Policy {
    let mut policy = policy();
    let name = |n: usize| format!("service-with-a-rather-long-name-{n:02}");
    policy.services = (0..50)
        .map(|n| Service {
            name: service(&name(n)),
            repository: Repository::new(&format!("444444444444.dkr.ecr.us-east-1.amazonaws.com/shop/{}", name(n)))
                .unwrap(),
            source: Some(format!("services/{}", name(n))),
            wave: u16::try_from(n / 10).unwrap(),
            after: vec![],
            kind: if n % 10 == 9 { ServiceKind::Worker { overlap: false } } else { ServiceKind::Serving },
        })
        .collect();
    policy.watch.alarms_roll_back = (0..10).map(|n| format!("production-application-alarms-{n}-*")).collect();
    for n in 0..40 {
        let person = who(&format!("person-{n:02}"));
        let accounts = [format!("github:person-{n:02}"), format!("email:person-{n:02}@example.com")];
        policy.people.insert(person.clone(), accounts.iter().map(|account| Identity::new(account).unwrap()).collect());
        policy.groups.values_mut().for_each(|group| {
            group.insert(person.clone());
        });
    }
    let size = serde_json::to_vec(&policy).unwrap().len();
    assert!((14_000..=16_384 + 4_096).contains(&size), "the policy is {size} bytes: near what is allowed");
    policy
}

#[test]
fn the_state_fits_its_limit_at_every_step_of_a_release_of_fifty_services() {
    let mut world = World::new(largest());
    let now = world.now;
    for n in 0..100 {
        world.alarm(&format!("production-application-alarms-{}-load-balancer-{n:03}", n % 10), AlarmState::Ok, now);
    }
    let mut most = (0, String::new());
    let look = |world: &World, most: &mut (usize, String)| {
        let size = encode_head(&world.target).map_or(usize::MAX, |bytes| bytes.len());
        let phases: BTreeSet<&str> = world.target.releases.values().map(|release| release.phase.name()).collect();
        if size > most.0 {
            *most = (size, format!("{phases:?}"));
        }
    };
    for n in 2..4 {
        world.build(n, "amara");
        let digests: Vec<_> = world.policy.services.iter().map(|s| image(n, s.name.as_str())).collect();
        for digest in digests {
            let counts: BTreeMap<Severity, u32> = Severity::ALL.into_iter().skip(1).map(|s| (s, 17)).collect();
            let scan = world.scans.get_mut(&digest).unwrap();
            scan.counts = counts;
            scan.findings = (0..50)
                .map(|n| Finding {
                    severity: Severity::High,
                    id: format!("CVE-2026-{n:05}"),
                    package: "openssl".into(),
                })
                .collect();
        }
        let id = world.push(n);
        look(&world, &mut most);
        world.parked = |action| matches!(action, portcullis_domain::action::Action::Write(_));
        world.approve("kofi", id);
        look(&world, &mut most);
        world.parked = |_| false;
        world.settle();
        look(&world, &mut most);
        if n == 3 {
            world.roll_back("kofi");
            assert!(world.rolled_back(id));
        } else {
            world.pass(Millis::minutes(6));
            assert_eq!(world.phase(id), Some(Phase::Live));
            world.pass(Millis::hours(2));
        }
        look(&world, &mut most);
    }
    assert!(most.0 <= MOST_HEAD, "{} bytes in {}", most.0, most.1);
    println!("largest head: {} of {MOST_HEAD} bytes, {}", most.0, most.1);
}
