//! Where backups and manifests are kept: a data directory, or S3.

use std::sync::Arc;

use portcullis_embedded::blobs::FileBlobs;
use portcullis_engine::ports::Blobs;

use crate::args::Store;
use crate::exit;
use crate::layout::Layout;

/// Opens the store that the flags name.
///
/// # Errors
/// None is named, there is no such directory, or AWS cannot be asked.
pub(crate) async fn open(store: &Store) -> anyhow::Result<Arc<dyn Blobs>> {
    match (&store.blobs, &store.data) {
        (Some(bucket), _) => in_s3(bucket).await,
        (None, Some(data)) => {
            let directory = Layout::new(data).blobs();
            // Opening makes it, and a mistyped directory would only look empty.
            if !directory.is_dir() {
                return Err(exit::not_found(format!(
                    "{} is no server's data directory: name one with --data, or a place in S3 with --blobs",
                    data.display()
                )));
            }
            Ok(Arc::new(FileBlobs::new(&directory)?))
        }
        (None, None) => {
            Err(exit::usage("where? Say --data DIR (a server's data directory) or --blobs s3://BUCKET/PREFIX"))
        }
    }
}

#[cfg(feature = "aws")]
async fn in_s3(bucket: &crate::args::Bucket) -> anyhow::Result<Arc<dyn Blobs>> {
    use portcullis_aws::blobs::{BucketOptions, S3Blobs};
    use portcullis_aws::client::{self, Clients};

    let config = client::load().await;
    if config.region().is_none() {
        return Err(exit::usage("in which region of AWS? Set AWS_REGION, or a region in the profile of AWS_PROFILE"));
    }
    let options =
        BucketOptions { bucket: bucket.name.clone(), prefix: bucket.prefix.clone(), ..BucketOptions::default() };
    Ok(Arc::new(S3Blobs::new(Clients::new(config).s3(), options)))
}

#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "its twin asks AWS")]
async fn in_s3(bucket: &crate::args::Bucket) -> anyhow::Result<Arc<dyn Blobs>> {
    Err(exit::usage(format!("{bucket}: this binary was built without AWS: build it with the cargo feature `aws`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Exit, Stop};

    #[tokio::test]
    async fn a_directory_without_backups_is_not_made_into_one() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("typo");
        let Err(error) = open(&Store { data: Some(data.clone()), blobs: None }).await else { panic!("it was opened") };
        assert_eq!(error.downcast_ref::<Stop>().unwrap().code, Exit::NotFound);
        assert!(!data.exists());
        let Err(error) = open(&Store::default()).await else { panic!("it was opened") };
        assert_eq!(error.downcast_ref::<Stop>().unwrap().code, Exit::Usage);
    }
}
