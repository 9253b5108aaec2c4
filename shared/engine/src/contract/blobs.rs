//! Blobs: what was put is there, whole, and an index is written once.

use std::sync::Arc;

use crate::ports::Blobs;

/// The contract of [`Blobs`], on an empty store.
///
/// # Panics
/// Where the adapter breaks it.
#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
pub async fn blobs(blobs: Arc<dyn Blobs>) {
    assert_eq!(blobs.get("contract/none").await.unwrap(), None, "an absent key is none, not an error");
    assert!(blobs.put("contract/a/one.yaml", b"one", false).await.unwrap());
    assert_eq!(blobs.get("contract/a/one.yaml").await.unwrap().as_deref(), Some(&b"one"[..]));
    assert!(blobs.put("contract/a/one.yaml", b"other", false).await.unwrap(), "without only_new it is replaced");
    assert_eq!(blobs.get("contract/a/one.yaml").await.unwrap().as_deref(), Some(&b"other"[..]));

    assert!(blobs.put("contract/a/index.json", b"first", true).await.unwrap());
    assert!(!blobs.put("contract/a/index.json", b"second", true).await.unwrap(), "only_new never replaces");
    assert_eq!(blobs.get("contract/a/index.json").await.unwrap().as_deref(), Some(&b"first"[..]));

    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    blobs.put("contract/b/large", &large, false).await.unwrap();
    assert!(blobs.get("contract/b/large").await.unwrap().unwrap() == large, "large bytes come back whole");
    blobs.put("contract/b/empty", b"", false).await.unwrap();
    assert_eq!(blobs.get("contract/b/empty").await.unwrap().as_deref(), Some(&b""[..]), "empty is not absent");

    let listed = blobs.list("contract/a/").await.unwrap();
    assert_eq!(listed, ["contract/a/index.json", "contract/a/one.yaml"], "sorted, by prefix");

    let writers = (0..16_u8).map(|n| {
        let blobs = blobs.clone();
        tokio::spawn(async move { blobs.put("contract/c/index.json", &[n], true).await.unwrap() })
    });
    let mut won = 0;
    for writer in writers.collect::<Vec<_>>() {
        won += u32::from(writer.await.unwrap());
    }
    assert_eq!(won, 1, "of 16 writers of an index one wins");
}
