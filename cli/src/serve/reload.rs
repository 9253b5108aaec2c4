//! After the policies were read: every environment with a ledger is judged by them at once.
//!
//! So a change of a policy, and what it loosens, is in the ledger when it takes force, not when something happens next.

use portcullis_domain::signal::Signal;
use portcullis_engine::ports::Ports;
use portcullis_engine::recorder::{RecordError, Recorder};

/// Wakes every environment that has a ledger. What fails for one holds no other up; its next event sees the policy, too.
pub(super) async fn judge_again(ports: &Ports, recorder: &Recorder) {
    let targets = match ports.ledger.targets().await {
        Ok(targets) => targets,
        Err(error) => return tracing::error!(%error, "the environments could not be judged by the new policies"),
    };
    for target in targets {
        match recorder.record(&target, Signal::Wake, None).await {
            Ok(_) => {}
            Err(RecordError::NoPolicy { .. }) => {
                tracing::warn!(%target, "no policy names it any more; it stays as it is");
            }
            Err(error) => tracing::error!(%target, %error, "it could not be judged by the new policies"),
        }
    }
}
