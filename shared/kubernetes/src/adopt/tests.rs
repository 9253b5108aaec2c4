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

// ---- weights ----

fn by(traffic: TrafficBy) -> AdoptOptions {
    AdoptOptions { traffic, ..quick() }
}

async fn planned_by(api: &FakeApi, traffic: TrafficBy) -> Plan {
    plan_adoption(&api.client(), &target(), NAMESPACE, &service(), &by(traffic)).await.unwrap()
}

fn route() -> Json {
    json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "shop" },
        "spec": { "rules": [{ "backendRefs": [{ "name": "web", "port": 80, "weight": 1 }] }] } })
}

fn alb() -> Json {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "front", "annotations": { "alb.ingress.kubernetes.io/target-type": "ip" } },
        "spec": { "ingressClassName": "alb", "rules": [{ "http": { "paths": [
            { "path": "/", "backend": { "service": { "name": "web", "port": { "number": 80 } } } } ] } }] } })
}

fn of_service(service: &str, pods: &[String]) -> Json {
    let mut slice = slice(pods);
    slice["metadata"] = json!({ "name": format!("{service}-x"), "labels": { "kubernetes.io/service-name": service } });
    slice
}

fn binding(service: &str) -> Json {
    json!({ "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding", "metadata": { "name": format!("tg-{service}") },
        "spec": { "serviceRef": { "name": service }, "targetType": "ip" } })
}

/// The pods of a Deployment as a load balancer's controller has them: with the gates of these Services.
fn gated(api: &FakeApi, deployment: &str, services: &[&str]) {
    for name in of(deployment) {
        let mut pod = api.object(&kinds::PODS, &name);
        if pod.is_null() {
            continue;
        }
        pod["status"]["conditions"] =
            json!([{ "type": "Ready", "status": "True" }, { "type": "ContainersReady", "status": "True" }]);
        pod["spec"]["readinessGates"] = json!([]);
        for service in services {
            let gate = format!("target-health.elbv2.k8s.aws/tg-{service}");
            pod["spec"]["readinessGates"].as_array_mut().unwrap().push(json!({ "conditionType": gate }));
            let condition = json!({ "type": gate, "status": "True" });
            pod["status"]["conditions"].as_array_mut().unwrap().push(condition);
        }
        api.put(pod);
    }
}

/// Endpoints and a load balancer's controller that follow while a plan is carried out.
async fn followed(
    api: &FakeApi,
    plan: &Plan,
    bindings: &[&str],
    gates: (&str, &[&str]),
    options: &AdoptOptions,
) -> PortResult<()> {
    let followers = {
        let (api, gates) = (api.clone(), (gates.0.to_owned(), gates.1.to_vec()));
        async move {
            loop {
                for colour in ["blue", "green"] {
                    let own = format!("web-{colour}");
                    api.put(of_service(&own, &of(&own)));
                }
                let front = api.object(&kinds::SERVICES, "web");
                let selected = front["spec"]["selector"].get(COLOUR).and_then(Json::as_str).map(str::to_owned);
                let all = [of("web"), of("web-blue")].concat();
                api.put(of_service("web", &selected.map_or(all, |colour| of(&format!("web-{colour}")))));
                gated(&api, &gates.0, &gates.1);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    for service in bindings {
        api.put(binding(service));
    }
    let client = api.client();
    let service = service();
    tokio::select! {
        done = carry_out(&client, NAMESPACE, &service, plan, options, |_| {}) => done,
        () = followers => unreachable!("they follow for ever"),
    }
}

fn what(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.what.as_str()).collect()
}

#[tokio::test]
async fn a_service_behind_a_gateway_is_adopted_by_its_weights_and_released_again() {
    let api = FakeApi::with(&[plain(), front(None, None), route()]);
    let plan = planned_by(&api, TrafficBy::Gateway).await;
    assert_eq!(plan.refusals, Vec::<String>::new());
    assert_eq!(
        what(&plan),
        [
            "the Service web-blue is for blue only",
            "the Service web-green is for green only",
            "a blue copy of web comes up with 3 pods, of exactly the digest that runs",
            "HTTPRoute shop sends all of web to its blue by weight",
            "the Service web sends to blue only",
            "the Deployment web goes to rest, and is kept",
        ]
    );
    followed(&api, &plan, &[], ("", &[]), &by(TrafficBy::Gateway)).await.unwrap();
    let refs = api.object(&kinds::HTTP_ROUTES, "shop")["spec"]["rules"][0]["backendRefs"].clone();
    assert_eq!(
        refs,
        json!([{ "name": "web-blue", "port": 80, "weight": 100 }, { "name": "web-green", "port": 80, "weight": 0 }])
    );
    let front = api.object(&kinds::SERVICES, "web");
    assert_eq!(front["metadata"]["annotations"]["portcullis.dev/traffic"], "httproute/shop");
    assert_eq!(front["spec"]["selector"][COLOUR], "blue");
    // Again: nothing is left to change.
    let again = planned_by(&api, TrafficBy::Gateway).await;
    assert_eq!(again.refusals, Vec::<String>::new());
    assert!(again.steps.iter().all(|step| !step.changes() || step.name == "web"), "{:?}", what(&again));

    let mut fenced = api.object(&kinds::HTTP_ROUTES, "shop");
    fenced["metadata"]["annotations"] = json!({ "portcullis.dev/fence.shop.production.web": "l/1/9", "keep": "1" });
    api.put(fenced);
    let plan = plan_release(&api.client(), &target(), NAMESPACE, &service(), &quick()).await.unwrap();
    assert_eq!(plan.refusals, Vec::<String>::new());
    followed(&api, &plan, &[], ("", &[]), &quick()).await.unwrap();
    let back = api.object(&kinds::HTTP_ROUTES, "shop");
    assert_eq!(back["spec"], route()["spec"]);
    assert_eq!(back["metadata"]["annotations"], json!({ "keep": "1" }));
    let front = api.object(&kinds::SERVICES, "web");
    assert_eq!(front["spec"]["selector"], json!({ "app": "web" }));
    assert!(!front.to_string().contains("portcullis.dev/"), "{front}");
    for own in ["web-blue", "web-green"] {
        assert_eq!(api.object(&kinds::SERVICES, own), Json::Null);
    }
}

#[tokio::test]
async fn a_service_behind_a_load_balancer_is_adopted_once_its_targets_are_healthy_and_released_again() {
    let api = FakeApi::with(&[plain(), front(None, None), alb()]);
    let plan = planned_by(&api, TrafficBy::Alb).await;
    assert_eq!(plan.refusals, Vec::<String>::new());
    assert_eq!(
        what(&plan),
        [
            "the Service web-blue is for blue only",
            "the Service web-green is for green only",
            "Ingress front knows both colours of web, and sends nothing to them yet",
            "a blue copy of web comes up with 3 pods, of exactly the digest that runs",
            "Ingress front sends all of web to its blue by weight",
            "the Service web sends to blue only",
            "the Deployment web goes to rest, and is kept",
        ]
    );
    // The controller does nothing: no target groups, and no pods come up.
    let stuck = followed(&api, &plan, &[], ("", &[]), &by(TrafficBy::Alb)).await.unwrap_err().to_string();
    assert!(stuck.contains("no TargetGroupBinding of Service web-blue"), "{stuck}");
    assert_eq!(api.object(&kinds::DEPLOYMENTS, "web-blue"), Json::Null);
    // It does not give gates: nothing gets weight.
    let rest = planned_by(&api, TrafficBy::Alb).await;
    let stuck = followed(&api, &rest, &["web-blue", "web-green"], ("", &[]), &by(TrafficBy::Alb)).await.unwrap_err();
    assert!(stuck.to_string().contains("pod-readiness-gate-inject"), "{stuck}");
    let action = |api: &FakeApi| -> Json {
        let front = api.object(&kinds::INGRESSES, "front");
        serde_json::from_str(
            front["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.web"].as_str().unwrap(),
        )
        .unwrap()
    };
    assert_eq!(action(&api)["forwardConfig"]["targetGroups"][0]["weight"], 100, "the Service itself still has it all");
    let rest = planned_by(&api, TrafficBy::Alb).await;
    followed(&api, &rest, &["web-blue", "web-green"], ("web-blue", &["web-blue"]), &by(TrafficBy::Alb)).await.unwrap();
    let groups = action(&api)["forwardConfig"]["targetGroups"].clone();
    assert_eq!(
        groups,
        json!([{ "serviceName": "web-blue", "servicePort": 80, "weight": 100 },
            { "serviceName": "web-green", "servicePort": 80, "weight": 0 }])
    );
    let own = api.object(&kinds::SERVICES, "web-blue");
    assert_eq!(own["metadata"]["annotations"]["alb.ingress.kubernetes.io/target-type"], "ip");
    assert_eq!(
        api.object(&kinds::SERVICES, "web")["metadata"]["annotations"]["portcullis.dev/traffic"],
        "ingress/front"
    );

    let plan = plan_release(&api.client(), &target(), NAMESPACE, &service(), &quick()).await.unwrap();
    assert_eq!(plan.refusals, Vec::<String>::new());
    followed(&api, &plan, &["web"], ("web", &["web"]), &quick()).await.unwrap();
    let back = api.object(&kinds::INGRESSES, "front");
    assert_eq!((&back["spec"], &back["metadata"]["annotations"]), (&alb()["spec"], &alb()["metadata"]["annotations"]));
    assert!(!api.object(&kinds::SERVICES, "web").to_string().contains("portcullis.dev/"));
}

#[tokio::test]
async fn a_way_that_cannot_be_had_says_why_and_changes_nothing() {
    let mut nodes = alb();
    nodes["metadata"]["annotations"]["alb.ingress.kubernetes.io/target-type"] = "instance".into();
    let mut other = alb();
    other["metadata"]["name"] = "other".into();
    let mut canary = route();
    canary["spec"]["rules"][0]["backendRefs"] = json!([{ "name": "web" }, { "name": "canary" }]);
    let mut own_action = alb();
    own_action["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.web"] = "{}".into();
    let not_ours = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web-blue" }, "spec": {} });
    let unlabelled = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let mut by_weights = route();
    by_weights["spec"]["rules"][0]["backendRefs"] = json!([{ "name": "web-blue" }, { "name": "web-green" }]);
    for (traffic, others, expected) in [
        (TrafficBy::Gateway, vec![], "no HTTPRoute of the namespace sends to web"),
        (TrafficBy::Gateway, vec![canary], "sends to other backends"),
        (TrafficBy::Gateway, vec![route(), alb()], "requests would be lost"),
        (TrafficBy::Gateway, vec![route(), not_ours], "none of ours"),
        (TrafficBy::Alb, vec![], "no Ingress of an AWS load balancer"),
        (TrafficBy::Alb, vec![nodes], "are nodes"),
        (TrafficBy::Alb, vec![alb(), other], "front and other both send to web"),
        (TrafficBy::Alb, vec![own_action], "an action web already"),
        (TrafficBy::Alb, vec![alb(), route()], "weights can be on one of them"),
        (TrafficBy::Alb, vec![alb(), unlabelled], "pod-readiness-gate-inject=enabled"),
        (TrafficBy::Selector, vec![by_weights], "write `traffic: gateway` in the policy"),
    ] {
        let api = FakeApi::with(&[plain(), front(None, None)]);
        for other in others {
            api.put(other);
        }
        let plan = planned_by(&api, traffic).await;
        assert!(plan.refusals.iter().any(|why| why.contains(expected)), "{expected}: {:?}", plan.refusals);
        assert!(api.log().iter().all(|line| line.starts_with("GET")));
    }
    // Adopted by its selector before.
    let mut original = deployment("web", None, 0, &digest(1));
    original["metadata"]["annotations"] = json!({ ADOPTED: "shop/production" });
    let blue = deployment("web-blue", Some(Colour::Blue), 2, &digest(1));
    let api = FakeApi::with(&[original, blue, front(Some(Colour::Blue), None), route()]);
    let plan = planned_by(&api, TrafficBy::Gateway).await;
    assert!(plan.refusals.iter().any(|why| why.contains("adopt it anew")), "{:?}", plan.refusals);
}
