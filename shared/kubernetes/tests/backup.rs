//! A namespace backed up, stored, and brought back: into an empty namespace, onto a changed one, and where it can not be.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "backup/api.rs"]
mod api;

use std::collections::BTreeSet;

use api::Api;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::TargetId;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::memory::{Faults, MemoryBlobs};
use portcullis_engine::perform::backup::BackupIndex;
use portcullis_engine::ports::Blobs;
use portcullis_kubernetes::backup::about::About;
use portcullis_kubernetes::backup::diff::diff;
use portcullis_kubernetes::backup::leave::{Why, summary};
use portcullis_kubernetes::backup::restore::{Done, What, plan, restore, text_of};
use portcullis_kubernetes::backup::seal::{PrivateKeys, open, seal};
use portcullis_kubernetes::backup::{Export, Wanted, export, stored, yaml_read, yaml_write};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};

fn object(version: &str, kind: &str, name: &str, rest: Json) -> Json {
    let mut object = rest;
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    object["metadata"]["name"] = name.into();
    object["metadata"]["namespace"] = "shop".into();
    object
}

fn map(name: &str) -> Json {
    object("v1", "ConfigMap", name, json!({ "data": { "key": name, "conf": "a {\n  b;\n}\n" } }))
}

fn deployment(name: &str) -> Json {
    object(
        "apps/v1",
        "Deployment",
        name,
        json!({
            "metadata": { "labels": { "app": name }, "annotations": { "portcullis.dev/fence.shop.production": "l/1/7" } },
            "spec": { "replicas": 3, "selector": { "matchLabels": { "app": name } }, "template": {
                "metadata": { "labels": { "app": name }, "creationTimestamp": null },
                "spec": { "containers": [{ "name": "web", "image": "r/web:1", "env": [{ "name": "A", "value": "1" }] }] } } },
        }),
    )
}

fn service(name: &str) -> Json {
    object(
        "v1",
        "Service",
        name,
        json!({ "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "protocol": "TCP" }] } }),
    )
}

fn owned(mut child: Json, kind: &str, name: &str, owner: &Json) -> Json {
    let uid = owner["metadata"]["uid"].clone();
    child["metadata"]["ownerReferences"] = json!([{ "kind": kind, "name": name, "uid": uid, "controller": true }]);
    child
}

/// A namespace with so many objects of several kinds, children and things that pass among them.
fn namespace(count: usize) -> Api {
    let api = Api::default();
    for n in 0..count / 5 {
        let name = format!("app-{n:04}");
        api.put(map(&format!("{name}-config")));
        api.put(service(&name));
        api.put(deployment(&name));
        let deployment = api.get("Deployment", &name).unwrap();
        api.put(owned(
            object("apps/v1", "ReplicaSet", &format!("{name}-1"), json!({})),
            "Deployment",
            &name,
            &deployment,
        ));
        let set = api.get("ReplicaSet", &format!("{name}-1")).unwrap();
        let pod = json!({ "status": { "containerStatuses": [{ "name": "web", "image": "r/web:1",
            "imageID": "r/web@sha256:aa", "state": { "running": {} } }] } });
        api.put(owned(object("v1", "Pod", &format!("{name}-1-x"), pod), "ReplicaSet", &format!("{name}-1"), &set));
    }
    api.put(object("v1", "Secret", "token", json!({ "type": "Opaque", "data": { "key": "aHVudGVyMg==" } })));
    api.put(object("v1", "Event", "e", json!({})));
    api.put(object("v1", "Endpoints", "app-0000", json!({})));
    api.put(map("kube-root-ca.crt"));
    api
}

/// A private key; nothing is kept under it but what this file makes.
fn key(text: &str) -> PrivateKeys {
    PrivateKeys::read(&SecretString::from(text)).unwrap()
}

fn keys() -> PrivateKeys {
    key(age::x25519::Identity::generate().to_string().expose_secret())
}

async fn exported(api: &Api) -> Export {
    export(&api.wire(), "shop", Wanted::default()).await.unwrap()
}

async fn sealed(api: &Api, keys: &PrivateKeys) -> Export {
    let wanted = Wanted { secrets: Some(keys.recipients().remove(0)) };
    export(&api.wire(), "shop", wanted).await.unwrap()
}

fn all(export: &Export) -> Vec<Json> {
    export.objects.values().flatten().cloned().collect()
}

/// Every object of the export against what is there now.
fn differences(export: &Export, api: &Api) -> Vec<String> {
    let differs = |wanted: &Json| {
        let (kind, name) = (wanted["kind"].as_str().unwrap(), wanted["metadata"]["name"].as_str().unwrap());
        match api.get(kind, name) {
            Some(live) => diff(wanted, &live).iter().map(|one| format!("{kind}/{name} {one}")).collect(),
            None => vec![format!("{kind}/{name} is not there")],
        }
    };
    all(export).iter().flat_map(differs).collect()
}

#[tokio::test]
async fn a_backup_keeps_what_people_made_and_names_what_it_leaves() {
    let api = namespace(10);
    let export = exported(&api).await;
    let kinds: Vec<(&str, usize)> = export.objects.iter().map(|(kind, list)| (kind.as_str(), list.len())).collect();
    assert_eq!(kinds, [("ConfigMap", 2), ("Deployment", 2), ("Service", 2)]);
    insta::assert_snapshot!(summary(&export.about.left_out, 5).join("\n"), @r"
    ConfigMap: 1; every namespace gets one by itself: kube-root-ca.crt
    EndpointSlice: all; made from other objects by the endpoint slice controller
    Endpoints: all; made from other objects by the endpoints controller
    Event: all; tells of a moment
    Pod: 2; its ReplicaSet makes it again: app-0000-1-x, app-0001-1-x
    PodMetrics.metrics.k8s.io: all; tells of a moment
    ReplicaSet: 2; its Deployment makes it again: app-0000-1, app-0001-1
    Secret: all; Secrets were not asked for
    ");
    assert_eq!(export.about.images["Deployment/app-0000"]["web"].digests, BTreeSet::from(["sha256:aa".to_owned()]));
    let asked = api.asked();
    for never in ["secrets", "events", "endpoints", "endpointslices", "metrics.k8s.io"] {
        assert!(!asked.iter().any(|path| path.contains(never)), "{never} was asked for");
    }
    assert_eq!(asked.iter().filter(|path| path.ends_with("/api") || path.ends_with("/apis")).count(), 2);
    assert!(asked.iter().any(|path| path.contains("/apis/autoscaling/v2/")), "the preferred version");
}

#[tokio::test]
async fn an_older_server_is_asked_group_by_group_and_gives_the_same() {
    let api = namespace(10);
    let new = exported(&api).await;
    let old = exported(&api.with_old_discovery()).await;
    assert_eq!(old.objects, new.objects);
}

#[tokio::test]
async fn secrets_are_part_of_it_only_when_asked_for() {
    let api = namespace(5);
    let keys = keys();
    let with = sealed(&api, &keys).await;
    let file = with.sealed.as_ref().unwrap();
    assert_eq!((file.kind.as_str(), &file.names[..], with.count()), ("Secret", &["token".to_owned()][..], 4));
    assert!(!with.objects.contains_key("Secret"), "never among what lies open");
    assert!(!with.about.left_out.iter().any(|left| left.kind == "Secret"), "{:?}", with.about.left_out);
    assert!(!format!("{with:?}").contains("aHVudGVyMg"));
    assert_eq!(open(&file.bytes, &keys).unwrap()[0]["data"]["key"], "aHVudGVyMg==");
    let without = exported(&api).await;
    assert!(without.sealed.is_none() && !without.objects.contains_key("Secret"));
}

#[tokio::test]
async fn a_list_that_is_gone_in_the_middle_is_begun_again_so_that_a_kind_is_of_one_moment() {
    for times in [1, 3, 4] {
        let api = Api::with((0..1_200).map(|n| map(&format!("c-{n:04}"))).collect());
        api.gone(times);
        let export = exported(&api).await;
        let maps = &export.objects["ConfigMap"];
        assert_eq!(maps.len(), 1_200);
        let moments: BTreeSet<String> = maps.iter().map(|map| map["data"]["moment"].to_string()).collect();
        assert_eq!(moments.len(), 1, "pages of two moments: {moments:?}");
        assert!(!export.about.versions["ConfigMap"].is_empty());
    }
}

#[tokio::test]
async fn a_kind_that_is_not_permitted_is_reported_and_one_of_kubernetes_own_that_fails_fails_it() {
    let api = namespace(5);
    api.instead("/deployments", 403, 1);
    api.instead("/widgets", 503, 1);
    let export = exported(&api).await;
    assert!(export.about.has_losses());
    let lost: Vec<&str> =
        export.about.left_out.iter().filter(|left| left.why.is_loss()).map(|left| left.kind.as_str()).collect();
    assert_eq!(lost, ["Deployment", "Widget.widgets.example.com"]);
    assert!(export.has(&["Deployment", "Service"]).unwrap_err().contains("NOT BACKED UP"));
    assert!(export.has(&["Service"]).is_ok());
    // Its children have lost their controller: they are kept, and it is said.
    assert_eq!(export.objects["ReplicaSet"].len(), 1);
    assert!(
        export.about.notes.iter().any(|note| note.contains("belongs to Deployment app-0000")),
        "{:?}",
        export.about.notes
    );

    api.instead("/services", 500, 1);
    let failed = portcullis_kubernetes::backup::export(&api.wire(), "shop", Wanted::default()).await;
    assert!(failed.unwrap_err().to_string().contains("Service"));
}

#[tokio::test]
async fn manifests_for_the_engine_read_back_as_the_objects_with_what_the_backup_says_beside_them() {
    let api = namespace(10);
    let export = exported(&api).await;
    let given = export.clone().exported();
    assert_eq!(given.manifests.len(), export.count());
    let text: String =
        given.manifests.iter().map(|manifest| format!("---\n{}", manifest.yaml.trim_end()) + "\n").collect();
    assert_eq!(yaml_read::objects(yaml_read::read(&text).unwrap()).unwrap(), all(&export));
    let about: About = serde_json::from_value(given.about.unwrap()).unwrap();
    assert_eq!(about, export.about);
    assert!(!about.versions["Deployment"].is_empty() && !about.images.is_empty() && !about.left_out.is_empty());
}

/// Every object, Secrets opened.
fn everything(export: &Export, keys: &PrivateKeys) -> Vec<Json> {
    let opened = export.sealed.iter().flat_map(|sealed| open(&sealed.bytes, keys).unwrap());
    all(export).into_iter().chain(opened).collect()
}

#[tokio::test]
async fn two_thousand_objects_come_back_into_an_empty_namespace_as_they_were() {
    let from = namespace(2_000);
    let keys = keys();
    let export = sealed(&from, &keys).await;
    assert_eq!(export.count(), 1_201);
    let empty = Api::default();
    let wire = empty.wire();
    let planned = plan(&wire, "shop", everything(&export, &keys)).await.unwrap();
    assert_eq!(planned.counts(), [1_201, 0, 0, 0], "{}", text_of(&planned, 3));
    assert!(empty.objects().is_empty(), "a plan changes nothing");
    let done = restore(&wire, planned.confirm("shop").unwrap()).await.unwrap();
    assert!(done.iter().all(|(_, done)| *done == Done::Created));
    assert_eq!(differences(&export, &empty), Vec::<String>::new());
    // And once more: nothing is left to do.
    assert_eq!(empty.get("Secret", "token").unwrap()["data"]["key"], "aHVudGVyMg==");
    let again = plan(&wire, "shop", everything(&export, &keys)).await.unwrap();
    assert_eq!(again.counts(), [0, 0, 1_201, 0]);
    let log = empty.asked();
    let first = |part: &str| log.iter().position(|ask| ask.starts_with("Create") && ask.contains(part)).unwrap();
    let last = |part: &str| log.iter().rposition(|ask| ask.starts_with("Create") && ask.contains(part)).unwrap();
    assert!(
        last("/configmaps") < first("/services") && last("/services") < first("/deployments"),
        "in dependency order"
    );
}

#[tokio::test]
async fn onto_a_changed_namespace_it_changes_what_the_plan_showed_and_nothing_else() {
    let api = namespace(20);
    let export = exported(&api).await;
    api.edit("Deployment", "app-0001", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = "r/web:2".into();
        object["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "B", "value": "2" }]);
        object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "sidecar" }));
        object["metadata"]["annotations"]["example.com/by-hand"] = "yes".into();
    });
    api.edit("ConfigMap", "app-0002-config", |object| object["data"] = json!({ "other": "x" }));
    api.edit("Service", "app-0003", |object| {
        object["spec"]["ports"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "port": 81, "protocol": "TCP", "nodePort": 30081 }));
    });
    let wire = api.wire();
    let planned = plan(&wire, "shop", all(&export)).await.unwrap();
    insta::assert_snapshot!(text_of(&planned, 9), @r#"
    Into the namespace shop: 0 created, 3 changed, 9 the same, 0 not possible
      change  ConfigMap/app-0002-config
              + data.conf: "a {\n  b;\n}\n"
              + data.key: "app-0002-config"
              - data.other: "x"
      change  Service/app-0003
              - spec.ports[port=81,protocol=TCP]: {"port":81,"protocol":"TCP"}
      change  Deployment/app-0001
              - metadata.annotations["example.com/by-hand"]: "yes"
              - spec.template.spec.containers[name=web].env[name=B]: {"name":"B","value":"2"}
              + spec.template.spec.containers[name=web].env[name=A]: {"name":"A","value":"1"}
                spec.template.spec.containers[name=web].image: "r/web:2" -> "r/web:1"
              - spec.template.spec.containers[name=sidecar]: {"name":"sidecar"}
      note    Deployment/app-0001 is under release control: after this the next look finds it changed by hand, and asks a person
    "#);
    let before = api.objects();
    api.asked();
    let done = restore(&wire, planned.confirm("shop").unwrap()).await.unwrap();
    assert_eq!(done.iter().filter(|(_, done)| *done == Done::Changed).count(), 3);
    assert!(done.iter().all(|(_, done)| matches!(done, Done::Changed | Done::Same)), "{done:?}");
    assert_eq!(differences(&export, &api), Vec::<String>::new());
    let fence =
        api.get("Deployment", "app-0001").unwrap()["metadata"]["annotations"]["portcullis.dev/fence.shop.production"]
            .clone();
    assert_eq!(fence, "l/1/7", "a fence is neither removed nor set back");
    assert_eq!(api.objects().len(), before.len(), "nothing is created or deleted");
    let writes = api.asked().iter().filter(|ask| !ask.starts_with("DRY") && !ask.starts_with("Get")).count();
    assert_eq!(writes, 6, "an apply and a removal for each of three");
}

#[tokio::test]
async fn an_object_that_moved_since_the_plan_was_seen_is_left() {
    let api = namespace(10);
    let export = exported(&api).await;
    api.edit("ConfigMap", "app-0000-config", |object| object["data"]["key"] = "changed".into());
    let wire = api.wire();
    let planned = plan(&wire, "shop", all(&export)).await.unwrap();
    api.edit("ConfigMap", "app-0000-config", |object| object["data"]["key"] = "and again".into());
    let done = restore(&wire, planned.confirm("shop").unwrap()).await.unwrap();
    let moved: Vec<String> =
        done.iter().filter(|(_, done)| *done == Done::Moved).map(|(object, _)| object.to_string()).collect();
    assert_eq!(moved, ["ConfigMap/app-0000-config"]);
    assert_eq!(api.get("ConfigMap", "app-0000-config").unwrap()["data"]["key"], "and again");
}

#[tokio::test]
async fn what_cannot_be_changed_is_explained_and_left_while_the_rest_comes_back() {
    let api = namespace(10);
    let export = exported(&api).await;
    api.edit("Deployment", "app-0000", |object| {
        object["spec"]["selector"] = json!({ "matchLabels": { "app": "other" } });
    });
    api.edit("ConfigMap", "app-0001-config", |object| object["data"] = json!({}));
    let wire = api.wire();
    let planned = plan(&wire, "shop", all(&export)).await.unwrap();
    let refused: Vec<&str> = planned
        .steps
        .iter()
        .filter_map(|step| if let What::Refused(words) = &step.what { Some(words.as_str()) } else { None })
        .collect();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("spec.selector cannot be changed on a Deployment"), "{refused:?}");
    let done = restore(&wire, planned.confirm("shop").unwrap()).await.unwrap();
    assert_eq!(done.iter().filter(|(_, done)| matches!(done, Done::Refused(_))).count(), 1);
    assert_eq!(differences(&export, &api).len(), 1, "only the selector: {:?}", differences(&export, &api));
}

#[tokio::test]
async fn another_namespace_gets_the_objects_as_its_own() {
    let api = namespace(5);
    let export = exported(&api).await;
    let other = Api::default();
    let wire = other.wire();
    let planned = plan(&wire, "shop-copy", all(&export)).await.unwrap();
    assert!(planned.confirm("shop").is_err());
    restore(&wire, planned.confirm("shop-copy").unwrap()).await.unwrap();
    assert!(other.objects().iter().all(|object| object["metadata"]["namespace"] == "shop-copy"));
    assert_eq!(differences(&export, &other), Vec::<String>::new());
    let nowhere = plan(&wire, "nowhere", all(&export)).await.unwrap_err().to_string();
    assert!(nowhere.contains("kubectl create namespace nowhere"), "{nowhere}");
}

#[tokio::test]
async fn children_in_a_manifest_are_left_to_their_controllers() {
    let api = namespace(5);
    let everything = api.objects();
    let empty = Api::default();
    let planned = plan(&empty.wire(), "shop", everything).await.unwrap();
    assert!(planned.skipped.iter().any(|left| left.kind == "Pod" && matches!(left.why, Why::Child { .. })));
    assert!(planned.steps.iter().all(|step| step.object.kind != "Pod" && step.object.kind != "ReplicaSet"));
}

fn target() -> TargetId {
    "shop/production".parse().unwrap()
}

#[tokio::test]
async fn a_stored_backup_is_found_read_and_verified_and_a_broken_one_is_named() {
    let api = namespace(10);
    let export = exported(&api).await;
    let blobs = MemoryBlobs::new(Faults::default());
    let now = Timestamp(1_795_248_107_000);
    let key = stored::store(&*blobs, &target(), &export, now, Millis::hours(1)).await.unwrap();
    assert_eq!(key, "shop/production/deployments/20261121T080147Z/index.json");
    let second = stored::store(&*blobs, &target(), &export, now, Millis::hours(1)).await.unwrap();
    assert_eq!(second, "shop/production/deployments/20261121T080147Z-2/index.json");
    assert_eq!(stored::list(&*blobs, &target()).await.unwrap(), [second.clone(), key.clone()]);

    let index = BackupIndex::read(&blobs.get(&key).await.unwrap().unwrap()).unwrap();
    let files: Vec<&str> = index.files.iter().map(|file| file.key.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        files,
        [
            "backup-configmap-20261121T080147Z.yaml",
            "backup-deployment-20261121T080147Z.yaml",
            "backup-service-20261121T080147Z.yaml"
        ]
    );
    let read = stored::load(&*blobs, &key, None).await.unwrap();
    assert_eq!((read.objects, read.about), (all(&export), Some(export.about.clone())));

    let file = &index.files[1].key;
    let mut bytes = blobs.get(file).await.unwrap().unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    blobs.put(file, &bytes, false).await.unwrap();
    let verified = stored::verify_all(&*blobs, &target(), None).await.unwrap();
    assert_eq!(verified.whole.keys().collect::<Vec<_>>(), [&second]);
    assert!(verified.broken[&key].contains("backup-deployment"), "{:?}", verified.broken);
}

/// A backup with Secrets as it is stored.
async fn stored_sealed(keys: &PrivateKeys) -> (std::sync::Arc<MemoryBlobs>, String, Export) {
    let api = namespace(5);
    api.edit("Secret", "token", |secret| {
        let applied = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"key\":\"aHVudGVyMg==\"}}",
            "kapp.k14s.io/original": "aHVudGVyMg==" });
        secret["metadata"]["annotations"] = applied;
    });
    let export = sealed(&api, keys).await;
    let blobs = MemoryBlobs::new(Faults::default());
    let now = Timestamp(1_795_248_107_000);
    let key = stored::store(&*blobs, &target(), &export, now, Millis::hours(1)).await.unwrap();
    (blobs, key, export)
}

#[tokio::test]
async fn secrets_are_stored_encrypted_and_come_back_with_their_private_key_only() {
    let (keys, others) = (keys(), keys());
    let (blobs, key, export) = stored_sealed(&keys).await;
    let names = blobs.list("").await.unwrap();
    let file = "shop/production/deployments/20261121T080147Z/backup-secrets-20261121T080147Z.yaml.age";
    assert!(names.iter().any(|name| name == file), "{names:?}");
    for name in &names {
        let bytes = blobs.get(name).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("aHVudGVyMg") && !text.contains("hunter2"), "{name} has it in the clear");
    }

    let without = stored::load(&*blobs, &key, None).await.unwrap();
    assert_eq!((without.objects.len(), without.count()), (3, 4));
    assert_eq!(without.sealed[0].sealed_to, Some(keys.recipients()[0].to_string()));
    assert_eq!(without.about, Some(export.about.clone()));

    let with = stored::load(&*blobs, &key, Some(&keys)).await.unwrap();
    assert!(with.sealed.is_empty());
    assert_eq!(with.objects, everything(&export, &keys));
    assert!(!format!("{with:?}").contains("aHVu"));

    let error = stored::load(&*blobs, &key, Some(&others)).await.unwrap_err().to_string();
    assert!(error.contains("none of the private keys opens it"), "{error}");
    assert_eq!(stored::verify_all(&*blobs, &target(), None).await.unwrap().whole[&key], 4);
    assert_eq!(stored::verify_all(&*blobs, &target(), Some(&others)).await.unwrap().broken.len(), 1);
}

#[tokio::test]
async fn an_encrypted_file_that_was_changed_is_found_with_and_without_its_key() {
    let keys = keys();
    let (blobs, key, _) = stored_sealed(&keys).await;
    let mut index = BackupIndex::read(&blobs.get(&key).await.unwrap().unwrap()).unwrap();
    let at = index.files.iter().position(|file| file.sealed_to.is_some()).unwrap();
    let name = index.files[at].key.clone();
    let whole = blobs.get(&name).await.unwrap().unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    blobs.damage(&name, &changed);
    let error = stored::load(&*blobs, &key, None).await.unwrap_err().to_string();
    assert!(error.contains("it is not what its index says"), "{error}");

    // And if whoever changed it wrote its checksum, too.
    index.files[at].sha256 = Digest::of(&changed);
    blobs.damage(&key, &serde_json::to_vec(&index).unwrap());
    assert!(stored::load(&*blobs, &key, None).await.is_ok(), "without the key a checksum is all there is");
    let error = stored::load(&*blobs, &key, Some(&keys)).await.unwrap_err().to_string();
    assert!(error.contains("it is damaged, or was changed"), "{error}");

    // Or made one of another kind: a public key is all that this needs.
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "token" } });
    let forged = seal("Role", &[role], &keys.recipients()[0]).unwrap().bytes;
    index.files[at].sha256 = Digest::of(&forged);
    blobs.damage(&name, &forged);
    blobs.damage(&key, &serde_json::to_vec(&index).unwrap());
    let error = stored::load(&*blobs, &key, Some(&keys)).await.unwrap_err().to_string();
    assert!(error.contains("other kinds"), "{error}");
}

#[tokio::test]
async fn a_backup_of_before_is_read_with_what_it_said_of_itself() {
    let about = json!({ "v": 1, "namespace": "shop", "versions": { "Service": "7" }, "images": {}, "left_out": [],
        "notes": [], "more": 2 });
    let said = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "portcullis-backup",
        "labels": { "portcullis.dev/about": "backup" } }, "data": { "about.json": about.to_string() } });
    let file = yaml_write::stream(&[map("a"), said]);
    let blobs = MemoryBlobs::new(Faults::default());
    let prefix = "shop/production/releases/7/1795248107000";
    let index = json!({ "v": 1, "target": "shop/production", "intention": 9, "taken_at": 1, "keep_until": 2, "files": [
        { "key": format!("{prefix}/backup-configmap-x.yaml"), "kind": "ConfigMap",
            "sha256": Digest::of(file.as_bytes()), "objects": ["a", "portcullis-backup"] }] });
    blobs.put(&format!("{prefix}/backup-configmap-x.yaml"), file.as_bytes(), true).await.unwrap();
    let key = format!("{prefix}/index.json");
    blobs.put(&key, index.to_string().as_bytes(), true).await.unwrap();
    let stored = stored::load(&*blobs, &key, None).await.unwrap();
    assert_eq!(stored.objects, [map("a")], "what it says of itself is no object to bring back");
    assert_eq!(stored.about.unwrap(), serde_json::from_value(about).unwrap());
    assert_eq!(stored::list(&*blobs, &target()).await.unwrap(), [key]);
}

#[tokio::test]
async fn an_index_can_not_point_at_another_backups_files() {
    let api = namespace(5);
    let export = exported(&api).await;
    let blobs = MemoryBlobs::new(Faults::default());
    let now = Timestamp(1_795_248_107_000);
    let key = stored::store(&*blobs, &target(), &export, now, Millis::hours(1)).await.unwrap();
    let text = String::from_utf8(blobs.get(&key).await.unwrap().unwrap()).unwrap();
    let moved = "shop/production/deployments/elsewhere/index.json";
    blobs.put(moved, text.as_bytes(), true).await.unwrap();
    assert!(stored::load(&*blobs, moved, None).await.unwrap_err().to_string().contains("not beside its index"));
}

#[tokio::test]
async fn an_autoscalers_replicas_are_not_set_back() {
    let api = namespace(5);
    api.put(object(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "app-0000",
        json!({ "spec": { "minReplicas": 2,
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "app-0000" } } }),
    ));
    let export = exported(&api).await;
    api.edit("Deployment", "app-0000", |object| object["spec"]["replicas"] = 9.into());
    let wire = api.wire();
    let planned = plan(&wire, "shop", all(&export)).await.unwrap();
    assert_eq!(planned.counts()[1], 0, "{}", text_of(&planned, 3));
    restore(&wire, planned.confirm("shop").unwrap()).await.unwrap();
    assert_eq!(api.get("Deployment", "app-0000").unwrap()["spec"]["replicas"], 9);
}
