//! The queue: at least once, not before its moment, gone when acknowledged.

use std::sync::Arc;

use portcullis_domain::names::Seq;
use portcullis_domain::time::{Millis, Timestamp};

use crate::ports::{Clock, Queue, Wake};

/// The contract of [`Queue`], on an empty one; `clock` is the one it goes by. Takes about a second of its time.
///
/// # Panics
/// Where the adapter breaks it.
#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
pub async fn queue(queue: Arc<dyn Queue>, clock: Arc<dyn Clock>) {
    let wake = |name: &str, at| Wake { target: format!("contract/{name}").parse().unwrap(), version: Seq(3), at };
    let none = queue.receive(10, Millis(0)).await.unwrap();
    assert!(none.is_empty(), "an empty queue gives nothing, and does not wait when not asked to");

    let now = clock.now();
    queue.send(wake("now", now)).await.unwrap();
    queue.send(wake("past", now - Millis::minutes(5))).await.unwrap();
    queue.send(wake("soon", now + Millis(700))).await.unwrap();
    queue.send(wake("later", now + Millis::days(2))).await.unwrap();
    let first = queue.receive(10, Millis(0)).await.unwrap();
    let mut names: Vec<String> = first.iter().map(|one| one.wake.target.env.to_string()).collect();
    names.sort();
    assert_eq!(names, ["now", "past"], "what is due is there at once, in any order; nothing else is");
    let whole = first.iter().find(|one| one.wake.target.env.as_str() == "now").unwrap();
    assert_eq!(whole.wake, wake("now", now), "a wake comes as it was sent");
    assert!(queue.receive(10, Millis(0)).await.unwrap().is_empty(), "what is being worked on is hidden");
    for one in &first {
        queue.done(&one.receipt).await.unwrap();
    }
    queue.done(&first[0].receipt).await.unwrap();

    let mut soon = Vec::new();
    let limit = now + Millis::seconds(10);
    while soon.is_empty() && clock.now() < limit {
        soon = queue.receive(10, Millis::seconds(1)).await.unwrap();
    }
    assert_eq!(soon.len(), 1, "a wake becomes visible at its moment");
    assert_eq!(soon[0].wake.target.env.as_str(), "soon");
    assert!(clock.now() >= now + Millis(700), "and not before");
    queue.done(&soon[0].receipt).await.unwrap();

    queue.send(wake("many", Timestamp(0))).await.unwrap();
    queue.send(wake("many", Timestamp(0))).await.unwrap();
    let some = queue.receive(1, Millis(0)).await.unwrap();
    assert_eq!(some.len(), 1, "never more than asked for");
    queue.done(&some[0].receipt).await.unwrap();
}
