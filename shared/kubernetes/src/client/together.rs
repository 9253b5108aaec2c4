//! Reads that several ask for at the same time are made once for all of them.
//!
//! Whoever asks is answered by a reading that began after they asked, as if it had been theirs alone: one that is under way
//! is never joined, only the one after it. Alone nobody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::timeout;

use crate::error::ApiError;

/// So long the reading before is waited for: behind an API server that does not answer nobody waits twice.
const PATIENCE: Duration = Duration::from_secs(1);

/// Readings of `K`s, several at once, in rooms that do not wait for each other.
pub(crate) struct Together<K, V>(Mutex<BTreeMap<String, Room<K, V>>>);

struct Room<K, V> {
    /// Held by the reading that is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
    next: Option<Next<K, V>>,
}

type Answer<V> = BoxFuture<'static, Result<Arc<V>, ApiError>>;

/// A reading that was asked for, and perhaps began.
struct Next<K, V> {
    /// What it will read; none = it began.
    wanted: Arc<Mutex<Option<BTreeSet<K>>>>,
    /// Kept by those who wait for it only: nobody is left, and it ends.
    answer: WeakShared<Answer<V>>,
}

impl<K, V> Default for Together<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Send + 'static, V: Send + Sync + 'static> Together<K, V> {
    /// What `read` comes to for a set with this key in it. Whoever is the first to ask says how it is read for all of a room.
    pub(crate) async fn ask<F, R>(&self, room: &str, key: K, read: F) -> Result<Arc<V>, ApiError>
    where
        F: FnOnce(BTreeSet<K>) -> R + Send + 'static,
        R: Future<Output = Result<V, ApiError>> + Send,
    {
        self.join(room, key, read).await
    }

    fn join<F, R>(&self, room: &str, key: K, read: F) -> Shared<Answer<V>>
    where
        F: FnOnce(BTreeSet<K>) -> R + Send + 'static,
        R: Future<Output = Result<V, ApiError>> + Send,
    {
        let mut rooms = held(&self.0);
        let room = rooms.entry(room.to_owned()).or_insert_with(|| Room { turn: Arc::default(), next: None });
        if let Some(next) = &room.next
            && let Some(answer) = next.answer.upgrade()
            && let Some(wanted) = &mut *held(&next.wanted)
        {
            wanted.insert(key);
            return answer;
        }
        let wanted = Arc::new(Mutex::new(Some(BTreeSet::from([key]))));
        let (turn, taken) = (room.turn.clone(), wanted.clone());
        let answer = async move {
            let _turn = timeout(PATIENCE, turn.lock()).await;
            let keys = held(&taken).take().unwrap_or_default();
            read(keys).await.map(Arc::new)
        };
        let answer = answer.boxed().shared();
        room.next = answer.downgrade().map(|answer| Next { wanted, answer });
        answer
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const LONG: Duration = Duration::from_millis(100);

    /// What was read, and in how many readings.
    type Readings = Arc<Mutex<Vec<BTreeSet<u32>>>>;

    async fn ask(together: Arc<Together<u32, BTreeSet<u32>>>, readings: Readings, key: u32, takes: Duration) -> bool {
        let read = move |keys: BTreeSet<u32>| async move {
            held(&readings).push(keys.clone());
            sleep(takes).await;
            Ok(keys)
        };
        together.ask("room", key, read).await.unwrap().contains(&key)
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_something_is_read_shares_the_reading_after_it() {
        let (together, readings) = (Arc::default(), Readings::default());
        let begun = Instant::now();
        let first = tokio::spawn(ask(Arc::clone(&together), readings.clone(), 0, LONG));
        sleep(LONG / 2).await;
        let more: Vec<_> =
            (1..50).map(|n| tokio::spawn(ask(Arc::clone(&together), readings.clone(), n, LONG))).collect();
        // The same once more: what is under way began before it was asked for.
        assert!(ask(together, readings.clone(), 0, LONG).await && first.await.unwrap());
        for one in more {
            assert!(one.await.unwrap());
        }
        assert_eq!(*held(&readings), [BTreeSet::from([0]), (0..50).collect()]);
        assert_eq!(begun.elapsed(), 2 * LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_nobody_along() {
        let (together, readings) = (Arc::<Together<_, _>>::default(), Readings::default());
        let first = tokio::spawn(ask(together.clone(), readings.clone(), 0, LONG));
        sleep(LONG / 4).await;
        let leader = tokio::spawn(ask(together.clone(), readings.clone(), 1, LONG));
        sleep(LONG / 4).await;
        let second = tokio::spawn(ask(together.clone(), readings.clone(), 2, LONG));
        sleep(LONG / 4).await;
        first.abort();
        leader.abort();
        assert!(second.await.unwrap());
        let (third, begun) = (ask(together, readings.clone(), 3, LONG), Instant::now());
        assert!(third.await);
        assert_eq!(begun.elapsed(), LONG, "nothing is left that it would wait for");
        assert_eq!(*held(&readings), [BTreeSet::from([0]), BTreeSet::from([1, 2]), BTreeSet::from([3])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_hangs_holds_the_next_one_up_for_a_second_and_another_room_not_at_all() {
        let (together, readings) = (Arc::<Together<_, _>>::default(), Readings::default());
        let hangs = tokio::spawn(ask(together.clone(), readings.clone(), 0, Duration::from_mins(1)));
        sleep(LONG).await;
        let begun = Instant::now();
        assert_eq!(*together.ask("other", 1, |keys| async { Ok(keys) }).await.unwrap(), BTreeSet::from([1]));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(ask(together, readings, 2, LONG).await);
        assert_eq!(begun.elapsed(), PATIENCE + LONG);
        hangs.abort();
    }
}
