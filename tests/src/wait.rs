//! Waiting for what must come: a condition is asked again and again, with a limit that only a defect reaches.

use std::time::{Duration, Instant};

/// The limit of what takes the server moments, on a machine that has a lot else to do.
pub const SOON: Duration = Duration::from_mins(1);
/// The limit of a release's whole life under the short policies of these tests.
pub const LIFE: Duration = Duration::from_secs(150);

const PAUSE: Duration = Duration::from_millis(25);

/// Asks until it is so; `Err` says what was seen instead.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(began.elapsed() < limit, "not within {limit:?}: {what}\nlast seen: {seen}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
