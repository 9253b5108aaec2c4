//! What is read and what it means, against an API server in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_domain::action::{AwaitReady, Found, ObjectKey, Stamp, Value};
use portcullis_domain::names::{Seq, ServiceName};
use portcullis_domain::policy::Colour;
use serde_json::{Value as Json, json};

use super::*;
use crate::fake::{FakeApi, NAMESPACE, deployment, digest, front, pod, service, target};
use crate::objects::COLOUR;

fn labels(colour: Colour) -> Json {
    json!({ "app": "web", SERVICE: "web", COLOUR: colour.to_string() })
}

fn running(name: &str, colour: Colour, n: u8, ready: bool) -> Json {
    pod(name, labels(colour), &format!("registry/web@{}", digest(n)), ready)
}

fn slice(pods: &[&str]) -> Json {
    let endpoints: Vec<Json> = pods
        .iter()
        .map(|pod| json!({ "targetRef": { "kind": "Pod", "name": pod }, "conditions": { "ready": true } }))
        .collect();
    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "web-x", "labels": { "kubernetes.io/service-name": "web" } }, "endpoints": endpoints })
}

fn ask(colour: Colour, n: u8, replicas: u32) -> AwaitReady {
    AwaitReady { object: ObjectKey::workload(&service(), colour), digest: digest(n), replicas, after: Seq(1) }
}

async fn look_once(api: &FakeApi, ask: &AwaitReady) -> Found {
    look(&Readings::of(api.client()), &target(), NAMESPACE, ask, Duration::ZERO).await.unwrap()
}

fn workload(n: u8, replicas: u32) -> Value {
    Value::Workload { digest: digest(n), replicas }
}

async fn found_of(api: &FakeApi, services: &[&str]) -> BTreeMap<ObjectKey, Found> {
    let services: BTreeSet<ServiceName> = services.iter().map(|name| ServiceName::new(name).unwrap()).collect();
    observe(&api.client(), &target(), NAMESPACE, &services).await.unwrap()
}

#[tokio::test]
async fn every_part_of_every_service_is_told_absent_ones_too() {
    let api = FakeApi::with(&[
        front(Some(Colour::Blue), Some("l/1/4")),
        deployment("web-blue", Some(Colour::Blue), 2, &digest(1)),
        running("a", Colour::Blue, 1, true),
        running("b", Colour::Blue, 1, false),
    ]);
    let found = found_of(&api, &["web", "worker"]).await;
    assert_eq!(found.len(), 6);
    let blue = &found[&ObjectKey::workload(&service(), Colour::Blue)];
    assert_eq!(blue.stamp, Some(Stamp { fence: None, value: workload(1, 2) }));
    assert_eq!(blue.ready, 1);
    assert_eq!(found[&ObjectKey::workload(&service(), Colour::Green)], Found::default());
    let fence = Some("l/1/4".parse().unwrap());
    let traffic = Some(Stamp { fence, value: Value::Traffic { green: 0 } });
    assert_eq!(found[&ObjectKey::traffic(&service())].stamp, traffic);
    assert_eq!(found[&ObjectKey::traffic(&service())].problems, Vec::<String>::new());
    assert_eq!(found[&ObjectKey::traffic(&ServiceName::new("worker").unwrap())], Found::default());
}

#[tokio::test]
async fn what_was_not_adopted_is_read_as_blue_and_what_was_is_not() {
    let mut plain = deployment("web", None, 2, &digest(1));
    let api = FakeApi::with(&[plain.clone(), front(None, None)]);
    let found = found_of(&api, &["web"]).await;
    assert_eq!(found[&ObjectKey::workload(&service(), Colour::Blue)].stamp.as_ref().unwrap().value, workload(1, 2));
    let traffic = &found[&ObjectKey::traffic(&service())];
    assert_eq!(traffic.stamp.as_ref().unwrap().value, Value::Traffic { green: 0 });
    assert_eq!(traffic.problems, ["its selector has no colour; `portcullis cluster adopt` gives it one"]);
    plain["metadata"]["annotations"][ADOPTED] = "shop/production".into();
    let api = FakeApi::with(&[plain, front(None, None)]);
    let found = found_of(&api, &["web"]).await;
    assert_eq!(found[&ObjectKey::workload(&service(), Colour::Blue)], Found::default());
}

#[tokio::test]
async fn many_services_are_read_by_lists_not_one_by_one() {
    let api = FakeApi::default();
    let names: Vec<String> = (0..40).map(|n| format!("web-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(found_of(&api, &names).await.len(), 120);
    let asked = api.log();
    assert!(asked.len() <= 5, "{asked:?}");
}

#[tokio::test]
async fn pages_of_a_list_are_all_read() {
    // The test's client asks for two objects a page.
    let pods: Vec<Json> = (0..5).map(|n| running(&format!("p{n}"), Colour::Blue, 1, true)).collect();
    let api = FakeApi::with(&pods);
    api.put(deployment("web-blue", Some(Colour::Blue), 5, &digest(1)));
    let found = found_of(&api, &["web"]).await;
    assert_eq!(found[&ObjectKey::workload(&service(), Colour::Blue)].ready, 5);
}

#[tokio::test]
async fn a_pod_is_ready_for_a_look_only_by_what_the_cluster_has_seen_since() {
    let mut green = deployment("web-green", Some(Colour::Green), 2, &digest(2));
    let pods = [
        running("a", Colour::Green, 2, true),
        running("b", Colour::Green, 2, true),
        running("old", Colour::Green, 1, true),
    ];
    let api = FakeApi::with(&pods);
    api.put(green.clone());
    let seen = look_once(&api, &ask(Colour::Green, 2, 2)).await;
    assert_eq!(seen.ready, 2, "pods of another digest do not count");
    green["metadata"]["generation"] = 7.into();
    api.put(green);
    let seen = look_once(&api, &ask(Colour::Green, 2, 2)).await;
    assert_eq!(seen.ready, 0, "the controller has not seen the last change");
}

#[tokio::test]
async fn a_colour_with_traffic_is_ready_by_its_endpoints_and_others_that_still_get_requests_are_told() {
    let api = FakeApi::with(&[
        front(Some(Colour::Green), Some("l/1/4")),
        deployment("web-green", Some(Colour::Green), 2, &digest(2)),
        running("a", Colour::Green, 2, true),
        running("b", Colour::Green, 2, true),
        slice(&["a", "blue-1"]),
    ]);
    let seen = look_once(&api, &ask(Colour::Green, 2, 2)).await;
    assert_eq!(seen.ready, 1);
    assert!(seen.problems[0].contains("still sends to 1 other pods"), "{:?}", seen.problems);
    api.put(slice(&["a", "b"]));
    let seen = look_once(&api, &ask(Colour::Green, 2, 2)).await;
    assert_eq!((seen.ready, seen.problems), (2, vec![]));
}

#[tokio::test]
async fn a_drained_colour_counts_every_pod_that_is_still_there() {
    let mut leaving = running("a", Colour::Blue, 1, false);
    leaving["metadata"]["deletionTimestamp"] = "2026-05-04T10:00:00Z".into();
    let mut over = running("b", Colour::Blue, 1, false);
    over["status"]["phase"] = "Succeeded".into();
    let api = FakeApi::with(&[deployment("web-blue", Some(Colour::Blue), 0, &digest(1)), leaving, over]);
    let seen = look_once(&api, &ask(Colour::Blue, 1, 0)).await;
    assert_eq!(seen.ready, 1);
    let mut unseen = deployment("web-blue", Some(Colour::Blue), 0, &digest(1));
    unseen["metadata"]["generation"] = 9.into();
    let api = FakeApi::with(&[unseen]);
    let seen = look_once(&api, &ask(Colour::Blue, 1, 0)).await;
    assert_eq!(seen.ready, 1, "it may still make pods");
}

/// A service that comes up in green, with its one pod.
fn comes_up(service: &str, ready: bool) -> [Json; 2] {
    let mut green = deployment(&format!("{service}-green"), Some(Colour::Green), 1, &digest(2));
    let labels = json!({ "app": service, SERVICE: service, COLOUR: "green" });
    green["metadata"]["labels"] = labels.clone();
    green["spec"]["selector"]["matchLabels"] = labels.clone();
    [green, pod(&format!("{service}-pod"), labels, &format!("registry/web@{}", digest(2)), ready)]
}

#[tokio::test]
async fn many_that_come_up_at_once_are_looked_at_by_a_few_lists() {
    let services: Vec<ServiceName> = (0..40).map(|n| ServiceName::new(&format!("web-{n}")).unwrap()).collect();
    let api = FakeApi::default();
    for (n, service) in services.iter().enumerate() {
        for object in comes_up(service.as_str(), n % 2 == 0) {
            api.put(object);
        }
    }
    let readings = Readings::of(api.client());
    let (target, readings) = (&target(), &readings);
    let looks = services.iter().map(|service| async move {
        let object = ObjectKey::workload(service, Colour::Green);
        let ask = AwaitReady { object, digest: digest(2), replicas: 1, after: Seq(1) };
        look(readings, target, NAMESPACE, &ask, Duration::ZERO).await.unwrap().ready
    });
    let seen = futures::future::join_all(looks).await;
    assert!(seen.iter().enumerate().all(|(n, ready)| *ready == u32::from(n % 2 == 0)), "{seen:?}");
    let mut asked = api.log();
    // Two objects a page: what is a list counts once.
    asked.dedup();
    assert!(asked.len() <= 20, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_waits_a_while_for_what_is_about_to_come() {
    let api = FakeApi::with(&comes_up("web", false));
    let readings = Readings::of(api.client());
    let (target, ask) = (target(), ask(Colour::Green, 2, 1));
    let look_for = |wait| look(&readings, &target, NAMESPACE, &ask, wait);
    assert_eq!(look_for(Duration::from_millis(800)).await.unwrap().ready, 0, "it does not wait for ever");
    let comes = async {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let [_, pod] = comes_up("web", true);
        api.put(pod);
    };
    let (seen, ()) = tokio::join!(look_for(Duration::from_millis(800)), comes);
    assert_eq!(seen.unwrap().ready, 1);
}

#[tokio::test]
async fn a_crash_is_told_with_the_last_lines_of_its_log() {
    let mut crashing = running("a", Colour::Green, 2, false);
    crashing["status"]["containerStatuses"] =
        json!([{ "name": "web", "state": { "waiting": { "reason": "CrashLoopBackOff" } } }]);
    let api = FakeApi::with(&[deployment("web-green", Some(Colour::Green), 1, &digest(2)), crashing]);
    // The fake has no logs: whatever is answered there is one.
    api.fail("GET /api/v1/namespaces/shop/pods/a/log", 200, json!("no database at db:5432"), false);
    let seen = look_once(&api, &ask(Colour::Green, 2, 1)).await;
    assert_eq!(seen.ready, 0);
    assert!(
        seen.problems[0].contains("CrashLoopBackOff") && seen.problems[0].contains("no database"),
        "{:?}",
        seen.problems
    );
}

#[tokio::test]
async fn an_image_by_tag_is_known_by_its_pods_or_not_at_all() {
    let mut plain = deployment("web", None, 1, &digest(1));
    plain["spec"]["template"]["spec"]["containers"][0]["image"] = "registry/web:latest".into();
    let of = |name: &str, n: u8| {
        let mut pod = pod(name, json!({ "app": "web" }), "registry/web:latest", true);
        pod["status"]["containerStatuses"] =
            json!([{ "name": "web", "imageID": format!("registry/web@{}", digest(n)) }]);
        pod
    };
    let api = FakeApi::with(&[plain.clone(), of("a", 7)]);
    let found = found_of(&api, &["web"]).await;
    assert_eq!(found[&ObjectKey::workload(&service(), Colour::Blue)].stamp.as_ref().unwrap().value, workload(7, 1));
    for pods in [vec![], vec![of("a", 7), of("b", 8)]] {
        let api = FakeApi::with(&pods);
        api.put(plain.clone());
        let services = BTreeSet::from([service()]);
        assert!(observe(&api.client(), &target(), NAMESPACE, &services).await.is_err(), "nothing is guessed");
    }
}

#[tokio::test]
async fn who_else_wrote_it_last_is_named() {
    let mut blue = deployment("web-blue", Some(Colour::Blue), 2, &digest(1));
    let wrote = |manager: &str, time: &str| {
        json!({ "manager": manager, "operation": "Update", "apiVersion": "apps/v1", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:replicas": {} } } })
    };
    blue["metadata"]["managedFields"] =
        json!([wrote("portcullis", "2026-05-04T10:00:00Z"), wrote("kubectl-edit", "2026-05-04T11:00:00Z")]);
    let key = ObjectKey::workload(&service(), Colour::Blue);
    let api = FakeApi::with(std::slice::from_ref(&blue));
    assert!(found_of(&api, &["web"]).await[&key].written_by.as_deref().is_some_and(|by| by.contains("kubectl")));
    blue["metadata"]["managedFields"] =
        json!([wrote("portcullis", "2026-05-04T12:00:00Z"), wrote("kubectl-edit", "2026-05-04T11:00:00Z")]);
    let api = FakeApi::with(&[blue]);
    assert_eq!(found_of(&api, &["web"]).await[&key].written_by, None);
}

#[tokio::test]
async fn a_whole_picture_names_what_could_not_be_read() {
    let api =
        FakeApi::with(&[front(Some(Colour::Blue), None), deployment("web-blue", Some(Colour::Blue), 2, &digest(1))]);
    api.fail("GET /apis/policy", 403, json!({ "reason": "Forbidden", "message": "User \"x\" cannot list" }), false);
    let picture = picture(&api.client(), NAMESPACE, &service()).await.unwrap();
    assert_eq!(picture.live(), Some(Colour::Blue));
    assert_eq!(picture.unread.len(), 1, "{:?}", picture.unread);
    assert!(picture.unread[0].contains("verb list on poddisruptionbudgets.policy"), "{:?}", picture.unread);
}

#[test]
fn selectors_select_as_kubernetes_does() {
    let labels = json!({ "app": "web", "tier": "front" });
    for (selector, expected) in [
        (json!({}), true),
        (json!({ "matchLabels": { "app": "web" } }), true),
        (json!({ "matchLabels": { "app": "web", "x": "y" } }), false),
        (json!({ "matchExpressions": [{ "key": "tier", "operator": "In", "values": ["front", "back"] }] }), true),
        (json!({ "matchExpressions": [{ "key": "none", "operator": "In", "values": ["front"] }] }), false),
        (json!({ "matchExpressions": [{ "key": "none", "operator": "NotIn", "values": ["front"] }] }), true),
        (json!({ "matchExpressions": [{ "key": "app", "operator": "Exists" }] }), true),
        (json!({ "matchExpressions": [{ "key": "app", "operator": "DoesNotExist" }] }), false),
    ] {
        assert_eq!(selects(&selector, &labels), expected, "{selector}");
    }
    let query = json!({ "matchLabels": { "a": "b" }, "matchExpressions": [
        { "key": "c", "operator": "In", "values": ["d", "e"] }, { "key": "f", "operator": "DoesNotExist" }] });
    assert_eq!(as_query(&query), "a=b,c in (d,e),!f");
}
