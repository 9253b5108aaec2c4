//! A namespace of many mixed objects is backed up, and brought back into an empty one, and onto itself after half of it was
//! changed or deleted: nothing differs in what it means. Velero #8103: a restore skipped what was there already.
//! `PORTCULLIS_BACKUP_OBJECTS` says how many objects; 2,000 are what is promised.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_domain::time::Millis;
use portcullis_embedded::clock::SystemClock;
use portcullis_engine::memory::{Faults, MemoryBlobs};
use portcullis_engine::ports::{Blobs as _, Clock as _};
use portcullis_kubernetes::backup::diff::{between, may_differ};
use portcullis_kubernetes::backup::restore::{Done, plan, restore};
use portcullis_kubernetes::backup::seal::open;
use portcullis_kubernetes::backup::wire::Wire;
use portcullis_kubernetes::backup::{Export, export, stored};
use portcullis_kubernetes::client::Client;
use portcullis_tests_kubernetes::cluster::{Cluster, Namespace};
use portcullis_tests_kubernetes::mixed;
use serde_json::{Value, json};

/// Objects of a usual run.
const FEW: usize = 200;

fn count() -> usize {
    let named = std::env::var("PORTCULLIS_BACKUP_OBJECTS").ok();
    named.map_or(FEW, |text| text.parse().expect("a number of objects"))
}

fn wire(namespace: &Namespace<'_>) -> Arc<dyn Wire> {
    Arc::new(mixed::unpaced(namespace))
}

async fn taken(namespace: &Namespace<'_>) -> Export {
    export(&wire(namespace), &namespace.name, mixed::wanted()).await.unwrap()
}

/// Every object, Secrets opened.
fn all(export: &Export) -> Vec<Value> {
    let opened = export.sealed.iter().flat_map(|sealed| open(&sealed.bytes, &mixed::keys()).unwrap());
    export.objects.values().flatten().cloned().chain(opened).collect()
}

/// Brings objects back, whatever is there; what came of them, counted.
async fn brought_back(namespace: &Namespace<'_>, objects: Vec<Value>) -> BTreeMap<&'static str, usize> {
    let wire = wire(namespace);
    let planned = plan(&wire, &namespace.name, objects).await.unwrap();
    assert!(planned.skipped.is_empty(), "{:?}", planned.skipped);
    let mut counts = BTreeMap::new();
    for (object, done) in restore(&wire, planned.confirm(&namespace.name).unwrap()).await.unwrap() {
        let what = match done {
            Done::Created => "created",
            Done::Changed => "changed",
            Done::Same => "same",
            other => panic!("{object}: {other:?}"),
        };
        *counts.entry(what).or_default() += 1;
    }
    counts
}

fn assert_same(before: &Export, after: &Export) {
    let differences = between(&all(before), &all(after));
    let first: Vec<String> =
        differences.iter().take(5).map(|(object, change)| format!("{object}: {change:?}")).collect();
    assert!(differences.is_empty(), "{} objects differ: {first:#?}", differences.len());
}

/// Changes every third object and deletes every fifth, behind everybody's back; how many of each.
async fn devastated(client: &Client, namespace: &Namespace<'_>, count: usize) -> (usize, usize) {
    let (mut changed, mut deleted) = (0, 0);
    for (n, (kind, object)) in mixed::objects(count).into_iter().enumerate() {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        if n % 5 == 0 {
            client.delete(&kind, &namespace.name, &name).await.unwrap();
            deleted += 1;
            continue;
        }
        let patch = match (n % 3, kind.kind) {
            (0, "ConfigMap") => json!([
                { "op": "replace", "path": "/data/number", "value": "11" }, { "op": "remove", "path": "/data/empty" },
                { "op": "add", "path": "/data/more", "value": "x" },
            ]),
            (0, "Service") => json!([{ "op": "replace", "path": "/spec/ports/0/port", "value": 81 }]),
            (0, "Deployment") => json!([
                { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.test/app:wrong" },
                { "op": "remove", "path": "/spec/template/spec/containers/0/env/0" },
            ]),
            (0, _) => json!([{ "op": "replace", "path": "/metadata/labels/team", "value": "nobody" }]),
            _ => continue,
        };
        client.patch(&kind, &namespace.name, &name, patch.as_array().unwrap()).await.unwrap();
        changed += 1;
    }
    (changed, deleted)
}

#[tokio::test(flavor = "multi_thread")]
async fn and_nothing_differs_in_what_it_means() {
    let Some(cluster) = Cluster::shared().await else { return };
    let count = count();
    let home = cluster.namespace("home").await;
    mixed::fill(&home, count).await;
    let before = taken(&home).await;
    // Kubernetes makes the ServiceAccount `default` in every namespace; people give it pull secrets.
    let all_of_it = count + 1;
    assert_eq!(before.count(), all_of_it, "{:?}", before.about.left_out);

    // What is brought back is what was stored and read again, not what is in memory.
    let blobs = MemoryBlobs::new(Faults::default());
    let target = "shop/production".parse().unwrap();
    let key = stored::store(&*blobs, &target, &before, SystemClock.now(), Millis::hours(1)).await.unwrap();
    for file in blobs.list("").await.unwrap() {
        let bytes = blobs.get(&file).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(mixed::SECRET), "{file} has a Secret in the clear");
    }
    let without = stored::load(&*blobs, &key, None).await.unwrap();
    let secrets = without.sealed.iter().map(|file| file.objects.len()).sum::<usize>();
    assert!(secrets > 0);
    assert_eq!((without.objects.len(), without.count()), (all_of_it - secrets, all_of_it));
    let read = stored::load(&*blobs, &key, Some(&mixed::keys())).await.unwrap().objects;
    assert_eq!(read, all(&before));

    // Without the private key everything else comes back.
    let rest = cluster.namespace("rest").await;
    assert_eq!(brought_back(&rest, without.objects).await, BTreeMap::from([("created", count - secrets), ("same", 1)]));

    let empty = cluster.namespace("empty").await;
    assert_eq!(brought_back(&empty, read.clone()).await, BTreeMap::from([("created", count), ("same", 1)]));
    assert_same(&before, &taken(&empty).await);

    let (changed, deleted) = devastated(&mixed::unpaced(&home), &home, count).await;
    assert!(changed > 0 && deleted > 0);
    let seen = between(&all(&before), &all(&taken(&home).await)).len();
    assert_eq!(seen, changed + deleted, "each change is a difference");
    let done = brought_back(&home, read.clone()).await;
    assert_eq!((done["created"], done["changed"]), (deleted, changed), "{done:?}");
    assert_same(&before, &taken(&home).await);

    // Once more changes nothing.
    assert_eq!(brought_back(&home, read).await, BTreeMap::from([("same", all_of_it)]));
    eprintln!("{count} objects; what may differ without being told:\n  {}", may_differ().join("\n  "));
}
