//! Notices to a terminal, one line each in words, and to a file, one JSON object each.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use portcullis_domain::event::Event;
use portcullis_domain::names::{TargetId, is_bidi_control};
use portcullis_engine::ports::{Notice, Notices, PortError, PortResult};
use serde::Serialize;

use crate::blocking;

/// Puts a notice in words; none = this one is not told.
pub type InWords = Arc<dyn Fn(&Notice) -> Option<String> + Send + Sync>;

/// Tells each notice as one line of plain text. Characters that would move the cursor, reorder text or begin a new line
/// are left out: what is told comes from outside.
pub struct TerminalNotices {
    in_words: InWords,
    out: Mutex<Box<dyn Write + Send>>,
}

impl TerminalNotices {
    /// To standard error.
    pub fn stderr(in_words: InWords) -> Self {
        Self::new(in_words, Box::new(io::stderr()))
    }

    /// To anything that takes text.
    pub fn new(in_words: InWords, out: Box<dyn Write + Send>) -> Self {
        Self { in_words, out: Mutex::new(out) }
    }
}

#[async_trait]
impl Notices for TerminalNotices {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let Some(words) = (self.in_words)(notice) else { return Ok(()) };
        let mut line: String = words.chars().filter(|c| !c.is_control() && !is_bidi_control(*c)).collect();
        line.push('\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| PortError::new(format!("telling event {} of {}", notice.event.seq, notice.target), error))
    }
}

impl std::fmt::Debug for TerminalNotices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TerminalNotices")
    }
}

/// Appends each notice to a file: `{"target": "APP/ENV", "seq": ..., "at": ..., "actor": ..., "event": ..., ...}`, `at`
/// in milliseconds since 1970. A file that is moved away meanwhile is written on until the next start.
#[derive(Debug, Clone)]
pub struct FileNotices {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

#[derive(Serialize)]
struct Line<'a> {
    target: &'a TargetId,
    #[serde(flatten)]
    event: &'a Event,
}

impl FileNotices {
    /// Opens or creates the file. A line that was cut off when the last process died is ended, so that the next one
    /// stands for itself.
    pub fn open(path: &Path) -> PortResult<Self> {
        let open = || {
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
            if file.seek(SeekFrom::End(0))? > 0 {
                file.seek(SeekFrom::End(-1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                }
            }
            Ok(file)
        };
        let file = open().map_err(|error: io::Error| PortError::new(format!("opening {}", path.display()), error))?;
        Ok(Self { path: path.to_owned(), file: Arc::new(Mutex::new(file)) })
    }
}

#[async_trait]
impl Notices for FileNotices {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let doing = format!("telling event {} of {} to {}", notice.event.seq, notice.target, self.path.display());
        let mut line = serde_json::to_vec(&Line { target: &notice.target, event: &notice.event })
            .map_err(|error| PortError::new(&doing, error))?;
        line.push(b'\n');
        let (file, what) = (Arc::clone(&self.file), doing.clone());
        blocking(&doing, move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line).and_then(|()| file.flush()).map_err(|error| PortError::new(what, error))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_domain::event::{Actor, What};
    use portcullis_domain::names::Seq;
    use portcullis_domain::time::Timestamp;

    fn notice(seq: u64, reason: &str) -> Notice {
        let what = What::HandsOff { until: None, reason: reason.to_owned() };
        let event = Event { seq: Seq(seq), at: Timestamp(5), actor: Actor::Portcullis, what };
        Notice { target: "shop/production".parse().unwrap(), event }
    }

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_terminal_is_told_one_harmless_line_per_notice_that_has_words() {
        let screen = Screen::default();
        let in_words: InWords = Arc::new(|notice: &Notice| match &notice.event.what {
            What::HandsOff { reason, .. } if !reason.is_empty() => Some(format!("{} {reason}", notice.target)),
            _ => None,
        });
        let notices = TerminalNotices::new(in_words, Box::new(screen.clone()));
        notices.tell(&notice(1, "two\nlines \u{1b}[2J\u{202e}")).await.unwrap();
        notices.tell(&notice(2, "")).await.unwrap();
        let told = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert_eq!(told, "shop/production twolines [2J\n");
    }

    #[tokio::test]
    async fn every_line_of_the_file_is_one_notice_also_after_a_torn_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notices.jsonl");
        FileNotices::open(&path).unwrap().tell(&notice(1, "a")).await.unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"target\": \"sh").unwrap();
        let notices = FileNotices::open(&path).unwrap();
        notices.tell(&notice(2, "b\nc")).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let last: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(last["target"], "shop/production");
        assert_eq!((&last["seq"], &last["event"], &last["reason"]), (&2.into(), &"hands_off".into(), &"b\nc".into()));
        assert!(serde_json::from_str::<serde_json::Value>(lines[0]).is_ok());
    }
}
