//! Fenced writes against an API server in memory: what is accepted, what is refused, and what goes over the wire.

use portcullis_domain::action::{ObjectKey, Purpose, Stamp, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::policy::Colour;
use portcullis_engine::ports::{Cluster as _, PortResult, Written};
use serde_json::{Value as Json, json};

use crate::client::kinds;
use crate::cluster::{KubernetesCluster, Options, Source};
use crate::fake::{FakeApi, deployment, digest, front, place, pod, service, target};
use crate::objects::{COLOUR, LEAST_BEFORE, PREVIOUS, RELEASED, REPLICAS_BEFORE};

const KEY: &str = "portcullis.dev/fence.shop.production";

struct World {
    api: FakeApi,
    cluster: KubernetesCluster,
}

fn blue(replicas: u32, fence: Option<&str>) -> Json {
    fenced(deployment("web-blue", Some(Colour::Blue), replicas, &digest(1)), fence)
}

fn green(replicas: u32, fence: Option<&str>) -> Json {
    fenced(deployment("web-green", Some(Colour::Green), replicas, &digest(2)), fence)
}

fn fenced(mut object: Json, fence: Option<&str>) -> Json {
    if let Some(fence) = fence {
        object["metadata"]["annotations"][KEY] = fence.into();
    }
    object
}

fn workload(n: u8, replicas: u32) -> Value {
    Value::Workload { digest: digest(n), replicas }
}

fn share(green: u16) -> Value {
    Value::Traffic { green }
}

#[expect(clippy::unnecessary_wraps, reason = "what is found may be nothing")]
fn stamp(fence: Option<&str>, value: Value) -> Option<Stamp> {
    Some(Stamp { fence: fence.map(|text| text.parse().unwrap()), value })
}

fn of(colour: Colour) -> ObjectKey {
    ObjectKey::workload(&service(), colour)
}

fn traffic() -> ObjectKey {
    ObjectKey::traffic(&service())
}

impl World {
    fn new(objects: &[Json]) -> Self {
        Self::with(objects, Options::default())
    }

    fn with(objects: &[Json], options: Options) -> Self {
        let api = FakeApi::with(objects);
        Self { cluster: KubernetesCluster::new(Source::Connected(api.client()), options), api }
    }

    async fn write(
        &self,
        object: ObjectKey,
        from: Vec<Option<Stamp>>,
        to: Value,
        purpose: Purpose,
        fence: &str,
    ) -> PortResult<Written> {
        let write = Write { object, from, to, purpose, bundle: None };
        self.cluster.write(&target(), &place(), &write, &fence.parse().unwrap()).await
    }

    fn fence_of(&self, kind: &crate::client::Kind, name: &str) -> Json {
        self.api.object(kind, name)["metadata"]["annotations"][KEY].clone()
    }

    fn colour(&self) -> Json {
        self.api.object(&kinds::SERVICES, "web")["spec"]["selector"][COLOUR].clone()
    }
}

#[tokio::test]
async fn a_switch_is_one_patch_whose_answer_is_read_back() {
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/5"))]);
    world.cluster.client(&place()).await.unwrap();
    world.api.log();
    let written =
        world.write(traffic(), vec![stamp(Some("l/1/5"), share(0))], share(10_000), Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    assert_eq!(world.api.log(), ["PATCH /api/v1/namespaces/shop/services/web"]);
    let after = world.api.object(&kinds::SERVICES, "web");
    assert_eq!(after["spec"]["selector"], json!({ "app": "web", COLOUR: "green" }));
    assert_eq!(after["metadata"]["annotations"][KEY], "l/1/9");
    assert_eq!(after["metadata"]["annotations"]["portcullis.dev/previous-colour"], "blue");
    assert_eq!(after["metadata"]["annotations"]["portcullis.dev/intention"], "switch");
}

#[tokio::test]
async fn a_late_switch_changes_nothing_and_is_told_what_is_there() {
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/12"))]);
    let from = vec![stamp(Some("l/1/5"), share(0))];
    let written = world.write(traffic(), from, share(10_000), Purpose::Switch, "l/1/9").await.unwrap();
    let Written::Drift(found) = written else { panic!("a late writer got through") };
    assert_eq!(found.stamp, stamp(Some("l/1/12"), share(0)));
    assert_eq!(world.colour(), "blue");
}

#[tokio::test]
async fn a_value_by_hand_is_drift_and_is_not_overwritten() {
    let world = World::new(&[front(Some(Colour::Green), Some("l/1/5"))]);
    let from = vec![stamp(Some("l/1/5"), share(0))];
    let written = world.write(traffic(), from, share(0), Purpose::Restore, "l/1/9").await.unwrap();
    assert!(matches!(written, Written::Drift(_)), "{written:?}");
    assert_eq!((world.colour(), world.fence_of(&kinds::SERVICES, "web")), (json!("green"), json!("l/1/5")));
}

#[tokio::test]
async fn every_state_that_is_listed_is_accepted_not_only_the_first() {
    let world = World::new(&[front(Some(Colour::Green), Some("l/1/7"))]);
    let from = vec![stamp(Some("l/1/5"), share(0)), stamp(Some("l/1/7"), share(10_000))];
    let written = world.write(traffic(), from, share(0), Purpose::Restore, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    assert_eq!(world.colour(), "blue");
}

#[tokio::test]
async fn a_selector_or_an_annotation_that_is_none_of_ours_is_never_written_over() {
    let mut purple = front(Some(Colour::Blue), Some("l/1/5"));
    purple["spec"]["selector"][COLOUR] = "purple".into();
    let mut none = front(Some(Colour::Blue), None);
    none["spec"]["selector"] = json!({});
    for (object, foreign) in [
        (purple, "the selector portcullis.dev/colour=purple"),
        (none, "a Service without a selector"),
        (front(Some(Colour::Blue), Some("by hand")), "by hand"),
    ] {
        let world = World::new(std::slice::from_ref(&object));
        let from = vec![stamp(Some("l/1/5"), share(0)), stamp(None, share(0))];
        let written = world.write(traffic(), from, share(10_000), Purpose::Switch, "l/1/9").await.unwrap();
        let Written::Drift(found) = written else { panic!("{object}") };
        assert_eq!(found.foreign.as_deref(), Some(foreign));
        assert_eq!(world.api.object(&kinds::SERVICES, "web")["spec"], object["spec"]);
    }
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_reading() {
    // The patch was made, its answer was lost.
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/5"))]);
    world.api.fail("PATCH", 504, json!({}), true);
    let from = vec![stamp(Some("l/1/5"), share(0))];
    let written = world.write(traffic(), from.clone(), share(10_000), Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    // It was not made: that is an error, and nothing is sent again here.
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/5"))]);
    world.cluster.client(&place()).await.unwrap();
    world.api.log();
    world.api.fail("PATCH", 504, json!({}), false);
    let error = world.write(traffic(), from, share(10_000), Purpose::Switch, "l/1/9").await.unwrap_err();
    assert!(error.to_string().contains("failed with 504"), "{error}");
    assert_eq!(world.api.log().iter().filter(|line| line.starts_with("PATCH")).count(), 1);
    assert_eq!(world.colour(), "blue");
}

#[tokio::test]
async fn a_write_that_the_server_did_not_begin_is_sent_again() {
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/5"))]);
    world.api.fail("PATCH", 429, json!({ "details": { "retryAfterSeconds": 0 } }), false);
    world.api.fail("PATCH", 503, json!({ "details": { "retryAfterSeconds": 0 } }), false);
    let from = vec![stamp(Some("l/1/5"), share(0))];
    let written = world.write(traffic(), from, share(10_000), Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
}

#[tokio::test]
async fn a_share_is_no_value_of_a_selector() {
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/5"))]);
    let from = vec![stamp(Some("l/1/5"), share(0))];
    let error = world.write(traffic(), from, share(2_500), Purpose::Switch, "l/1/9").await.unwrap_err();
    assert!(error.to_string().contains("moves all traffic at once"), "{error}");
}

#[tokio::test]
async fn a_service_that_was_not_adopted_gets_a_fence_but_is_never_switched() {
    let world = World::new(&[front(None, None), deployment("web", None, 2, &digest(1))]);
    let from = vec![stamp(None, share(0))];
    let marked = world.write(traffic(), from, share(0), Purpose::Mark, "l/1/3").await;
    assert_eq!(marked.unwrap(), Written::Done);
    assert_eq!(world.api.object(&kinds::SERVICES, "web")["spec"]["selector"], json!({ "app": "web" }));
    let from = vec![stamp(Some("l/1/3"), share(0))];
    let error = world.write(traffic(), from, share(10_000), Purpose::Switch, "l/1/9").await.unwrap_err();
    assert!(error.to_string().contains("not adopted yet"), "{error}");
    // Nor does another colour come up beside it.
    let error = world.write(of(Colour::Green), vec![None], workload(2, 0), Purpose::Mark, "l/1/9").await.unwrap_err();
    assert!(error.to_string().contains("has to be adopted"), "{error}");
}

#[tokio::test]
async fn rolling_writes_the_plain_deployment_and_remembers_the_digest_before() {
    let world = World::new(&[front(None, None), deployment("web", None, 2, &digest(1))]);
    let from = vec![stamp(None, workload(1, 2))];
    let marked = world.write(of(Colour::Blue), from, workload(1, 2), Purpose::Mark, "l/1/3").await;
    assert_eq!(marked.unwrap(), Written::Done);
    let from = vec![stamp(Some("l/1/3"), workload(1, 2))];
    let deployed = world.write(of(Colour::Blue), from, workload(2, 2), Purpose::Deploy, "l/1/5").await;
    assert_eq!(deployed.unwrap(), Written::Done);
    let after = world.api.object(&kinds::DEPLOYMENTS, "web");
    assert_eq!(after["spec"]["template"]["spec"]["containers"][0]["image"], format!("registry/web@{}", digest(2)));
    assert_eq!(after["metadata"]["annotations"][PREVIOUS], digest(1).to_string());
    assert_eq!(after["metadata"]["annotations"][RELEASED], digest(2).to_string());
    // And back.
    let from = vec![stamp(Some("l/1/5"), workload(2, 2))];
    let back = world.write(of(Colour::Blue), from, workload(1, 2), Purpose::Restore, "l/1/7").await;
    assert_eq!(back.unwrap(), Written::Done);
    let after = world.api.object(&kinds::DEPLOYMENTS, "web");
    assert_eq!(after["spec"]["template"]["spec"]["containers"][0]["image"], format!("registry/web@{}", digest(1)));
}

#[tokio::test]
async fn green_is_made_at_rest_from_blue_and_then_comes_up_with_what_follows_it() {
    let autoscaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web-blue" }, "spec": { "minReplicas": 2, "maxReplicas": 9,
        "scaleTargetRef": { "kind": "Deployment", "name": "web-blue" } } });
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web", COLOUR: "blue" } } } });
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/1")), blue(4, Some("l/1/2")), autoscaler, budget]);
    let made = world.write(of(Colour::Green), vec![None], workload(2, 0), Purpose::Mark, "l/1/5").await;
    assert_eq!(made.unwrap(), Written::Done);
    let green = world.api.object(&kinds::DEPLOYMENTS, "web-green");
    assert_eq!((&green["spec"]["replicas"], &green["metadata"]["annotations"][KEY]), (&json!(0), &json!("l/1/5")));
    let from = vec![stamp(Some("l/1/5"), workload(2, 0))];
    let up = world.write(of(Colour::Green), from, workload(2, 4), Purpose::Deploy, "l/1/6").await;
    assert_eq!(up.unwrap(), Written::Done);
    let pinned = world.api.object(&kinds::AUTOSCALERS, "web-green");
    assert_eq!((&pinned["spec"]["minReplicas"], &pinned["spec"]["maxReplicas"]), (&json!(4), &json!(9)));
    assert_eq!(pinned["metadata"]["annotations"][LEAST_BEFORE], "2");
    assert_eq!(
        world.api.object(&kinds::BUDGETS, "web-green")["spec"]["selector"]["matchLabels"],
        json!({ "app": "web", COLOUR: "green" })
    );
    assert_eq!(world.api.object(&kinds::SERVICES, "web-green")["spec"]["selector"][COLOUR], "green");
    assert_eq!(world.api.object(&kinds::AUTOSCALERS, "web-blue")["spec"]["minReplicas"], 2, "blue's is left alone");
}

#[tokio::test]
async fn what_is_at_rest_gets_what_serves_now_when_it_is_deployed_again() {
    let mut serving = blue(2, Some("l/1/2"));
    serving["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "NEW", "value": "1" }]);
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/1")), serving, green(0, Some("l/1/3"))]);
    let from = vec![stamp(Some("l/1/3"), workload(2, 0))];
    let up = world.write(of(Colour::Green), from, workload(3, 2), Purpose::Deploy, "l/1/6").await;
    assert_eq!(up.unwrap(), Written::Done);
    let container =
        world.api.object(&kinds::DEPLOYMENTS, "web-green")["spec"]["template"]["spec"]["containers"][0].clone();
    assert_eq!(container["env"][0]["name"], "NEW");
    assert_eq!(container["image"], format!("registry/web@{}", digest(3)));
}

#[tokio::test]
async fn a_claim_pins_the_autoscaler_and_draining_the_other_colour_lets_it_go() {
    let autoscaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web" }, "spec": { "minReplicas": 1, "maxReplicas": 3,
        "scaleTargetRef": { "kind": "Deployment", "name": "web-blue" } } });
    let world = World::new(&[
        front(Some(Colour::Green), Some("l/1/1")),
        blue(4, Some("l/1/2")),
        green(4, Some("l/1/3")),
        autoscaler,
    ]);
    let from = vec![stamp(Some("l/1/2"), workload(1, 4))];
    let claimed = world.write(of(Colour::Blue), from, workload(1, 4), Purpose::Restore, "l/1/9").await;
    assert_eq!(claimed.unwrap(), Written::Done);
    let pinned = world.api.object(&kinds::AUTOSCALERS, "web");
    assert_eq!((&pinned["spec"]["minReplicas"], &pinned["spec"]["maxReplicas"]), (&json!(4), &json!(4)));
    assert_eq!(pinned["metadata"]["annotations"][KEY], "l/1/9");
    let from = vec![stamp(Some("l/1/3"), workload(2, 4))];
    let drained = world.write(of(Colour::Green), from, workload(2, 0), Purpose::Restore, "l/1/10").await;
    assert_eq!(drained.unwrap(), Written::Done);
    let free = world.api.object(&kinds::AUTOSCALERS, "web");
    assert_eq!((&free["spec"]["minReplicas"], &free["spec"]["maxReplicas"]), (&json!(1), &json!(3)));
    assert!(free["metadata"]["annotations"].get(LEAST_BEFORE).is_none());
    let green = world.api.object(&kinds::DEPLOYMENTS, "web-green");
    assert_eq!(green["metadata"]["annotations"][REPLICAS_BEFORE], "4");
}

#[tokio::test]
async fn a_late_drain_neither_scales_down_nor_frees_what_a_newer_claim_pinned() {
    let autoscaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web", "annotations": { KEY: "l/1/9", LEAST_BEFORE: "1" } },
        "spec": { "minReplicas": 4, "maxReplicas": 9, "scaleTargetRef": { "kind": "Deployment", "name": "web-blue" } } });
    let world = World::new(&[
        front(Some(Colour::Blue), Some("l/1/1")),
        blue(4, Some("l/1/9")),
        green(4, Some("l/1/3")),
        autoscaler,
    ]);
    let late = world
        .write(of(Colour::Blue), vec![stamp(Some("l/1/2"), workload(1, 4))], workload(1, 0), Purpose::Drain, "l/1/6")
        .await;
    assert!(matches!(late.unwrap(), Written::Drift(_)));
    assert_eq!(world.api.object(&kinds::DEPLOYMENTS, "web-blue")["spec"]["replicas"], 4);
    // Green may still be drained under an older fence than the claim's; blue's autoscaler stays pinned.
    let from = vec![stamp(Some("l/1/3"), workload(2, 4))];
    world.write(of(Colour::Green), from, workload(2, 0), Purpose::Drain, "l/1/8").await.unwrap();
    assert_eq!(world.api.object(&kinds::AUTOSCALERS, "web")["spec"]["minReplicas"], 4);
}

#[tokio::test]
async fn a_field_that_another_controller_keeps_is_refused_by_name_and_with_the_fix() {
    let kept = |fields: Json| {
        json!([{ "manager": "argocd-controller", "operation": "Update", "apiVersion": "v1",
        "time": "2026-05-04T10:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields }])
    };
    let mut service = front(Some(Colour::Blue), Some("l/1/1"));
    service["metadata"]["managedFields"] = kept(json!({ "f:spec": { "f:selector": {} } }));
    let world = World::new(&[service.clone(), blue(2, Some("l/1/2")), green(0, Some("l/1/3"))]);
    let from = || vec![stamp(Some("l/1/3"), workload(2, 0))];
    let error = world.write(of(Colour::Green), from(), workload(2, 2), Purpose::Deploy, "l/1/6").await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("Argo CD") && words.contains("portcullis.dev/accepts-writer=argocd-controller"), "{words}");
    assert_eq!(world.api.object(&kinds::DEPLOYMENTS, "web-green")["spec"]["replicas"], 0, "nothing was changed");
    // A person saw to it; and the way back never waits for that.
    service["metadata"]["annotations"]["portcullis.dev/accepts-writer"] = "argocd-controller".into();
    let world = World::new(&[service, blue(2, Some("l/1/2")), green(0, Some("l/1/3"))]);
    let up = world.write(of(Colour::Green), from(), workload(2, 2), Purpose::Deploy, "l/1/6").await;
    assert_eq!(up.unwrap(), Written::Done);
}

#[tokio::test]
async fn behind_a_load_balancer_to_pods_no_other_colour_comes_up_unless_it_is_said() {
    let binding = json!({ "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding",
        "metadata": { "name": "b" }, "spec": { "serviceRef": { "name": "web" }, "targetType": "ip" } });
    let objects = [front(Some(Colour::Blue), Some("l/1/1")), blue(2, Some("l/1/2")), green(0, Some("l/1/3")), binding];
    let from = || vec![stamp(Some("l/1/3"), workload(2, 0))];
    let world = World::new(&objects);
    let error = world.write(of(Colour::Green), from(), workload(2, 2), Purpose::Deploy, "l/1/6").await.unwrap_err();
    assert!(error.to_string().contains("requests would be lost"), "{error}");
    let back = world.write(of(Colour::Green), from(), workload(2, 2), Purpose::Restore, "l/1/6").await;
    assert_eq!(back.unwrap(), Written::Done, "the way back is never held up");
    let world = World::with(&objects, Options { selector_everywhere: true, ..Options::default() });
    let up = world.write(of(Colour::Green), from(), workload(2, 2), Purpose::Deploy, "l/1/6").await;
    assert_eq!(up.unwrap(), Written::Done);
}

#[tokio::test]
async fn an_autoscaler_that_something_else_makes_holds_a_claim_but_no_rollback() {
    let autoscaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "keda-hpa-web", "ownerReferences": [{ "kind": "ScaledObject", "name": "web", "controller": true }] },
        "spec": { "maxReplicas": 9, "scaleTargetRef": { "kind": "Deployment", "name": "web-green" } } });
    let world = World::new(&[
        front(Some(Colour::Blue), Some("l/1/1")),
        blue(2, Some("l/1/2")),
        green(2, Some("l/1/3")),
        autoscaler,
    ]);
    let from = || vec![stamp(Some("l/1/3"), workload(2, 2))];
    let error = world.write(of(Colour::Green), from(), workload(2, 2), Purpose::Claim, "l/1/6").await.unwrap_err();
    assert!(error.to_string().contains("made by ScaledObject web"), "{error}");
    let from = vec![stamp(Some("l/1/6"), workload(2, 2))];
    let back = world.write(of(Colour::Green), from, workload(2, 2), Purpose::Restore, "l/1/8").await;
    assert_eq!(back.unwrap(), Written::Done);
}

#[tokio::test]
async fn an_image_by_tag_is_known_by_what_its_pods_run() {
    let mut plain = deployment("web", None, 1, &digest(1));
    plain["spec"]["template"]["spec"]["containers"][0]["image"] = "registry/web:latest".into();
    let mut running = pod("web-1", json!({ "app": "web" }), "registry/web:latest", true);
    running["status"]["containerStatuses"] =
        json!([{ "name": "web", "imageID": format!("registry/web@{}", digest(7)) }]);
    let world = World::new(&[plain.clone(), running]);
    let from = vec![stamp(None, workload(7, 1))];
    let marked = world.write(of(Colour::Blue), from, workload(7, 1), Purpose::Mark, "l/1/3").await;
    assert_eq!(marked.unwrap(), Written::Done);
    assert_eq!(world.fence_of(&kinds::DEPLOYMENTS, "web"), "l/1/3");
    assert_eq!(
        world.api.object(&kinds::DEPLOYMENTS, "web")["spec"]["template"]["spec"]["containers"][0]["image"],
        "registry/web:latest",
        "a mark makes no pod anew"
    );
    let world = World::new(&[plain]);
    let error = world.write(of(Colour::Blue), vec![], workload(7, 1), Purpose::Mark, "l/1/3").await.unwrap_err();
    assert!(error.to_string().contains("is no digest, and no pod"), "{error}");
}

#[tokio::test]
async fn a_quota_or_a_missing_right_is_said_in_words() {
    let world = World::new(&[blue(2, Some("l/1/2"))]);
    world.api.fail(
        "PATCH",
        403,
        json!({ "reason": "Forbidden", "message": "User \"x\" cannot patch resource" }),
        false,
    );
    let from = vec![stamp(Some("l/1/2"), workload(1, 2))];
    let error = world.write(of(Colour::Blue), from, workload(1, 3), Purpose::Claim, "l/1/6").await.unwrap_err();
    assert!(error.to_string().contains("verb patch on deployments.apps in namespace shop"), "{error}");
}

#[tokio::test]
async fn a_write_that_stopped_at_rest_is_gone_on_with() {
    let world =
        World::new(&[front(Some(Colour::Blue), Some("l/1/1")), blue(2, Some("l/1/2")), green(0, Some("l/1/6"))]);
    let up = world.write(of(Colour::Green), vec![None], workload(2, 2), Purpose::Deploy, "l/1/6").await;
    assert_eq!(up.unwrap(), Written::Done);
    assert_eq!(world.api.object(&kinds::DEPLOYMENTS, "web-green")["spec"]["replicas"], 2);
}

#[tokio::test]
async fn a_colour_that_was_deleted_is_made_again_from_the_other_one() {
    let world = World::new(&[front(Some(Colour::Green), Some("l/1/1")), green(3, Some("l/1/6"))]);
    let from = vec![stamp(Some("l/1/2"), workload(1, 3)), None];
    let back = world.write(of(Colour::Blue), from, workload(1, 3), Purpose::Restore, "l/1/9").await;
    assert_eq!(back.unwrap(), Written::Done);
    let blue = world.api.object(&kinds::DEPLOYMENTS, "web-blue");
    assert_eq!(blue["spec"]["template"]["spec"]["containers"][0]["image"], format!("registry/web@{}", digest(1)));
    assert_eq!(blue["spec"]["selector"]["matchLabels"][COLOUR], "blue");
    assert_eq!(blue["spec"]["replicas"], 3);
    // Where nothing is left to make it from, that is said.
    let world = World::new(&[]);
    let error = world.write(of(Colour::Blue), vec![None], workload(1, 3), Purpose::Restore, "l/1/9").await.unwrap_err();
    assert!(error.to_string().contains("no manifest to make it from"), "{error}");
}

#[tokio::test]
async fn where_there_is_no_other_colour_an_autoscaler_is_not_pinned() {
    let autoscaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "web" }, "spec": { "minReplicas": 1, "maxReplicas": 3,
        "scaleTargetRef": { "kind": "Deployment", "name": "web" } } });
    let world = World::new(&[front(None, None), deployment("web", None, 2, &digest(1)), autoscaler]);
    let from = vec![stamp(None, workload(1, 2))];
    let rolled = world.write(of(Colour::Blue), from, workload(2, 2), Purpose::Deploy, "l/1/5").await;
    assert_eq!(rolled.unwrap(), Written::Done);
    assert_eq!(world.api.object(&kinds::AUTOSCALERS, "web")["spec"]["minReplicas"], 1);
}

#[tokio::test]
async fn a_refused_write_sends_nothing_but_questions() {
    let world =
        World::new(&[front(Some(Colour::Blue), Some("l/1/1")), blue(2, Some("l/1/2")), green(0, Some("l/1/8"))]);
    let from = vec![stamp(Some("l/1/3"), workload(2, 0))];
    let late = world.write(of(Colour::Green), from, workload(2, 2), Purpose::Deploy, "l/1/6").await.unwrap();
    assert!(matches!(late, Written::Drift(_)), "{late:?}");
    assert!(world.api.log().iter().all(|line| line.starts_with("GET")));
}

#[tokio::test]
async fn a_worker_has_no_service_and_is_written_like_any_other() {
    let world = World::new(&[blue(2, Some("l/1/2"))]);
    let made = world.write(of(Colour::Green), vec![None], workload(2, 0), Purpose::Mark, "l/1/5").await;
    assert_eq!(made.unwrap(), Written::Done);
    let from = vec![stamp(Some("l/1/2"), workload(1, 2))];
    let stopped = world.write(of(Colour::Blue), from, workload(1, 0), Purpose::Drain, "l/1/6").await;
    assert_eq!(stopped.unwrap(), Written::Done);
    let from = vec![stamp(Some("l/1/5"), workload(2, 0))];
    let started = world.write(of(Colour::Green), from, workload(2, 2), Purpose::Claim, "l/1/7").await;
    assert_eq!(started.unwrap(), Written::Done);
    assert_eq!(world.api.object(&kinds::SERVICES, "web-green"), Json::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_adapter_keeps_the_contract_on_an_api_server_in_memory() {
    let manifests = format!("{}\n---\n{}\n", deployment("web", None, 1, &digest(1)), front(None, None));
    let World { cluster, .. } = World::new(&[]);
    let clock = portcullis_engine::memory::ManualClock::new(portcullis_domain::time::Timestamp(0));
    let case = portcullis_engine::contract::ClusterCase {
        cluster: std::sync::Arc::new(cluster),
        clock,
        target: target(),
        place: place(),
        service: service(),
        manifests: Some(manifests),
        digests: [Digest::of(b"1"), Digest::of(b"2")],
    };
    portcullis_engine::contract::cluster(case).await;
}
