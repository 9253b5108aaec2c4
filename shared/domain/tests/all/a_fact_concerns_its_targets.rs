//! Facts from outside, and whom they concern.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::facts::{AlarmState, ScanStatus};
use portcullis_domain::names::{AlarmName, CommitSha, DeliveryId, Repository, Tag};
use portcullis_domain::policy::{SealedPolicy, Severity};
use portcullis_domain::route::{self, PushContext};
use portcullis_domain::signal::{Fact, FactKind, Pushed, Signal};
use portcullis_domain::time::Timestamp;

use crate::world::*;

const ACCOUNT: &str = "333333333333";
const REGION: &str = "us-east-1";

fn repository(name: &str) -> Repository {
    Repository::new(&format!("registry.test/shop/{name}")).unwrap()
}
fn fact(kind: FactKind) -> Fact {
    let delivery = DeliveryId::new("d1").unwrap();
    Fact { delivery, at: Timestamp(5), account: Some(ACCOUNT.into()), region: Some(REGION.into()), kind }
}
fn pushed(name: &str, tag: Option<&str>) -> Fact {
    let tag = tag.map(|tag| Tag::new(tag).unwrap());
    fact(FactKind::ImagePushed { repository: repository(name), digest: image(2, name), tag })
}
fn alarm(name: &str) -> Fact {
    fact(FactKind::AlarmChanged {
        alarm: AlarmName::new(name).unwrap(),
        state: AlarmState::Alarm,
        changed_at: Timestamp(4),
        reason: "5xx".into(),
        suppressed: true,
    })
}
fn nothing_more() -> PushContext {
    PushContext::default()
}

#[test]
fn what_is_said_of_an_image_concerns_the_targets_that_deploy_from_its_repository() {
    let policy = policy();
    for (name, known) in [("web", true), ("jobs", true), ("other", false)] {
        let (repository, digest) = (repository(name), image(2, name));
        let counts = BTreeMap::from([(Severity::High, 1)]);
        let status = ScanStatus::Complete;
        let deleted = fact(FactKind::ImageDeleted { repository: repository.clone(), digest, tag: None });
        let reported = FactKind::ScanReported { repository, digest, status, counts: counts.clone() };
        let said = |signal| known.then_some(signal);
        assert_eq!(route::signal(&policy, &deleted, &nothing_more()), said(Signal::ImageDeleted { digest }));
        let expected = said(Signal::ScanReported { digest, status, counts });
        assert_eq!(route::signal(&policy, &fact(reported), &nothing_more()), expected);
    }
    let frequency = |names: &[&str]| {
        let repositories = names.iter().map(|name| repository(name)).collect();
        route::signal(&policy, &fact(FactKind::ScanFrequencyChanged { repositories }), &nothing_more())
    };
    assert_eq!(frequency(&["other", "api"]), Some(Signal::Wake));
    assert_eq!(frequency(&["other"]), None);
    assert_eq!(frequency(&[]), None);
}

#[test]
fn an_alarm_concerns_the_targets_that_name_it_in_the_same_account_and_region() {
    let mut policy = policy();
    policy.watch.alarms_roll_back = vec!["shop-*-5xx".into()];
    policy.watch.alarms_ask = vec!["shop-latency".into()];
    let expected = Signal::Alarm {
        alarm: AlarmName::new("shop-web-5xx").unwrap(),
        state: AlarmState::Alarm,
        changed_at: Timestamp(4),
        reason: "5xx".into(),
        suppressed: true,
    };
    assert_eq!(route::signal(&policy, &alarm("shop-web-5xx"), &nothing_more()), Some(expected));
    assert!(route::concerns(&policy, &alarm("shop-latency")));
    assert!(!route::concerns(&policy, &alarm("bank-web-5xx")));
    let other = |text: &str| Some(text.to_owned());
    for (account, region, ours) in [
        (other(ACCOUNT), other(REGION), true),
        (None, None, true),
        (other(ACCOUNT), None, true),
        (None, other(REGION), true),
        (other("444444444444"), other(REGION), false),
        (other("444444444444"), None, false),
        (other(ACCOUNT), other("eu-west-1"), false),
        (None, other("eu-west-1"), false),
    ] {
        let fact = Fact { account, region, ..alarm("shop-latency") };
        assert_eq!(route::concerns(&policy, &fact), ours, "{:?} {:?}", fact.account, fact.region);
    }
    // A target that is not on AWS takes an alarm from wherever it comes.
    (policy.place.account, policy.place.region) = (None, None);
    assert!(route::concerns(&policy, &alarm("shop-latency")));
    assert!(!route::concerns(&policy, &alarm("bank-web-5xx")));
}

#[test]
fn a_pushed_image_is_of_the_commit_that_a_tag_of_it_names() {
    let policy = policy();
    let tag = |n: u8| Tag::new(commit(n).as_str()).unwrap();
    let also = |tags: &[Tag], commit: Option<CommitSha>| PushContext {
        tags: tags.iter().cloned().collect(),
        commit,
        facts: None,
    };
    let named = commit(2);
    let (own, moving) = (pushed("web", Some(named.as_str())), pushed("web", Some("latest")));
    for (fact, context, expected) in [
        (&own, also(&[], None), Some(commit(2))),
        (&own, also(&[tag(3)], Some(commit(4))), Some(commit(2))),
        (&moving, also(&[tag(3)], Some(commit(4))), Some(commit(3))),
        (&moving, also(&[], Some(commit(4))), Some(commit(4))),
        (&pushed("web", None), also(&[tag(3)], None), Some(commit(3))),
        (&moving, also(&[], None), None),
    ] {
        assert_eq!(route::commit_of(&policy, fact, &context), expected);
        let found = route::signal(&policy, fact, &context).map(|signal| match signal {
            Signal::Pushed(pushed) => pushed.commit,
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected);
    }
    assert_eq!(route::signal(&policy, &pushed("other", Some(named.as_str())), &nothing_more()), None);
}

#[test]
fn a_push_is_told_under_the_tag_that_names_its_commit() {
    let policy = policy();
    let sha = Tag::new(commit(2).as_str()).unwrap();
    let tagged = |own: Option<&str>, tags: &[&Tag]| {
        let tags = tags.iter().copied().cloned().collect();
        let context = PushContext { tags, commit: Some(commit(2)), facts: None };
        let Some(Signal::Pushed(pushed)) = route::signal(&policy, &pushed("web", own), &context) else { panic!() };
        pushed.tag
    };
    let (latest, another) = (Tag::new("latest").unwrap(), Tag::new("another").unwrap());
    assert_eq!(tagged(Some("latest"), &[&another, &sha]), Some(sha.clone()));
    assert_eq!(tagged(Some(sha.as_str()), &[&latest]), Some(sha));
    assert_eq!(tagged(Some("latest"), &[&another]), Some(latest));
    assert_eq!(tagged(None, &[&another]), None);
}

#[test]
fn a_push_opens_a_release_by_its_branch_or_by_a_moving_tag() {
    let mut world = World::new(policy());
    world.build(2, "amara");
    let facts = world.commits.remove(&commit(2)).unwrap();
    let staging = Tag::new("staging").unwrap();
    let opens = |branch: Option<&str>, moving_tag: Option<&Tag>, own: Option<&str>, tags: &[&Tag], known: bool| {
        let mut policy = policy();
        (policy.intake.branch, policy.intake.moving_tag) = (branch.map(str::to_owned), moving_tag.cloned());
        let facts = known.then(|| facts.clone());
        let tags: BTreeSet<Tag> = tags.iter().copied().cloned().collect();
        let context = PushContext { tags, commit: Some(commit(2)), facts: facts.clone() };
        let signal = route::signal(&policy, &pushed("web", own), &context);
        let Some(Signal::Pushed(pushed)) = signal else { panic!("{signal:?}") };
        let expected = Pushed {
            service: service("web"),
            digest: image(2, "web"),
            tag: own.map(|tag| Tag::new(tag).unwrap()),
            commit: commit(2),
            pushed_at: Timestamp(5),
            facts,
            opens: pushed.opens,
        };
        assert_eq!(pushed, expected);
        pushed.opens
    };
    assert!(opens(Some("main"), None, None, &[], true));
    assert!(!opens(Some("next"), None, None, &[], true), "another branch");
    assert!(!opens(Some("main"), None, None, &[], false), "nobody knows its branches");
    assert!(!opens(None, None, Some("staging"), &[], true), "only a person opens one here");
    assert!(opens(None, Some(&staging), Some("staging"), &[], true));
    assert!(opens(None, Some(&staging), Some("x"), &[&staging], true));
    assert!(!opens(None, Some(&staging), Some("x"), &[], true));
    assert!(!opens(None, Some(&staging), None, &[], true));
    assert!(opens(Some("main"), Some(&staging), Some("x"), &[], true), "one of the two is enough");
    assert!(opens(Some("next"), Some(&staging), Some("staging"), &[], true), "one of the two is enough");
}

#[test]
fn an_account_is_known_as_an_environments_or_as_a_registrys() {
    let mut shop = policy();
    let mut bank = policy();
    bank.place.account = Some("555555555555".into());
    bank.place.region = None;
    let registry = "444444444444.dkr.ecr.eu-central-1.amazonaws.com/shop/web";
    shop.services[0].repository = Repository::new(registry).unwrap();
    let policies = [SealedPolicy::new(shop), SealedPolicy::new(bank)];
    for (account, region, known) in [
        (ACCOUNT, None, true),
        (ACCOUNT, Some(REGION), true),
        (ACCOUNT, Some("eu-central-1"), false),
        // Its environment names no region.
        ("555555555555", Some("eu-central-1"), true),
        ("555555555555", None, true),
        ("444444444444", None, true),
        ("444444444444", Some("eu-central-1"), true),
        ("444444444444", Some(REGION), false),
        ("444444444444", Some("eu-central"), false),
        ("44444444444", None, false),
        ("666666666666", None, false),
        ("666666666666", Some(REGION), false),
    ] {
        assert_eq!(route::knows_account(&policies, account, region), known, "{account} {region:?}");
    }
    assert!(!route::knows_account(&[], ACCOUNT, None));
}
