//! The log: structured, on stderr. Never a body, a token, or a link that lets somebody in.

use tracing_subscriber::EnvFilter;

use crate::args::LogForm;

/// Starts the log; `RUST_LOG` sets what is in it, `info` without it. A second start changes nothing.
pub(crate) fn start(form: LogForm) {
    let filter = EnvFilter::try_from_env("RUST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match form {
        LogForm::Json => builder.json().flatten_event(true).try_init(),
        LogForm::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).try_init()
        }
    };
    // Only tests start it twice.
    let _ = started;
}
