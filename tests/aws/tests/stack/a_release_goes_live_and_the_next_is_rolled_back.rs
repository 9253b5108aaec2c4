//! A whole life: an image is pushed and held until its scan is there, goes live while requests are answered, and the next
//! one is rolled back by an alarm. Read from the ledger, the backups, the notices, and what really answers.

use aws_sdk_cloudwatch::types::StateValue;
use portcullis_domain::event::{Event, Reason, What};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::verdict::Verdict;
use portcullis_tests::traffic::Traffic;
use portcullis_tests::wait::{self, SOON};
use portcullis_tests_aws::home::{BASELINE, Home, SERVICE, Style, alarm, rings, target};
use portcullis_tests_aws::resources::unique;
use portcullis_tests_aws::stack::{Options, Stack};
use portcullis_tests_aws::told::{Ledger, Told, name};

use crate::{Two, is_rolled_back, is_watched};

/// Requests per second.
const RATE: u32 = 20;

/// What a release's story is told by; a phase by its own name.
const MILESTONES: [&str; 9] = [
    "opened",
    "image_added",
    "gathered",
    "began",
    "entered",
    "went_live",
    "old_released",
    "rollback_began",
    "rolled_back",
];

fn story(told: &Told, release: ReleaseId) -> Vec<String> {
    let of_release = told.events.iter().filter(|event| event.what.release() == Some(release));
    let milestone = |event: &Event| match &event.what {
        What::Entered { phase, .. } => Some(phase.name().to_owned()),
        what => Some(name(what)).filter(|name| MILESTONES.contains(&name.as_str())),
    };
    of_release.filter_map(milestone).collect()
}

fn scan_holds(told: &Told) -> bool {
    let release = told.newest().and_then(|release| told.state.releases.get(&release));
    let judgement = release.and_then(|release| release.judgement.as_ref());
    judgement.is_some_and(|judgement| {
        judgement.gates.iter().any(|gate| gate.gate == "scan" && gate.verdict != Verdict::Pass)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_live_and_the_next_is_rolled_back_by_an_alarm() {
    let application = unique("shop");
    let home = Home::new(&[(application.clone(), Style::OPEN)]).await;
    let options = Options { policies: home.policies(), driver: home.driver(), ..Options::default() };
    let mut stack = Stack::start(options).await;
    let (ledger, target) = (Ledger::of(&stack).await, target(&application));

    // Nobody but the event tells of it, and no scan is there yet.
    let two = home.image(&application, "v2").await;
    let asked = stack.publish(&two.push()).await;
    assert_eq!(asked.iter().map(|(function, _)| function.as_str()).collect::<Vec<_>>(), ["on-image-push"]);
    ledger.until("held for want of a scan", &target, scan_holds).await;
    assert_eq!(home.serving(&application).as_deref(), Some(BASELINE));
    stack.run_clock("sweep");
    home.scan(&two).await;
    let asked = stack.publish(&two.scanned()).await;
    assert_eq!(asked.iter().map(|(function, _)| function.as_str()).collect::<Vec<_>>(), ["on-scan-result"]);

    let over = |told: &Told| told.newest().is_some_and(|release| told.has(release, "old_released"));
    let told = ledger.let_go_on_until("live, and the old pods are gone", &target, over).await;
    let first = told.newest().unwrap();
    assert_eq!(
        story(&told, first),
        [
            "opened",
            "image_added",
            "gathered",
            "began",
            "deploying",
            "verifying",
            "switching",
            "watching",
            "went_live",
            "old_released"
        ]
    );
    // What a deployment costs is worked out from these in infra/README.md. The clock's own depend on how long it took.
    println!("one release, {} events, until its old pods were gone: {:?}", told.events.len(), stack.used());
    let mut traffic = Traffic::start(home.data(), &application, SERVICE, RATE).await;
    assert_eq!(traffic.answers().await, "v2");
    traffic.allow(["v2", "v3"]);

    let three = home.push(&application, "v3").await;
    stack.publish(&three.push()).await;
    let serves = |told: &Told| told.newest() != Some(first) && matches!(told.phase(), Some("watching" | "live"));
    let second = ledger.until("the next one serves", &target, serves).await.newest().unwrap();
    assert_eq!(traffic.answers().await, "v3");
    let asked = stack.publish(&rings(&application)).await;
    assert_eq!(asked.iter().map(|(function, _)| function.as_str()).collect::<Vec<_>>(), ["on-alarm"]);
    ledger.until("rolled back", &target, |told| told.has(second, "rolled_back")).await;
    traffic.allow(["v2"]);
    assert_eq!(traffic.answers().await, "v2");

    let told = ledger.assert_sound(&home, &application, 0).await;
    let mut undone = story(&told, second);
    // Whether it went live before the alarm rang is a question of moments.
    undone.retain(|milestone| milestone != "went_live" && milestone != "old_released");
    assert_eq!(
        undone,
        [
            "opened",
            "image_added",
            "gathered",
            "began",
            "deploying",
            "verifying",
            "switching",
            "watching",
            "rollback_began",
            "rolled_back"
        ]
    );
    assert_eq!(undone_by(&told, second), alarm(&application));
    assert_eq!(home.serving(&application).as_deref(), Some("v2"));
    let counted = traffic.counted();
    assert_eq!((counted.wrong, counted.lost), (0, 0), "{counted:?}");
    is_told_to_the_readers(&stack, &told).await;
    let dead = [stack.depth("DeadLetters").await, stack.depth("WakeDeadLetters").await];
    assert_eq!(dead, [0, 0], "dead letters");
}

/// The alarm that a release was rolled back by.
fn undone_by(told: &Told, release: ReleaseId) -> String {
    let why = told.events.iter().find_map(|event| match &event.what {
        What::RollbackBegan { release: of, why, .. } if *of == release => Some(why.clone()),
        _ => None,
    });
    match why {
        Some(Reason::Alarm { alarm, .. }) => alarm.as_str().to_owned(),
        other => panic!("it was undone by {other:?}\n{}", told.end(40)),
    }
}

/// Every event is told to every reader, and then none is left.
async fn is_told_to_the_readers(stack: &Stack, told: &Told) {
    let mut all = 0;
    wait::until("nothing is left to tell", SOON, async || {
        let round = stack.tick("notify").await;
        assert_eq!(round["failed"], 0, "{round}");
        let told = round["told"].as_u64().unwrap();
        all += told;
        if told == 0 { Ok(()) } else { Err(round.to_string()) }
    })
    .await;
    assert!(all >= told.events.len() as u64, "{all} notices of {} events", told.events.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_whose_event_is_lost_is_read_by_the_watch() {
    let Two { home, stack, ledger, watched, .. } = Two::start(|_, _| {}).await;
    is_watched(&home, &stack, &ledger, &watched).await;
    // The emulator tells an alarm's change in whole seconds: it must not seem to be older than the switch.
    let serves = ledger.told(&target(&watched)).await;
    let since = serves.state.releases.values().find_map(|release| release.serving_since).unwrap();
    wait::until("the switch is seconds ago", SOON, async || {
        let now = jiff::Timestamp::now().as_millisecond();
        let after = now - i64::try_from(since.0).unwrap();
        if after > 2_000 { Ok(()) } else { Err(format!("{after} ms")) }
    })
    .await;
    home.alarm(&watched, StateValue::Alarm).await;
    let over = |told: &Told| told.newest().is_some_and(|release| told.has(release, "rolled_back")) && told.is_quiet();
    ledger.until("rolled back", &target(&watched), over).await;
    let told = ledger.assert_sound(&home, &watched, 0).await;
    assert_eq!(undone_by(&told, told.newest().unwrap()), alarm(&watched));
    assert_eq!(home.serving(&watched).as_deref(), Some(BASELINE));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_rings_twice_is_one_rollback() {
    let Two { home, stack, ledger, watched, .. } = Two::start(|_, _| {}).await;
    is_watched(&home, &stack, &ledger, &watched).await;
    let event = rings(&watched);
    stack.publish(&event).await;
    stack.publish(&event).await;
    is_rolled_back(&home, &stack, &ledger, &watched).await;
    let told = ledger.assert_sound(&home, &watched, 0).await;
    assert_eq!(told.releases().len(), 1);
}
