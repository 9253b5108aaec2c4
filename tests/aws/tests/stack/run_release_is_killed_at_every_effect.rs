//! `kill -9` of `run-release` before and after each of its effects: append, lease, send, put, write, test. Whoever goes on
//! comes to the same end, by the same writes, each once.
//!
//! A release and a rollback are played once to count the boundaries; then once per boundary, each on an application of its
//! own. Without being told each kind of effect is died at once, before it and after it (the first of its kind: before and
//! after an append, a switch, a drain). `PORTCULLIS_KILLS=20` plays so many of all boundaries, evenly spread, and `all`
//! every one: hours, because the same append, lease and message come again with every window of the watch.

use std::collections::BTreeSet;
use std::fs;

use portcullis_tests::wait::{self, SOON};
use portcullis_tests_aws::home::{Home, Style, target};
use portcullis_tests_aws::resources::unique;
use portcullis_tests_aws::stack::{Options, Stack};
use portcullis_tests_aws::told::Ledger;

use crate::{goes_live, is_rolled_back, is_watched};

/// Stacks side by side: one life at a time in each, so that a death is nobody else's. They mostly wait for a lease of the
/// dead to lapse.
const STACKS: usize = 6;
/// Fewer effects than this were no release.
const LEAST: usize = 30;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// A release goes live, and the old pods are drained.
    GoesLive,
    /// A release that serves is rolled back by an alarm; it may die from the alarm on.
    IsRolledBack,
}

impl Life {
    fn style(self) -> Style {
        match self {
            Life::GoesLive => Style::CLOSES,
            Life::IsRolledBack => Style::SLOW,
        }
    }
}

/// One life with its death.
#[derive(Debug, Clone)]
struct Case {
    life: Life,
    application: String,
    /// The boundary to die at, from 1; none = it is only counted.
    at: Option<usize>,
}

/// What came of it.
struct Played {
    case: Case,
    /// The boundaries it had, from where it may die.
    boundaries: Vec<String>,
    writes: Vec<String>,
    died: bool,
}

struct Ground {
    home: Home,
    stack: Stack,
    ledger: Ledger,
}

impl Ground {
    async fn new(cases: &[Case]) -> Self {
        let applications: Vec<_> = cases.iter().map(|case| (case.application.clone(), case.life.style())).collect();
        let home = Home::new(&applications).await;
        let options = Options { policies: home.policies(), driver: home.mortal_driver(), ..Options::default() };
        let mut stack = Stack::start(options).await;
        stack.run_clock("sweep");
        let ledger = Ledger::of(&stack).await;
        Self { home, stack, ledger }
    }

    /// The boundaries of an application so far.
    fn boundaries(&self, application: &str) -> Vec<String> {
        let target = target(application).to_string();
        let journal = fs::read_to_string(self.home.journal()).unwrap_or_default();
        let of = |line: &&str| line.splitn(3, ' ').nth(2).is_some_and(|of| of.starts_with(&target));
        journal.lines().filter(of).map(str::to_owned).collect()
    }

    /// From now on it may die, at the boundary that the case says.
    fn arm(&self, case: &Case, passed: usize) {
        let Some(at) = case.at else { return };
        let file = format!("{}.at", self.home.journal().display());
        let unfinished = format!("{file}.new");
        fs::write(&unfinished, format!("{} {}", passed + at, target(&case.application))).unwrap();
        // In one step, so that a half number is never read.
        fs::rename(unfinished, file).unwrap();
    }

    async fn play(&self, case: Case) -> Played {
        let (home, stack, ledger, application) = (&self.home, &self.stack, &self.ledger, case.application.as_str());
        let driver = stack.host("run-release");
        let mut passed = 0;
        let starts;
        match case.life {
            Life::GoesLive => {
                starts = driver.starts();
                self.arm(&case, passed);
                goes_live(home, stack, ledger, application).await;
            }
            Life::IsRolledBack => {
                is_watched(home, stack, ledger, application).await;
                starts = driver.starts();
                passed = self.boundaries(application).len();
                self.arm(&case, passed);
                is_rolled_back(home, stack, ledger, application).await;
            }
        }
        let boundaries = self.boundaries(application).split_off(passed);
        // The first life of a stack starts the process.
        let has_died = || driver.starts() > starts.max(1);
        if case.at.is_some_and(|at| at <= boundaries.len()) {
            wait::until("it is started again", SOON, async || {
                if has_died() { Ok(()) } else { Err(format!("{} starts, {boundaries:#?}", driver.starts())) }
            })
            .await;
        }
        let died = has_died();
        let told = ledger.assert_sound(home, application, usize::from(case.at.is_some())).await;
        assert_eq!(told.releases().len(), 1, "{case:?}");
        Played { boundaries, writes: told.writes(), died, case }
    }
}

/// Plays these on a stack of their own, one after the other.
async fn play_all(cases: Vec<Case>) -> Vec<Played> {
    let mut played = Vec::new();
    if cases.is_empty() {
        return played;
    }
    let ground = Ground::new(&cases).await;
    for case in cases {
        played.push(ground.play(case).await);
    }
    played
}

/// `most` numbers from 1 to `count`, evenly spread, the first and the last among them.
fn spread(count: usize, most: usize) -> Vec<usize> {
    if most >= count {
        return (1..=count).collect();
    }
    (0..most).map(|n| 1 + n * (count - 1) / (most - 1).max(1)).collect()
}

/// The boundaries to die at, from 1.
fn wanted(boundaries: &[String]) -> Vec<usize> {
    let count = boundaries.len();
    match std::env::var("PORTCULLIS_KILLS").as_deref() {
        Ok("all") => spread(count, count),
        Ok(said) => spread(count, said.parse().expect("PORTCULLIS_KILLS is all, or how many of each life")),
        Err(_) => {
            let mut seen = BTreeSet::new();
            (1..=count).filter(|at| seen.insert(kind(&boundaries[at - 1]))).collect()
        }
    }
}

/// What a boundary is, without of whom and when: before or after, and which effect on which object.
fn kind(boundary: &str) -> String {
    let mut words = boundary.split(' ');
    let (side, effect) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let of = match effect {
        "write" => words.skip(1).take(2).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    format!("{side} {effect} {of}")
}

#[tokio::test(flavor = "multi_thread")]
async fn run_release_is_killed_at_every_effect() {
    let lives = [Life::GoesLive, Life::IsRolledBack];
    let counting = lives.map(|life| Case { life, application: unique("counted"), at: None });
    let ground = Ground::new(&counting).await;
    let mut undisturbed = Vec::new();
    for case in counting {
        let played = ground.play(case).await;
        assert!(!played.died, "it died without being told to");
        println!("{:?}: {} boundaries", played.case.life, played.boundaries.len());
        undisturbed.push(played);
    }
    assert!(undisturbed[0].boundaries.len() >= LEAST, "{:#?}", undisturbed[0].boundaries);
    drop(ground);

    let mut groups: [Vec<Case>; STACKS] = std::array::from_fn(|_| Vec::new());
    let mut deaths = 0;
    for played in &undisturbed {
        for at in wanted(&played.boundaries) {
            let case = Case { life: played.case.life, application: unique("killed"), at: Some(at) };
            groups[deaths % STACKS].push(case);
            deaths += 1;
        }
    }
    let here = tokio::task::LocalSet::new();
    let mut stacks = tokio::task::JoinSet::new();
    for group in groups {
        stacks.spawn_local_on(play_all(group), &here);
    }
    let mut reached = 0;
    for played in here.run_until(stacks.join_all()).await.into_iter().flatten() {
        let at = played.case.at.unwrap();
        let boundary = played.boundaries.get(at - 1);
        println!("{:?} {at}: {}", played.case.life, boundary.map_or("not reached", String::as_str));
        // A run may have a lease or a wake less than the one that was counted.
        assert_eq!(played.died, boundary.is_some(), "{:?}", played.case);
        reached += usize::from(played.died);
        let same = undisturbed.iter().find(|other| other.case.life == played.case.life).unwrap();
        assert_eq!(played.writes, same.writes, "other writes than without a death: {:?}", played.case);
    }
    assert!(reached * 4 >= deaths * 3, "only {reached} of {deaths} boundaries were reached");
}

#[test]
fn the_same_effect_on_the_same_object_is_one_kind() {
    let of = |lines: &[&str]| lines.iter().map(|line| kind(line)).collect::<BTreeSet<_>>().len();
    assert_eq!(of(&["before append a/production at 10", "before append b/production at 4"]), 1);
    assert_eq!(of(&["before append a/production at 10", "after append a/production at 10"]), 2);
    let switch = "before write a/production Service/web Switch by pl-ce1/0/31";
    assert_eq!(of(&[switch, "before write a/production Service/web Mark by pl-ce1/0/30"]), 2);
    assert_eq!(of(&[switch, "before write b/production Service/web Switch by pl-ce2/0/33"]), 1);
}

#[test]
fn boundaries_are_spread_evenly_with_both_ends() {
    assert_eq!(spread(5, 9), [1, 2, 3, 4, 5]);
    assert_eq!(spread(101, 5), [1, 26, 51, 76, 101]);
    assert_eq!(spread(40, 2), [1, 40]);
    assert_eq!(spread(0, 3), [] as [usize; 0]);
}
