//! Where the policies in force come from, and how they are read again: files when a person says so, S3 once a minute.

use std::sync::Arc;
#[cfg(feature = "aws")]
use std::time::Duration;

#[cfg(feature = "aws")]
use portcullis_aws::policies::{Refreshed, S3Policies};
use portcullis_engine::ports::{Policies, Ports};
use portcullis_engine::recorder::Recorder;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::policies::FilePolicies;

/// Between two looks at the policies in S3.
#[cfg(feature = "aws")]
const LOOK: Duration = Duration::from_mins(1);

/// Where the policies in force come from.
#[derive(Clone)]
pub(crate) enum InForce {
    /// Files.
    Files(Arc<FilePolicies>),
    /// Objects in S3.
    #[cfg(feature = "aws")]
    Bucket(Arc<S3Policies>),
}

impl InForce {
    /// As the engine asks for them.
    pub(super) fn port(&self) -> Arc<dyn Policies> {
        match self {
            Self::Files(files) => files.clone(),
            #[cfg(feature = "aws")]
            Self::Bucket(bucket) => bucket.clone(),
        }
    }

    /// For how many environments there is one.
    pub(super) fn environments(&self) -> usize {
        match self {
            Self::Files(files) => files.set().policies.len(),
            #[cfg(feature = "aws")]
            Self::Bucket(bucket) => bucket.set().policies.len(),
        }
    }

    /// Reads them again; for how many environments there is one then. With errors those in force stay.
    ///
    /// # Errors
    /// They cannot be read, or have errors.
    #[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "only S3 is asked over a network"))]
    pub(super) async fn reload(&self) -> anyhow::Result<usize> {
        match self {
            Self::Files(files) => files.reload(),
            #[cfg(feature = "aws")]
            Self::Bucket(bucket) => match bucket.refresh_now().await? {
                Refreshed::Refused(why) => Err(anyhow::anyhow!(why)),
                Refreshed::Fresh | Refreshed::Same | Refreshed::Changed(_) => Ok(self.environments()),
            },
        }
    }

    /// Looks for other policies in S3 until told to stop, and judges every environment by them at once. Files are read
    /// again only when a person says so: then nothing is to be done here.
    #[cfg_attr(not(feature = "aws"), expect(unused_variables, reason = "only S3 is followed"))]
    pub(super) fn follow(
        &self,
        ports: &Ports,
        recorder: &Recorder,
        told: &watch::Receiver<bool>,
    ) -> Option<JoinHandle<()>> {
        match self {
            Self::Files(_) => None,
            #[cfg(feature = "aws")]
            Self::Bucket(bucket) => {
                Some(tokio::spawn(look(bucket.clone(), ports.clone(), recorder.clone(), told.clone())))
            }
        }
    }
}

#[cfg(feature = "aws")]
async fn look(bucket: Arc<S3Policies>, ports: Ports, recorder: Recorder, mut told: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            () = async {
                // A sender that is gone means the same.
                let _ = told.wait_for(|stop| *stop).await;
            } => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        match bucket.refresh_now().await {
            Ok(Refreshed::Changed(_)) => super::reload::judge_again(&ports, &recorder).await,
            // What has errors was told where it was read.
            Ok(Refreshed::Fresh | Refreshed::Same | Refreshed::Refused(_)) => {}
            Err(error) => tracing::warn!(%error, "the policies could not be looked at; those in force stay"),
        }
    }
}
