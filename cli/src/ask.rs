//! Questions to the person at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context as _;

use crate::exit;

/// Asks one line; the prompt goes to stderr, so that stdout stays the answer's.
pub(crate) fn line(prompt: &str) -> anyhow::Result<Option<String>> {
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{prompt}").and_then(|()| stderr.flush()).context("asking at the terminal")?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    Ok((read > 0).then(|| answer.trim().to_owned()))
}

/// Asks yes or no; only `y` and `yes` are yes.
pub(crate) fn yes(prompt: &str) -> anyhow::Result<bool> {
    let answer = line(&format!("{prompt} [y/N] "))?;
    Ok(answer.is_some_and(|answer| matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")))
}

/// Asks for confirmation unless it was given by flag; without a terminal to ask at, the flag is needed.
pub(crate) fn confirm(prompt: &str, given: bool) -> anyhow::Result<()> {
    if given {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(exit::usage(format!("{prompt}\nThere is no terminal to ask at: add --yes to say so.")));
    }
    if yes(prompt)? { Ok(()) } else { Err(exit::refused("Nothing was done.")) }
}
