//! What every fuzz target asks of the code under it: no panic (libFuzzer sees that), and no input that takes long.
//! Memory is limited from outside, by `-malloc_limit_mb` and `-rss_limit_mb` (`cargo xtask fuzz` sets them).

use std::time::{Duration, Instant};

/// The most time for each begun 100 KB of input.
const MOST: Duration = Duration::from_millis(100);
/// The best of so many runs counts: a busy machine makes a run slow, not all of them.
const RUNS: u32 = 5;

/// Runs it, and panics if even the fastest of several runs was slower than 100 ms for each begun 100 KB.
pub fn within_time<T>(input: usize, mut run: impl FnMut() -> T) -> T {
    let most = MOST * u32::try_from(input / 100_000 + 1).unwrap_or(u32::MAX);
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS {
        let begun = Instant::now();
        let result = run();
        fastest = fastest.min(begun.elapsed());
        if fastest <= most {
            return result;
        }
    }
    panic!("{input} bytes took {fastest:?}, more than {most:?}");
}
