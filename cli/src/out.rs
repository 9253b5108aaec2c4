//! How answers are printed.

use std::io::Write as _;

use serde::Serialize;

use crate::args::{Answer, Output};
use crate::show::screen::Screen;
use crate::when::Times;

/// What answers are printed with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Out {
    /// The form.
    pub(crate) form: Output,
    /// What the screen can show.
    pub(crate) screen: Screen,
}

impl Out {
    /// As the flags and this terminal say.
    pub(crate) fn new(answer: Answer) -> Self {
        Self { form: answer.output, screen: Screen::of_stdout(answer.ascii) }
    }

    /// Prints the value as JSON, or what it reads like.
    pub(crate) fn answer<T: Serialize>(self, value: &T, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.form {
            Output::Json => line(&serde_json::to_string_pretty(value)?),
            Output::Table => line(&words()),
        }
    }

    /// Prints a line for people only.
    pub(crate) fn aside(self, words: &str) -> anyhow::Result<()> {
        if self.form == Output::Table { line(words) } else { Ok(()) }
    }
}

/// Prints a line. A reader that went away (`| head`) is no error.
pub(crate) fn line(words: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{words}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Moments as seen from now, here.
pub(crate) fn times() -> Times {
    use portcullis_engine::ports::Clock as _;
    Times::here(portcullis_embedded::clock::SystemClock.now())
}
