//! Where a service's requests go: the share of each colour and its ready pods, switched in one step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_domain::policy::Colour;

use super::endpoint::{Endpoint, Entered};
use super::index_of;

/// A whole share.
pub(super) const WHOLE: u16 = 10_000;

#[derive(Debug, Clone, Default)]
struct Backends {
    /// Share of green in 10,000; none = there is no Service yet.
    green: Option<u16>,
    ready: [Vec<Arc<Endpoint>>; 2],
}

/// What a proxy reads for each request, so that kept-alive clients move at once too.
#[derive(Debug, Default)]
pub(super) struct Route {
    backends: RwLock<Arc<Backends>>,
    split: AtomicUsize,
    turns: [AtomicUsize; 2],
}

impl Route {
    /// From now on this share of 10,000 goes to green.
    pub(super) fn set_share(&self, green: u16) {
        self.change(|backends| backends.green = Some(green));
    }

    /// From now on these pods of a colour get requests.
    pub(super) fn set_ready(&self, colour: Colour, ready: Vec<Arc<Endpoint>>) {
        self.change(|backends| backends.ready[index_of(colour)] = ready);
    }

    /// The colour whose turn it is, and one of its pods; none = it has no pod that takes requests. A colour without
    /// pods does not borrow the other's: its share fails, and is seen to.
    pub(super) fn choose(&self) -> Option<(Colour, Option<Entered>)> {
        let turn = self.split.fetch_add(1, Ordering::Relaxed) % usize::from(WHOLE);
        // A step that has no divisor in common with 10,000 visits every place once, evenly spread.
        let place = turn * 6_181 % usize::from(WHOLE);
        loop {
            let backends = self.now();
            let colour = if place < usize::from(backends.green?) { Colour::Green } else { Colour::Blue };
            let ready = &backends.ready[index_of(colour)];
            if ready.is_empty() {
                return Some((colour, None));
            }
            let first = self.turns[index_of(colour)].fetch_add(1, Ordering::Relaxed);
            let entered = (0..ready.len()).find_map(|n| ready[(first.wrapping_add(n)) % ready.len()].enter());
            if entered.is_some() {
                return Some((colour, entered));
            }
            // All of them began to drain since they were read: a newer set is there already, unless the cluster stops.
            if Arc::ptr_eq(&backends, &self.now()) {
                return Some((colour, None));
            }
        }
    }

    fn now(&self) -> Arc<Backends> {
        self.backends.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Backends)) {
        let mut now = self.backends.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Backends::clone(&now);
        change(&mut next);
        *now = Arc::new(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(ports: &[u16]) -> Vec<Arc<Endpoint>> {
        ports.iter().map(|port| Endpoint::new(([127, 0, 0, 1], *port).into())).collect()
    }

    #[test]
    fn every_ten_thousand_requests_split_exactly_by_the_share() {
        let route = Route::default();
        route.set_ready(Colour::Blue, pods(&[1, 2]));
        route.set_ready(Colour::Green, pods(&[3]));
        for share in [0, 1, 500, 2_500, 9_999, 10_000] {
            route.set_share(share);
            let green = (0..WHOLE).filter(|_| route.choose().unwrap().0 == Colour::Green).count();
            assert_eq!(green, usize::from(share));
        }
    }

    #[test]
    fn a_small_share_is_spread_evenly() {
        let route = Route::default();
        route.set_share(1_000);
        let hundreds = (0..100).map(|_| (0..100).filter(|_| route.choose().unwrap().0 == Colour::Green).count());
        assert!(hundreds.into_iter().all(|green| (8..=12).contains(&green)));
    }

    #[test]
    fn a_colour_without_pods_never_borrows_the_others() {
        let route = Route::default();
        assert!(route.choose().is_none(), "there is no Service yet");
        route.set_ready(Colour::Blue, pods(&[1]));
        route.set_share(WHOLE);
        assert!(matches!(route.choose(), Some((Colour::Green, None))));
    }

    #[tokio::test]
    async fn a_draining_pod_gets_nothing_more_and_waits_for_what_it_has() {
        let route = Route::default();
        let both = pods(&[1, 2]);
        route.set_ready(Colour::Blue, both.clone());
        route.set_share(0);
        let inside = both[0].enter().unwrap();
        let draining = tokio::spawn({
            let pod = both[0].clone();
            async move { pod.drain().await }
        });
        while both[0].enter().is_some() {
            tokio::task::yield_now().await;
        }
        // The set still names it, and yet every request finds the other one.
        assert!((0..10).all(|_| route.choose().unwrap().1.is_some()));
        assert!(!draining.is_finished());
        drop(inside);
        draining.await.unwrap();
    }
}
