//! Work on many objects, on every core there is.

use std::num::NonZero;
use std::thread;

/// So few are not worth a thread.
const FEW: usize = 100;

/// What `each` makes of all of these, in their order.
pub(super) fn on_every_core<T: Send, R: Send>(items: Vec<T>, each: impl Fn(T) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(cores).max(FEW);
    if items.len() <= share {
        return items.into_iter().map(each).collect();
    }
    let mut items = items.into_iter();
    let shares = std::iter::from_fn(|| {
        let share: Vec<T> = items.by_ref().take(share).collect();
        (!share.is_empty()).then_some(share)
    });
    let each = &each;
    thread::scope(|scope| {
        let running: Vec<_> =
            shares.map(|share| scope.spawn(move || share.into_iter().map(each).collect::<Vec<R>>())).collect();
        let joined = running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_out_once_in_its_place() {
        for count in [0, 1, FEW, FEW + 1, 7 * FEW + 3] {
            let doubled = on_every_core((0..count).collect(), |n| n * 2);
            assert_eq!(doubled, (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
