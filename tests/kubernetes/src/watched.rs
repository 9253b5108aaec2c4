//! Following all objects of a kind: what changed, and after every interruption all there is.

use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::Api;
use kube::core::Resource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;

/// What became known.
#[derive(Debug)]
pub(crate) enum Change<K> {
    /// All objects there are: whatever is not among them is gone.
    All(Vec<K>),
    /// One was made or changed.
    Put(K),
    /// One is gone.
    Gone(K),
}

/// Follows all objects of a kind, for ever. An API server that is away is asked again soon.
pub(crate) fn follow<K>(api: Api<K>) -> impl Stream<Item = Change<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).backoff(Soon);
    events
        .scan(Vec::new(), |listed, event| {
            let change = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    None
                }
                Ok(Event::InitApply(object)) => {
                    listed.push(object);
                    None
                }
                Ok(Event::InitDone) => Some(Change::All(std::mem::take(listed))),
                Ok(Event::Apply(object)) => Some(Change::Put(object)),
                Ok(Event::Delete(object)) => Some(Change::Gone(object)),
                // It begins again by itself.
                Err(_) => None,
            };
            std::future::ready(Some(change))
        })
        .filter_map(std::future::ready)
}

/// Always the same short pause: this cluster has no other clients to be kind to.
struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}
