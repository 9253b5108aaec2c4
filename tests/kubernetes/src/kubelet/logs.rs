//! What containers wrote: the run of now, and the one before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::watch;

/// So many lines of a run are kept.
const KEPT: usize = 1_000;

/// The log of one container. Clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runs: Mutex<Runs>,
    /// How many lines were ever written.
    written: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Runs {
    now: VecDeque<Line>,
    before: VecDeque<Line>,
}

/// A line with the moment it was written, and its number in the container's life.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) number: u64,
    pub(super) text: String,
}

impl Log {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { runs: Mutex::default(), written: watch::Sender::new(0) }))
    }

    /// Adds a line.
    pub(super) fn write(&self, text: impl Into<String>) {
        let mut runs = self.0.runs.lock().unwrap();
        let number = *self.0.written.borrow() + 1;
        runs.now.push_back(Line { at: Timestamp::now(), number, text: text.into() });
        if runs.now.len() > KEPT {
            runs.now.pop_front();
        }
        self.0.written.send_replace(number);
    }

    /// A new run begins: what was written so far is the one before.
    pub(super) fn restart(&self) {
        let mut runs = self.0.runs.lock().unwrap();
        runs.before = std::mem::take(&mut runs.now);
    }

    /// The lines of a run with numbers after this one.
    pub(super) fn lines(&self, previous: bool, after: u64) -> Vec<Line> {
        let runs = self.0.runs.lock().unwrap();
        let run = if previous { &runs.before } else { &runs.now };
        run.iter().filter(|line| line.number > after).cloned().collect()
    }

    /// Says when more is written.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }
}

/// What a reader asks for, in the words of the kubelet's API.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) tail: Option<usize>,
    pub(super) limit: Option<usize>,
}

impl Ask {
    /// Reads a query such as `follow=true&tailLines=10`. What is not known is not asked for.
    pub(super) fn read(query: &str) -> Self {
        let mut ask = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "follow" => ask.follow = value == "true",
                "previous" => ask.previous = value == "true",
                "timestamps" => ask.timestamps = value == "true",
                "tailLines" => ask.tail = value.parse().ok(),
                "limitBytes" => ask.limit = value.parse().ok(),
                _ => {}
            }
        }
        ask
    }

    /// The lines as they are sent, within what was asked for; the number of the last.
    pub(super) fn render(&self, mut lines: Vec<Line>) -> (Vec<u8>, u64) {
        let last = lines.last().map_or(0, |line| line.number);
        if let Some(tail) = self.tail {
            lines.drain(..lines.len().saturating_sub(tail));
        }
        let mut bytes = Vec::new();
        for line in lines {
            if self.timestamps {
                bytes.extend(format!("{} ", line.at).into_bytes());
            }
            bytes.extend(line.text.into_bytes());
            bytes.push(b'\n');
        }
        bytes.truncate(self.limit.unwrap_or(usize::MAX));
        (bytes, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_run_before_can_still_be_read_after_a_restart() {
        let log = Log::new();
        log.write("one");
        log.write("two");
        log.restart();
        log.write("three");
        let read = |ask: &str| {
            let ask = Ask::read(ask);
            String::from_utf8(ask.render(log.lines(ask.previous, 0)).0).unwrap()
        };
        assert_eq!(read(""), "three\n");
        assert_eq!(read("previous=true"), "one\ntwo\n");
        assert_eq!(read("previous=true&tailLines=1"), "two\n");
        assert_eq!(read("previous=true&limitBytes=5&tailLines=9"), "one\nt");
        assert!(read("timestamps=true").ends_with("Z three\n"));
    }
}
