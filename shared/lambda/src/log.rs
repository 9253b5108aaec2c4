//! The log: one JSON object per line, with the request's id on each. Never a body, a token, or a link that lets
//! somebody in.

use tracing_subscriber::EnvFilter;

/// Starts the log; `RUST_LOG` sets what is in it, `info` without it.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // CloudWatch stamps each line by itself.
        .without_time()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .try_init();
    // Only tests start it twice.
    let _ = started;
}
