//! Queue, blobs and policies on AWS: the contracts that their embedded twins pass, and what is AWS's own (answers that
//! are lost, limits, checksums). The ledger has a file of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ObjectLockMode;
use portcullis_aws::blobs::{BucketOptions, Keeping, S3Blobs};
use portcullis_aws::client::Clients;
use portcullis_aws::policies::{Refreshed, S3Policies};
use portcullis_aws::queue::{Body, Message, SqsQueue, TRACE_PARENT};
use portcullis_domain::names::{Seq, TargetId};
use portcullis_domain::time::Millis;
use portcullis_embedded::clock::SystemClock;
use portcullis_engine::contract;
use portcullis_engine::ports::{Blobs, Clock, Policies, Queue, Wake};
use portcullis_tests_aws::emulator::Emulator;
use portcullis_tests_aws::resources;
use portcullis_tests_aws::wire::{Fault, Wire};

fn target(name: &str) -> TargetId {
    format!("stores/{name}").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_keeps_its_contract() {
    let emulator = Emulator::moto();
    let client = emulator.clients().await.sqs();
    let url = resources::queue(&client).await;
    contract::queue(Arc::new(SqsQueue::new(client, url, Arc::new(SystemClock))), Arc::new(SystemClock)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blobs_keep_their_contract() {
    let emulator = Emulator::moto();
    let client = emulator.clients().await.s3();
    let bucket = resources::bucket(&client, false).await;
    let options = BucketOptions { bucket, prefix: "installation/".to_owned(), ..BucketOptions::default() };
    contract::blobs(Arc::new(S3Blobs::new(client, options))).await;
}

/// Blobs whose wire the test holds, with the client beneath them.
async fn blobs(
    wire: &Wire,
    emulator: &Emulator,
    options: BucketOptions,
    lock: bool,
) -> (S3Blobs, aws_sdk_s3::Client, String) {
    let client = emulator.clients().await.s3();
    let bucket = resources::bucket(&client, lock).await;
    let options = BucketOptions { bucket: bucket.clone(), ..options };
    (S3Blobs::new(emulator.clients_over(wire).await.s3(), options), client, bucket)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_not_what_was_stored_is_an_error_and_never_bytes() {
    let emulator = Emulator::moto();
    let (blobs, client, bucket) = blobs(&Wire::default(), &emulator, BucketOptions::default(), false).await;
    blobs.put("backup.yaml", b"replicas: 3", false).await.unwrap();
    let stored = client.get_object().bucket(&bucket).key("backup.yaml").send().await.unwrap();
    let sha256 = stored.metadata().unwrap()["sha256"].clone();

    let overwrite = |sha256: Option<&str>| {
        let put = client.put_object().bucket(&bucket).key("backup.yaml").body(ByteStream::from_static(b"replicas: 0"));
        let put = sha256.into_iter().fold(put, |put, sha256| put.metadata("sha256", sha256));
        async move { put.send().await.unwrap() }
    };
    overwrite(Some(&sha256)).await;
    let error = blobs.get("backup.yaml").await.unwrap_err().to_string();
    assert_eq!(error, format!("reading the blob backup.yaml in {bucket}: its bytes do not fit their checksum"));
    overwrite(None).await;
    let error = blobs.get("backup.yaml").await.unwrap_err().to_string();
    assert!(error.ends_with("it has no SHA-256: it was not stored by Portcullis"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_is_asked_with_checksum_key_tags_and_retention() {
    let emulator = Emulator::moto();
    let wire = Wire::default();
    let of = |key: &str| match key.split('/').nth(1) {
        Some("production") => Some(Millis::days(90)),
        Some("staging") => Some(Millis::days(30)),
        _ => None,
    };
    let options = BucketOptions {
        kms_key: Some("arn:aws:kms:eu-west-1:123456789012:key/1".to_owned()),
        keeping: Some(Keeping { of: Arc::new(of), short: Millis::days(30), compliance: true }),
        ..BucketOptions::default()
    };
    let (blobs, client, bucket) = blobs(&wire, &emulator, options, true).await;
    let key = "shop/production/releases/7/index.json";
    assert!(blobs.put(key, b"{}", true).await.unwrap());
    let sent = wire.take().remove(0);
    // printf '{}' | sha256sum | xxd -r -p | base64
    assert_eq!(sent.header("x-amz-checksum-sha256"), Some("RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o="));
    assert_eq!(sent.header("if-none-match"), Some("*"));
    assert_eq!(sent.header("x-amz-server-side-encryption"), Some("aws:kms"));
    assert_eq!(sent.header("x-amz-server-side-encryption-bucket-key-enabled"), Some("true"));
    assert_eq!(sent.header("x-amz-tagging"), None, "what has no tag is kept the longest");

    let head = client.head_object().bucket(&bucket).key(key).send().await.unwrap();
    assert_eq!(head.object_lock_mode().map(ObjectLockMode::as_str), Some("COMPLIANCE"));
    assert_eq!(head.ssekms_key_id(), Some("arn:aws:kms:eu-west-1:123456789012:key/1"));
    let days =
        (head.object_lock_retain_until_date().unwrap().secs() - SystemClock.now().0.cast_signed() / 1_000) / 86_400;
    assert!((88..=90).contains(&days), "{days}");

    blobs.put("shop/staging/releases/7/index.json", b"{}", true).await.unwrap();
    let sent = wire.take().pop().unwrap();
    assert_eq!(sent.header("x-amz-tagging"), Some("retention=short"));
    assert_eq!(sent.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));

    blobs.put("evidence/scan.json", b"{}", false).await.unwrap();
    let plain = client.head_object().bucket(&bucket).key("evidence/scan.json").send().await.unwrap();
    assert_eq!(plain.object_lock_mode(), None, "no retention was asked for there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_blob_whose_answer_was_lost_is_new_and_a_conflict_is_tried_again() {
    let emulator = Emulator::moto();
    let wire = Wire::default();
    let (blobs, _, _) = blobs(&wire, &emulator, BucketOptions::default(), false).await;
    wire.next("PUT", Fault::AnswerLost(None));
    assert!(blobs.put("index.json", b"1", true).await.unwrap(), "it was there, by this very put");
    assert!(!blobs.put("index.json", b"1", true).await.unwrap(), "another put is another one");
    let conflict = "<Error><Code>ConditionalRequestConflict</Code><Message>by the test</Message></Error>";
    wire.next("PUT", Fault::Answered(409, conflict.to_owned()));
    assert!(blobs.put("other.json", b"1", true).await.unwrap());
    wire.assert_all_met();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_over_pages() {
    let emulator = Emulator::moto();
    let wire = Wire::default();
    let (blobs, _, _) =
        blobs(&wire, &emulator, BucketOptions { prefix: "p/".to_owned(), ..BucketOptions::default() }, false).await;
    let blobs = Arc::new(blobs);
    // A page has 1,000 keys.
    let keys: Vec<String> = (0..1_050).map(|n| format!("many/{n:05}")).collect();
    for some in keys.chunks(50) {
        let puts = some.iter().map(|key| {
            let (blobs, key) = (blobs.clone(), key.clone());
            tokio::spawn(async move { blobs.put(&key, b"", false).await.unwrap() })
        });
        for put in puts.collect::<Vec<_>>() {
            put.await.unwrap();
        }
    }
    wire.take();
    assert!(blobs.list("many/").await.unwrap() == keys);
    assert_eq!(wire.take().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_could_not_be_recorded_comes_back_as_it_was_large_or_small() {
    let emulator = Emulator::moto();
    let wire = Wire::default();
    let (blobs, _, _) = blobs(&wire, &emulator, BucketOptions::default(), false).await;
    let client = emulator.clients().await.sqs();
    let url = resources::queue(&client).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let queue = SqsQueue::new(client.clone(), &url, Arc::new(SystemClock))
        .with_blobs(Arc::new(blobs.clone()))
        .with_trace(Arc::new(|| Some(trace.to_owned())));
    let events: [Vec<u8>; 5] = [
        br#"{"detail-type":"ECR Image Action"}"#.to_vec(),
        format!(r#"{{"body":"{}"}}"#, "x".repeat(400_000)).into_bytes(),
        // Small as it came, large in a message: every quote is two characters there.
        "\"".repeat(200_000).into_bytes(),
        "\u{ffff}".as_bytes().to_vec(),
        vec![0xff, 0x00],
    ];
    for event in &events {
        queue.send_unrecorded("github", event).await.unwrap();
    }
    let mut back = Vec::new();
    let mut stored = 0;
    while back.len() < events.len() {
        let received = client
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10)
            .message_attribute_names("All")
            .send()
            .await
            .unwrap();
        for message in received.messages.unwrap_or_default() {
            assert_eq!(message.message_attributes.unwrap()[TRACE_PARENT].string_value(), Some(trace));
            let Message::Event(event) = Message::decode(&message.body.unwrap()).unwrap() else { panic!("an event") };
            assert_eq!(event.kind, "github");
            stored += u32::from(matches!(event.body, Body::Stored { .. }));
            back.push(queue.unrecorded(&event).await.unwrap());
            client
                .delete_message()
                .queue_url(&url)
                .receipt_handle(message.receipt_handle.unwrap())
                .send()
                .await
                .unwrap();
        }
    }
    back.sort();
    let mut sent = events.to_vec();
    sent.sort();
    assert!(back == sent, "byte for byte");
    assert_eq!(stored, 4);

    // A pointer that was forged, or whose blob is another one now, is refused.
    blobs.put("unrecorded/forged", b"other", false).await.unwrap();
    let pointer = |key: &str| {
        let sha256 = portcullis_domain::digest::Digest::of(b"what it says");
        let body = Body::Stored { key: key.to_owned(), sha256 };
        portcullis_aws::queue::Unrecorded { kind: "github".to_owned(), body }
    };
    for key in ["unrecorded/forged", "unrecorded/gone", "backups/shop"] {
        assert!(queue.unrecorded(&pointer(key)).await.is_err(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_beyond_a_quarter_of_an_hour_is_left_to_the_sweep_and_strange_messages_to_the_dead_letters() {
    let emulator = Emulator::moto();
    let wire = Wire::default();
    let url = resources::queue(&emulator.clients().await.sqs()).await;
    let queue = SqsQueue::new(emulator.clients_over(&wire).await.sqs(), &url, Arc::new(SystemClock));
    let now = SystemClock.now();
    let wake = |at| Wake { target: target("wake"), version: Seq(1), at };
    queue.send(wake(now + Millis::minutes(16))).await.unwrap();
    assert!(wire.take().is_empty());
    queue.send_unrecorded("github", b"{}").await.unwrap();
    emulator.clients().await.sqs().send_message().queue_url(&url).message_body("who knows").send().await.unwrap();
    queue.send(wake(now)).await.unwrap();
    let mut received = Vec::new();
    while received.is_empty() {
        received = queue.receive(10, Millis::seconds(1)).await.unwrap();
    }
    assert_eq!(received.iter().map(|one| one.wake.clone()).collect::<Vec<_>>(), [wake(now)]);
}

async fn put_policy(clients: &Clients, bucket: &str, name: &str, text: &str) {
    let put = clients.s3().put_object().bucket(bucket).key(format!("policies/{name}"));
    put.body(ByteStream::from(text.as_bytes().to_vec())).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_policies_come_into_force_and_broken_ones_do_not() {
    let emulator = Emulator::moto();
    let wire = Wire::default();
    let clients = emulator.clients().await;
    let bucket = resources::bucket(&clients.s3(), false).await;
    let s3 = emulator.clients_over(&wire).await.s3();
    let none = S3Policies::open(s3.clone(), &bucket, "policies/").await.unwrap_err().to_string();
    assert!(none.contains("there is no .yaml or .yml file"), "{none}");

    let text = include_str!("../../../docs/examples/first-policy.yaml");
    put_policy(&clients, &bucket, "hello.yaml", text).await;
    put_policy(&clients, &bucket, "README.md", "no policy").await;
    put_policy(&clients, &bucket, "older/hello.yaml", "no: [policy").await;
    let policies = S3Policies::open(s3, &bucket, "policies/").await.unwrap();
    let production: TargetId = "hello/production".parse().unwrap();
    let first = policies.get(&production).unwrap();
    let file = policies.files()["policies/hello.yaml"].clone();
    assert!(file.version.is_some(), "the bucket keeps versions");
    assert_eq!(policies.refresh().await.unwrap(), Refreshed::Fresh);
    assert_eq!(policies.refresh_now().await.unwrap(), Refreshed::Same);

    let changed = text.replace("owners: [kofi, lena]", "owners: [kofi, lena, ama]");
    put_policy(&clients, &bucket, "hello.yaml", &changed).await;
    assert_eq!(policies.refresh_now().await.unwrap(), Refreshed::Changed(1));
    let second = policies.get(&production).unwrap();
    assert_ne!(first.hash(), second.hash());
    assert_ne!(policies.files()["policies/hello.yaml"], file);

    put_policy(&clients, &bucket, "hello.yaml", &text.replace("environments:", "enviroments:")).await;
    let Refreshed::Refused(why) = policies.refresh_now().await.unwrap() else { panic!("it has an error") };
    assert!(why.contains("enviroments") && why.contains(&format!("s3://{bucket}/policies/hello.yaml")), "{why}");
    assert_eq!(policies.get(&production).unwrap().hash(), second.hash(), "the last good one stays");
    wire.take();
    assert_eq!(policies.refresh_now().await.unwrap(), Refreshed::Same);
    assert_eq!(wire.take().len(), 1, "what was refused is not read again");

    put_policy(&clients, &bucket, "hello.yaml", text).await;
    assert_eq!(policies.refresh_now().await.unwrap(), Refreshed::Changed(1));
    assert_eq!(policies.get(&production).unwrap().hash(), first.hash());
}
