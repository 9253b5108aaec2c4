//! Adoption and release against an API server in memory: what is planned, and what is there afterwards.

use serde_json::json;

use super::*;
use crate::fake::{FakeApi, NAMESPACE, deployment, digest, front, pod, service, target};
use crate::objects::{ADOPTED, WARNING};
use portcullis_domain::policy::Colour;

fn autoscaler() -> Json {
    json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web-scaler" },
        "spec": { "minReplicas": 2, "maxReplicas": 9, "scaleTargetRef": { "kind": "Deployment", "name": "web" } } })
}

fn budget() -> Json {
    json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web-budget" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } } })
}

fn plain() -> Json {
    deployment("web", None, 3, &digest(1))
}

fn quick() -> AdoptOptions {
    AdoptOptions { within: Duration::from_secs(2), settle: Duration::ZERO, ..AdoptOptions::default() }
}

fn slice(pods: &[String]) -> Json {
    let endpoints: Vec<Json> = pods.iter().map(|pod| json!({ "targetRef": { "kind": "Pod", "name": pod } })).collect();
    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "web-x", "labels": { "kubernetes.io/service-name": "web" } }, "endpoints": endpoints })
}

fn of(deployment: &str) -> Vec<String> {
    (0..3).map(|n| format!("{deployment}-of-{n}")).collect()
}

async fn planned(api: &FakeApi) -> Plan {
    plan_adoption(&api.client(), &target(), NAMESPACE, &service(), &quick()).await.unwrap()
}

/// Carries a plan out; the endpoints follow each step as a real cluster's would.
async fn carried_out(api: &FakeApi, plan: &Plan, serving: &[(&str, Vec<String>)]) -> PortResult<()> {
    let told = |step: &Step| {
        for (what, pods) in serving {
            if step.what.contains(what) {
                api.put(slice(pods));
            }
        }
    };
    carry_out(&api.client(), NAMESPACE, &service(), plan, &quick(), told).await
}

#[tokio::test]
async fn adopting_brings_blue_up_narrows_the_service_and_keeps_the_original() {
    let api = FakeApi::with(&[plain(), front(None, None), autoscaler(), budget()]);
    let plan = planned(&api).await;
    assert_eq!(plan.refusals, Vec::<String>::new());
    let what: Vec<&str> = plan.steps.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "a blue copy of web comes up with 3 pods, of exactly the digest that runs",
            "the Service web sends to blue only",
            "the autoscaler web-scaler scales blue",
            "the disruption budget web-budget protects blue",
            "the Deployment web goes to rest, and is kept",
        ]
    );
    let both: Vec<String> = of("web").into_iter().chain(of("web-blue")).collect();
    carried_out(&api, &plan, &[("comes up", both), ("blue only", of("web-blue"))]).await.unwrap();
    let blue = api.object(&kinds::DEPLOYMENTS, "web-blue");
    assert_eq!(blue["spec"]["replicas"], 3);
    assert_eq!(blue["spec"]["template"]["spec"], plain()["spec"]["template"]["spec"]);
    assert_eq!(api.object(&kinds::SERVICES, "web")["spec"]["selector"][COLOUR], "blue");
    assert_eq!(api.object(&kinds::AUTOSCALERS, "web-scaler")["spec"]["scaleTargetRef"]["name"], "web-blue");
    assert_eq!(api.object(&kinds::BUDGETS, "web-budget")["spec"]["selector"]["matchLabels"][COLOUR], "blue");
    let original = api.object(&kinds::DEPLOYMENTS, "web");
    assert_eq!(
        (&original["spec"]["replicas"], &original["metadata"]["annotations"][ADOPTED]),
        (&json!(0), &json!("shop/production"))
    );
    assert!(original["metadata"]["annotations"][WARNING].as_str().unwrap().contains("cluster release"));
    // Again: nothing is left to change.
    let again = planned(&api).await;
    assert!(again.steps.iter().all(|step| !step.changes() || step.name == "web"), "{:?}", again.steps);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_shows_both_sides() {
    let api = FakeApi::with(&[plain(), front(None, None)]);
    let plan = planned(&api).await;
    assert!(api.log().iter().all(|line| line.starts_with("GET")));
    let narrow = &plan.steps[1];
    assert!(!narrow.before_yaml().unwrap().contains(COLOUR));
    assert!(narrow.after_yaml().unwrap().contains("portcullis.dev/colour: blue"), "{}", narrow.after_yaml().unwrap());
    assert_eq!(plan.steps[0].before_yaml(), None);
}

#[tokio::test]
async fn an_adoption_that_was_interrupted_is_gone_on_with() {
    let api = FakeApi::with(&[plain(), front(None, None)]);
    let plan = planned(&api).await;
    // Only the first step was done.
    let first = Plan { steps: plan.steps[..1].to_vec(), ..Plan::default() };
    let both: Vec<String> = of("web").into_iter().chain(of("web-blue")).collect();
    carried_out(&api, &first, &[("comes up", both)]).await.unwrap();
    // A plan from before says so rather than doing anything twice.
    let stale = carried_out(&api, &plan, &[]).await.unwrap_err().to_string();
    assert!(stale.contains("plan it again"), "{stale}");
    let rest = planned(&api).await;
    carried_out(&api, &rest, &[("blue only", of("web-blue"))]).await.unwrap();
    assert_eq!(api.object(&kinds::DEPLOYMENTS, "web")["spec"]["replicas"], 0);
}

#[tokio::test]
async fn nothing_is_narrowed_to_fewer_pods_than_serve() {
    let api = FakeApi::with(&[plain(), front(None, None)]);
    let plan = planned(&api).await;
    api.put(deployment("web", None, 5, &digest(1)));
    let both: Vec<String> = of("web").into_iter().chain(of("web-blue")).collect();
    let error = carried_out(&api, &plan, &[("comes up", both)]).await.unwrap_err().to_string();
    assert!(error.contains("scaled to 5 meanwhile"), "{error}");
    assert!(api.object(&kinds::SERVICES, "web")["spec"]["selector"].get(COLOUR).is_none());
}

#[tokio::test]
async fn pods_that_do_not_come_up_leave_the_service_as_it_is() {
    let api = FakeApi::with(&[plain(), front(None, None)]);
    let plan = planned(&api).await;
    // The endpoints never show them.
    let error = carried_out(&api, &plan, &[]).await.unwrap_err().to_string();
    assert!(error.contains("the Service sends to 0 of 3 pods"), "{error}");
    assert_eq!(api.object(&kinds::DEPLOYMENTS, "web")["spec"]["replicas"], 3);
    assert!(api.object(&kinds::SERVICES, "web")["spec"]["selector"].get(COLOUR).is_none());
}

#[tokio::test]
async fn what_cannot_be_adopted_says_why() {
    let mut rolling = plain();
    rolling["status"]["updatedReplicas"] = 1.into();
    let mut by_tag = plain();
    by_tag["spec"]["template"]["spec"]["containers"][0]["image"] = "registry/web:latest".into();
    let binding = json!({ "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding", "metadata": { "name": "b" },
        "spec": { "serviceRef": { "name": "web" }, "targetType": "ip" } });
    let mut others = plain();
    others["metadata"]["annotations"][ADOPTED] = "other/production".into();
    for (objects, expected) in [
        (vec![], "there is no Deployment web"),
        (vec![rolling, front(None, None)], "is being rolled out"),
        (vec![by_tag, front(None, None)], "is no digest, and no pod"),
        (vec![plain(), front(None, None), binding], "requests would be lost"),
        (vec![others, front(None, None)], "adopted by other/production"),
        (vec![deployment("web-blue", Some(Colour::Blue), 1, &digest(1))], "adopted already"),
    ] {
        let api = FakeApi::with(&objects);
        let plan = planned(&api).await;
        assert!(plan.refusals.iter().any(|why| why.contains(expected)), "{expected}: {:?}", plan.refusals);
        assert!(carried_out(&api, &plan, &[]).await.is_err());
        assert!(api.log().iter().all(|line| line.starts_with("GET")), "a refused plan changes nothing");
    }
}

#[tokio::test]
async fn what_two_colours_may_trip_over_is_told_before() {
    let mut plain = plain();
    plain["spec"]["template"]["spec"]["volumes"] = json!([{ "persistentVolumeClaim": { "claimName": "files" } }]);
    plain["spec"]["template"]["spec"]["affinity"] = json!({ "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{ "labelSelector": { "matchLabels": { "app": "web" } } }] } });
    plain["metadata"]["managedFields"] = json!([{ "manager": "argocd-controller", "operation": "Update", "apiVersion": "apps/v1",
        "time": "2026-05-04T10:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": { "f:replicas": {} } } }]);
    let warnings = planned(&FakeApi::with(&[plain, front(None, None)])).await.warnings.join("\n");
    for expected in ["files", "twice the nodes", "Argo CD"] {
        assert!(warnings.contains(expected), "{warnings}");
    }
}

#[tokio::test]
async fn a_worker_that_must_not_run_twice_stops_before_its_copy_starts() {
    let api = FakeApi::with(&[plain()]);
    let plan = planned(&api).await;
    let what: Vec<&str> = plan.steps.iter().map(|step| step.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "the Deployment web goes to rest, and is kept",
            "a blue copy of web comes up with 3 pods, of exactly the digest that runs"
        ]
    );
    // Interrupted in between: the copy still gets the digest and the pods that ran.
    let first = Plan { steps: plan.steps[..1].to_vec(), ..Plan::default() };
    carried_out(&api, &first, &[]).await.unwrap();
    let rest = planned(&api).await;
    carried_out(&api, &rest, &[]).await.unwrap();
    let blue = api.object(&kinds::DEPLOYMENTS, "web-blue");
    assert_eq!(blue["spec"]["replicas"], 3);
    assert_eq!(blue["spec"]["template"]["spec"]["containers"][0]["image"], format!("registry/web@{}", digest(1)));
}

#[tokio::test]
async fn releasing_is_the_inverse_with_what_serves_now() {
    let mut original = deployment("web", None, 0, &digest(1));
    original["metadata"]["annotations"] = json!({ ADOPTED: "shop/production", WARNING: "…" });
    let mut scaler = autoscaler();
    scaler["spec"]["scaleTargetRef"]["name"] = "web-blue".into();
    let copy = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web-green" },
        "spec": { "minReplicas": 3, "maxReplicas": 9, "scaleTargetRef": { "kind": "Deployment", "name": "web-green" } } });
    let mut narrowed = budget();
    narrowed["spec"]["selector"]["matchLabels"][COLOUR] = "blue".into();
    let mut own = front(Some(Colour::Green), None);
    own["metadata"] =
        json!({ "name": "web-green", "namespace": NAMESPACE, "labels": { "portcullis.dev/service": "web" } });
    let api = FakeApi::with(&[
        original,
        front(Some(Colour::Green), Some("l/1/9")),
        deployment("web-blue", Some(Colour::Blue), 2, &digest(1)),
        deployment("web-green", Some(Colour::Green), 3, &digest(2)),
        pod("web-green-of-0", json!({ "app": "web", "portcullis.dev/service": "web", COLOUR: "green" }), "x", true),
        scaler,
        copy,
        narrowed,
        own,
    ]);
    let plan = plan_release(&api.client(), &target(), NAMESPACE, &service(), &quick()).await.unwrap();
    assert_eq!(plan.refusals, Vec::<String>::new());
    let both: Vec<String> = of("web").into_iter().chain(of("web-green")).collect();
    carried_out(&api, &plan, &[("all its pods again", both)]).await.unwrap();
    let back = api.object(&kinds::DEPLOYMENTS, "web");
    assert_eq!(back["spec"]["replicas"], 3);
    assert_eq!(back["spec"]["template"]["spec"]["containers"][0]["image"], format!("registry/web@{}", digest(2)));
    assert!(!back.to_string().contains("portcullis.dev/"), "{back}");
    let service = api.object(&kinds::SERVICES, "web");
    assert_eq!(service["spec"]["selector"], json!({ "app": "web" }));
    assert!(!service.to_string().contains("portcullis.dev/"), "{service}");
    assert_eq!(api.object(&kinds::AUTOSCALERS, "web-scaler")["spec"]["scaleTargetRef"]["name"], "web");
    assert_eq!(api.object(&kinds::BUDGETS, "web-budget")["spec"]["selector"]["matchLabels"], json!({ "app": "web" }));
    for (kind, name) in [
        (&kinds::DEPLOYMENTS, "web-blue"),
        (&kinds::DEPLOYMENTS, "web-green"),
        (&kinds::AUTOSCALERS, "web-green"),
        (&kinds::SERVICES, "web-green"),
    ] {
        assert_eq!(api.object(kind, name), Json::Null, "{name}");
    }
}
