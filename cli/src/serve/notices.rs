//! Events told to the log, in words.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use portcullis_domain::names::TargetId;
use portcullis_engine::ports::{Notice, Notices, PortResult};

use crate::show::screen::Tone;
use crate::show::text::safe;
use crate::words::{self, Narrator};

/// Tells the log.
#[derive(Debug, Default)]
pub(crate) struct LogNotices(Mutex<BTreeMap<TargetId, Narrator>>);

#[async_trait]
impl Notices for LogNotices {
    async fn tell(&self, notice: &Notice) -> PortResult<()> {
        let mut narrators = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let narrator = narrators.entry(notice.target.clone()).or_default();
        let (environment, seq, release) = (&notice.target, notice.event.seq.0, notice.event.what.release());
        for line in narrator.tell(&notice.event) {
            let words = safe(&words::notice(&line, release));
            match line.tone {
                Tone::Bad => tracing::error!(%environment, seq, "{words}"),
                Tone::Warn if line.key => tracing::warn!(%environment, seq, "{words}"),
                _ if line.key => tracing::info!(%environment, seq, "{words}"),
                _ => tracing::debug!(%environment, seq, "{words}"),
            }
        }
        Ok(())
    }
}
