//! Weights against an API server in memory: what is accepted, what is refused, and what a crash in between leaves to finish.

use portcullis_domain::action::{Found, ObjectKey, Purpose, Stamp, Value, Write};
use portcullis_domain::policy::Colour;
use portcullis_engine::ports::{Cluster as _, PortResult, Written};
use serde_json::{Value as Json, json};

use crate::client::kinds;
use crate::cluster::{KubernetesCluster, Options, Source};
use crate::fake::{FakeApi, deployment, digest, front, place, pod, service, target};
use crate::objects::COLOUR;

const ON_SERVICE: &str = "portcullis.dev/fence.shop.production";
const ON_WEIGHTS: &str = "portcullis.dev/fence.shop.production.web";
const ACTION: &str = "alb.ingress.kubernetes.io/actions.web";
const GATE: &str = "target-health.elbv2.k8s.aws/tg-web-green";

struct World {
    api: FakeApi,
    cluster: KubernetesCluster,
}

/// The Service that says what has its weights.
fn by(way: &str, colour: Colour, fence: &str) -> Json {
    let mut front = front(Some(colour), Some(fence));
    front["metadata"]["annotations"]["portcullis.dev/traffic"] = way.into();
    front
}

fn route(blue: u64, green: u64, fence: Option<&str>) -> Json {
    let mut route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "shop" },
        "spec": { "rules": [
            { "backendRefs": [{ "name": "api", "port": 80 }] },
            { "backendRefs": [{ "name": "web-blue", "port": 80, "weight": blue }, { "name": "web-green", "port": 80, "weight": green }] },
        ] },
    });
    if let Some(fence) = fence {
        route["metadata"]["annotations"] = json!({ ON_WEIGHTS: fence });
    }
    route
}

fn ingress(blue: u64, green: u64, fence: &str) -> Json {
    let action = json!({ "type": "forward", "forwardConfig": { "targetGroups": [
        { "serviceName": "web-blue", "servicePort": 80, "weight": blue },
        { "serviceName": "web-green", "servicePort": 80, "weight": green } ] } });
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "front", "annotations": { ON_WEIGHTS: fence, ACTION: action.to_string() } },
        "spec": { "ingressClassName": "alb", "rules": [{ "http": { "paths": [
            { "backend": { "service": { "name": "web", "port": { "name": "use-annotation" } } } } ] } }] },
    })
}

fn binding(service: &str) -> Json {
    json!({ "apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding", "metadata": { "name": format!("tg-{service}") },
        "spec": { "serviceRef": { "name": service }, "targetType": "ip" } })
}

/// A green pod whose target is healthy, or not; none = it has no gate.
fn green_pod(name: &str, healthy: Option<bool>) -> Json {
    let labels = json!({ "app": "web", "portcullis.dev/service": "web", COLOUR: "green" });
    let mut pod = pod(name, labels, &format!("registry/web@{}", digest(2)), true);
    pod["status"]["conditions"] =
        json!([{ "type": "Ready", "status": "True" }, { "type": "ContainersReady", "status": "True" }]);
    if let Some(healthy) = healthy {
        pod["spec"]["readinessGates"] = json!([{ "conditionType": GATE }]);
        let status = if healthy { "True" } else { "False" };
        let said = json!({ "type": GATE, "status": status, "message": "Health checks failed" });
        pod["status"]["conditions"].as_array_mut().unwrap().push(said);
    }
    pod
}

fn colours() -> [Json; 2] {
    [
        deployment("web-blue", Some(Colour::Blue), 2, &digest(1)),
        deployment("web-green", Some(Colour::Green), 2, &digest(2)),
    ]
}

fn share(green: u16) -> Value {
    Value::Traffic { green }
}

#[expect(clippy::unnecessary_wraps, reason = "what is found may be nothing")]
fn stamp(fence: &str, green: u16) -> Option<Stamp> {
    Some(Stamp { fence: Some(fence.parse().unwrap()), value: share(green) })
}

impl World {
    fn new(objects: &[Json]) -> Self {
        let api = FakeApi::with(objects);
        let cluster = KubernetesCluster::new(Source::Connected(api.client()), Options::default());
        Self { api, cluster }
    }

    async fn write(&self, from: Vec<Option<Stamp>>, to: u16, purpose: Purpose, fence: &str) -> PortResult<Written> {
        let write = Write { object: ObjectKey::traffic(&service()), from, to: share(to), purpose, bundle: None };
        self.cluster.write(&target(), &place(), &write, &fence.parse().unwrap()).await
    }

    async fn found(&self) -> Found {
        let services = [service()].into();
        let mut all = self.cluster.observe(&target(), &place(), &services).await.unwrap();
        all.remove(&ObjectKey::traffic(&service())).unwrap()
    }

    /// Blue's and green's weight and the fence on the route.
    fn route(&self) -> (Json, Json, Json) {
        let route = self.api.object(&kinds::HTTP_ROUTES, "shop");
        let refs = &route["spec"]["rules"][1]["backendRefs"];
        (refs[0]["weight"].clone(), refs[1]["weight"].clone(), route["metadata"]["annotations"][ON_WEIGHTS].clone())
    }

    /// The Service's colour and fence.
    fn front(&self) -> (Json, Json) {
        let front = self.api.object(&kinds::SERVICES, "web");
        (front["spec"]["selector"][COLOUR].clone(), front["metadata"]["annotations"][ON_SERVICE].clone())
    }
}

fn on_route(blue: u64, green: u64) -> World {
    World::new(&[by("httproute/shop", Colour::Blue, "l/1/5"), route(blue, green, Some("l/1/5"))])
}

#[tokio::test]
async fn a_step_moves_the_weights_and_leaves_the_service_until_the_last() {
    let world = on_route(100, 0);
    let written = world.write(vec![stamp("l/1/5", 0)], 2_500, Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    assert_eq!(world.route(), (json!(75), json!(25), json!("l/1/9")));
    assert_eq!(world.front(), (json!("blue"), json!("l/1/9")), "callers inside the cluster stay");
    assert_eq!(world.found().await.stamp, stamp("l/1/9", 2_500));
    let other = &world.api.object(&kinds::HTTP_ROUTES, "shop")["spec"]["rules"][0];
    assert_eq!(other["backendRefs"], json!([{ "name": "api", "port": 80 }]));

    let written = world.write(vec![stamp("l/1/9", 2_500)], 10_000, Purpose::Switch, "l/1/12").await;
    assert_eq!(written.unwrap(), Written::Done);
    assert_eq!(world.route(), (json!(0), json!(100), json!("l/1/12")));
    assert_eq!(world.front(), (json!("green"), json!("l/1/12")));
    let front = world.api.object(&kinds::SERVICES, "web");
    assert_eq!(front["metadata"]["annotations"]["portcullis.dev/previous-colour"], "blue");
    assert_eq!(world.found().await.stamp, stamp("l/1/12", 10_000));
}

#[tokio::test]
async fn the_first_fence_on_a_route_is_put_on_what_adoption_left() {
    let world = World::new(&[by("httproute/shop", Colour::Blue, "l/1/5"), route(100, 0, None)]);
    let unfenced = Some(Stamp { fence: None, value: share(0) });
    let written = world.write(vec![unfenced], 0, Purpose::Mark, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    assert_eq!(world.route(), (json!(100), json!(0), json!("l/1/9")));
    assert_eq!(world.front(), (json!("blue"), json!("l/1/9")));
}

#[tokio::test]
async fn nothing_of_the_service_is_moved_without_its_weights() {
    let world = on_route(100, 0);
    world.cluster.client(&place()).await.unwrap();
    world.api.log();
    world.api.fail(
        "PATCH /apis/gateway",
        403,
        json!({ "reason": "Forbidden", "message": "User \"x\" cannot patch" }),
        false,
    );
    let error = world.write(vec![stamp("l/1/5", 0)], 10_000, Purpose::Switch, "l/1/9").await.unwrap_err().to_string();
    assert!(error.contains("verb patch on httproutes.gateway.networking.k8s.io"), "{error}");
    assert_eq!(world.front(), (json!("blue"), json!("l/1/5")));
}

#[tokio::test]
async fn a_crash_between_the_weights_and_the_service_is_finished_by_repeating() {
    let world = on_route(100, 0);
    let from = || vec![stamp("l/1/5", 0)];
    // The first patch of a Service is the one that guesses; it does not hold here.
    world.api.fail(
        "PATCH /api/v1",
        422,
        json!({ "reason": "Invalid", "message": "the server rejected our request due to an error in our request" }),
        false,
    );
    world.api.fail("PATCH /api/v1", 500, json!({}), false);
    world.write(from(), 10_000, Purpose::Switch, "l/1/9").await.unwrap_err();
    assert_eq!(world.route(), (json!(0), json!(100), json!("l/1/9")));
    assert_eq!(world.front(), (json!("blue"), json!("l/1/5")), "half way");
    let half = world.found().await;
    assert_eq!((half.foreign, half.stamp), (None, stamp("l/1/9", 10_000)), "it is still to follow, and nobody's hand");
    assert_eq!(world.write(from(), 10_000, Purpose::Switch, "l/1/9").await.unwrap(), Written::Done);
    assert_eq!(world.front(), (json!("green"), json!("l/1/9")));
    // Once more changes nothing.
    world.api.log();
    assert_eq!(world.write(from(), 10_000, Purpose::Switch, "l/1/9").await.unwrap(), Written::Done);
    let patches = world.api.log().into_iter().filter(|line| line.starts_with("PATCH")).count();
    assert_eq!(patches, 1, "the guess, and no other");
}

#[tokio::test]
async fn a_late_writer_gets_neither_the_weights_nor_the_service() {
    // A rollback came in between: its fence is on both, or on the weights only.
    for on_service in ["l/1/12", "l/1/9"] {
        let world = World::new(&[by("httproute/shop", Colour::Blue, on_service), route(100, 0, Some("l/1/12"))]);
        let written = world.write(vec![stamp("l/1/5", 0)], 10_000, Purpose::Switch, "l/1/10").await.unwrap();
        let Written::Drift(found) = written else { panic!("a late writer got through") };
        assert_eq!(found.stamp, stamp("l/1/12", 0));
        assert_eq!((world.route().2, world.front()), (json!("l/1/12"), (json!("blue"), json!(on_service))));
    }
    // It had the weights, and wakes up before the Service: the newer one's fence is there.
    let world = World::new(&[by("httproute/shop", Colour::Blue, "l/1/12"), route(0, 100, Some("l/1/10"))]);
    let written = world.write(vec![stamp("l/1/5", 0)], 10_000, Purpose::Switch, "l/1/10").await.unwrap();
    assert!(matches!(written, Written::Drift(_)), "{written:?}");
    assert_eq!(world.front(), (json!("blue"), json!("l/1/12")));
}

#[tokio::test]
async fn weights_by_hand_are_told_and_not_overwritten() {
    let mut third = route(50, 50, Some("l/1/5"));
    third["spec"]["rules"][1]["backendRefs"].as_array_mut().unwrap().push(json!({ "name": "canary", "port": 80 }));
    let mut purple = by("httproute/shop", Colour::Blue, "l/1/5");
    purple["spec"]["selector"][COLOUR] = "purple".into();
    let front = || by("httproute/shop", Colour::Blue, "l/1/5");
    let green_selected = || by("httproute/shop", Colour::Green, "l/1/5");
    for (what, objects) in [
        ("\"canary\"", vec![front(), third]),
        ("no share that Portcullis writes", vec![front(), route(2, 1, Some("l/1/5"))]),
        ("by hand", vec![front(), route(100, 0, Some("by hand"))]),
        ("no HTTPRoute shop", vec![front()]),
        ("colour=purple", vec![purple, route(100, 0, Some("l/1/5"))]),
        ("colour=green, while HTTPRoute shop sends all to blue", vec![green_selected(), route(100, 0, Some("l/1/5"))]),
        ("neither httproute/NAME", vec![by("nginx/x", Colour::Blue, "l/1/5")]),
    ] {
        let world = World::new(&objects);
        let found = world.found().await;
        assert!(found.foreign.as_deref().is_some_and(|why| why.contains(what)), "{what}: {found:?}");
        let before = (world.api.object(&kinds::HTTP_ROUTES, "shop"), world.front());
        for purpose in [Purpose::Switch, Purpose::Restore] {
            let written = world.write(vec![stamp("l/1/5", 0)], 10_000, purpose, "l/1/9").await.unwrap();
            let Written::Drift(found) = written else { panic!("{what} was written over") };
            assert!(found.foreign.is_some_and(|why| why.contains(what)), "{what}");
        }
        assert_eq!((world.api.object(&kinds::HTTP_ROUTES, "shop"), world.front()), before, "{what}");
    }
    // Another share of the same two is no riddle, but not expected either.
    let world = on_route(60, 40);
    let written = world.write(vec![stamp("l/1/5", 0)], 2_500, Purpose::Switch, "l/1/9").await.unwrap();
    let Written::Drift(found) = written else { panic!("it was written over") };
    assert_eq!(found.stamp, stamp("l/1/5", 4_000));
    assert_eq!(world.route(), (json!(60), json!(40), json!("l/1/5")));
}

#[tokio::test]
async fn a_lost_answer_and_a_conflict_are_settled_by_reading() {
    let world = on_route(100, 0);
    world.api.fail("PATCH /apis/gateway", 504, json!({}), true);
    let written = world.write(vec![stamp("l/1/5", 0)], 2_500, Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    let world = on_route(100, 0);
    world.api.fail("PATCH /apis/gateway", 409, json!({ "reason": "Conflict", "message": "modified" }), false);
    let written = world.write(vec![stamp("l/1/5", 0)], 2_500, Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    let world = on_route(0, 100);
    world.api.put(by("httproute/shop", Colour::Green, "l/1/5"));
    world.api.fail(
        "PATCH /api/v1",
        422,
        json!({ "reason": "Invalid", "message": "the server rejected our request due to an error in our request" }),
        false,
    );
    world.api.fail("PATCH /api/v1", 504, json!({}), true);
    let written = world.write(vec![stamp("l/1/5", 10_000)], 0, Purpose::Restore, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done, "the Service's answer was lost, and it follows");
    assert_eq!(world.front(), (json!("blue"), json!("l/1/9")));
}

#[tokio::test]
async fn a_share_that_weights_cannot_have_is_refused_before_anything_is_written() {
    let [blue, green] = colours();
    let world = World::new(&[by("ingress/front", Colour::Blue, "l/1/5"), ingress(100, 0, "l/1/5"), blue, green]);
    let error = world.write(vec![stamp("l/1/5", 0)], 1_255, Purpose::Switch, "l/1/9").await.unwrap_err().to_string();
    assert!(error.contains("multiple of 0.1%"), "{error}");
    let world = World::new(&[front(Some(Colour::Blue), Some("l/1/5"))]);
    let error = world.write(vec![stamp("l/1/5", 0)], 2_500, Purpose::Switch, "l/1/9").await.unwrap_err().to_string();
    assert!(error.contains("`traffic` in the policy"), "{error}");
}

#[tokio::test]
async fn forward_waits_for_healthy_targets_and_back_waits_for_nobody() {
    let with = |bindings: &[Json], pods: &[Json], weights: (u64, u64)| {
        let mut objects = vec![by("ingress/front", Colour::Blue, "l/1/5"), ingress(weights.0, weights.1, "l/1/5")];
        objects.extend(colours());
        objects.extend(bindings.iter().chain(pods).cloned());
        World::new(&objects)
    };
    let both = [binding("web-blue"), binding("web-green")];
    let good = [green_pod("a", Some(true)), green_pod("b", Some(true))];
    for (bindings, pods, words) in [
        (&both[..1], &good[..], "no TargetGroupBinding of Service web-green"),
        (&both[..], &[green_pod("a", None)][..], "kubectl label namespace shop"),
        (
            &both[..],
            &[green_pod("a", Some(true)), green_pod("b", Some(false))][..],
            "healthy (b: Health checks failed)",
        ),
    ] {
        let world = with(bindings, pods, (100, 0));
        let before = world.api.object(&kinds::INGRESSES, "front");
        let error = world.write(vec![stamp("l/1/5", 0)], 2_500, Purpose::Switch, "l/1/9").await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(world.api.object(&kinds::INGRESSES, "front"), before, "it got weight");
    }
    let world = with(&both, &good, (100, 0));
    let written = world.write(vec![stamp("l/1/5", 0)], 2_500, Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    assert_eq!(world.found().await.stamp, stamp("l/1/9", 2_500));
    // Nobody knows of blue's targets, and it gets everything back all the same.
    let world = with(&[], &[], (75, 25));
    let written = world.write(vec![stamp("l/1/5", 2_500)], 0, Purpose::Restore, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    assert_eq!(world.found().await.stamp, stamp("l/1/9", 0));
}

#[tokio::test]
async fn two_services_of_one_ingress_have_a_fence_each() {
    let mut shared = ingress(100, 0, "l/1/5");
    let of_api = r#"{"type":"forward","forwardConfig":{"targetGroups":[{"serviceName":"api-blue","servicePort":80}]}}"#;
    shared["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.api"] = of_api.into();
    shared["metadata"]["annotations"]["portcullis.dev/fence.shop.production.api"] = "l/1/77".into();
    let mut objects =
        vec![by("ingress/front", Colour::Blue, "l/1/5"), shared, binding("web-green"), green_pod("a", Some(true))];
    objects.extend(colours());
    let world = World::new(&objects);
    let written = world.write(vec![stamp("l/1/5", 0)], 10_000, Purpose::Switch, "l/1/9").await;
    assert_eq!(written.unwrap(), Written::Done);
    let annotations = world.api.object(&kinds::INGRESSES, "front")["metadata"]["annotations"].clone();
    assert_eq!(annotations["alb.ingress.kubernetes.io/actions.api"], of_api);
    assert_eq!(annotations["portcullis.dev/fence.shop.production.api"], "l/1/77");
    assert_eq!(annotations[ON_WEIGHTS], "l/1/9");
}

#[tokio::test]
async fn a_colour_does_not_come_up_where_its_traffic_could_not_be_moved() {
    let of = |bindings: &[Json], weights: Json| {
        let mut objects = vec![by("ingress/front", Colour::Blue, "l/1/5"), weights];
        objects.push(deployment("web-blue", Some(Colour::Blue), 2, &digest(1)));
        objects.extend(bindings.iter().cloned());
        World::new(&objects)
    };
    let key = ObjectKey::workload(&service(), Colour::Green);
    let to = Value::Workload { digest: digest(2), replicas: 2 };
    let write = Write { object: key, from: vec![None], to, purpose: Purpose::Deploy, bundle: None };
    let mut odd = ingress(2, 1, "l/1/5");
    odd["metadata"]["labels"] = json!({});
    for (world, words) in [
        (of(&[], ingress(100, 0, "l/1/5")), "no TargetGroupBinding of Service web-green"),
        (of(&[binding("web-green")], odd), "no share that Portcullis writes"),
    ] {
        let written = world.cluster.write(&target(), &place(), &write, &"l/1/9".parse().unwrap()).await;
        let error = written.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(world.api.object(&kinds::DEPLOYMENTS, "web-green"), Json::Null, "nothing came up");
    }
    let world = of(&[binding("web-green")], ingress(100, 0, "l/1/5"));
    let written = world.cluster.write(&target(), &place(), &write, &"l/1/9".parse().unwrap()).await;
    assert_eq!(written.unwrap(), Written::Done);
    let own = world.api.object(&kinds::SERVICES, "web-green");
    assert_eq!(own["metadata"]["annotations"]["alb.ingress.kubernetes.io/target-type"], "ip");
}
