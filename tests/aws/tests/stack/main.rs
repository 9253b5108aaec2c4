//! The functions as processes, wired as the templates say, on the emulator's DynamoDB, SQS, S3, ECR and CloudWatch, with a
//! local cluster behind `run-release`. One file per story, its name is the story.
//!
//! Every story ends with [`Ledger::assert_sound`]: the ledger is whole, and what is outside is what it says, each effect
//! once. `cargo xtask test aws` builds the functions and names them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod a_release_goes_live_and_the_next_is_rolled_back;
mod aws_fails_throttles_and_answers_nobody;
mod each_event_enters_where_the_template_says;
mod every_message_comes_twice_and_in_reverse;
mod run_release_is_killed_at_every_effect;

use portcullis_tests_aws::home::{Home, Style, rings, target};
use portcullis_tests_aws::resources::unique;
use portcullis_tests_aws::stack::{Options, Stack};
use portcullis_tests_aws::told::{Ledger, Told};

/// An application whose releases go live and stay in their window, and one whose releases are watched until an alarm
/// rings.
pub(crate) struct Two {
    pub(crate) home: Home,
    pub(crate) stack: Stack,
    pub(crate) ledger: Ledger,
    pub(crate) open: String,
    pub(crate) watched: String,
}

impl Two {
    /// A stack for both, changed as told, and its clock running.
    pub(crate) async fn start(change: impl FnOnce(&Home, &mut Options)) -> Self {
        let (open, watched) = (unique("open"), unique("watched"));
        let home = Home::new(&[(open.clone(), Style::OPEN), (watched.clone(), Style::WATCHED)]).await;
        let mut options = Options { policies: home.policies(), driver: home.driver(), ..Options::default() };
        change(&home, &mut options);
        let mut stack = Stack::start(options).await;
        stack.run_clock("sweep");
        let ledger = Ledger::of(&stack).await;
        Self { home, stack, ledger, open, watched }
    }
}

/// Pushes `v2` of an application, and waits until it is live and the old pods are gone.
pub(crate) async fn goes_live(home: &Home, stack: &Stack, ledger: &Ledger, application: &str) {
    let image = home.push(application, "v2").await;
    stack.publish(&image.push()).await;
    let over = |told: &Told| told.newest().is_some_and(|release| told.has(release, "old_released"));
    ledger.let_go_on_until("live, and the old pods are gone", &target(application), over).await;
    assert_eq!(home.serving(application).as_deref(), Some("v2"));
}

/// Pushes `v2` of an application, and waits until it serves and is watched.
pub(crate) async fn is_watched(home: &Home, stack: &Stack, ledger: &Ledger, application: &str) {
    let image = home.push(application, "v2").await;
    stack.publish(&image.push()).await;
    ledger.until("watched", &target(application), |told| told.phase() == Some("watching")).await;
    assert_eq!(home.serving(application).as_deref(), Some("v2"));
}

/// Lets its alarm ring, and waits until it is rolled back and nothing is left to do.
pub(crate) async fn is_rolled_back(home: &Home, stack: &Stack, ledger: &Ledger, application: &str) {
    stack.publish(&rings(application)).await;
    let over = |told: &Told| told.newest().is_some_and(|release| told.has(release, "rolled_back")) && told.is_quiet();
    ledger.until("rolled back", &target(application), over).await;
    assert_eq!(home.serving(application).as_deref(), Some("v1"));
}
