//! The policy that `portcullis cluster admission` writes, on a real API server: whatever is tried past Portcullis is refused
//! with words that help, and nothing else is. Portcullis releases and rolls back under it with the generated Role; the
//! cluster's own controllers, autoscalers and people who do not change images notice nothing of it.

#![allow(clippy::needless_pass_by_value, reason = "what json! makes is a value")]

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, WARNING};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{ListParams, Patch, PatchParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use portcullis_engine::ports::Policies as _;
use portcullis_kubernetes::admission::{Admission, Enforce};
use portcullis_kubernetes::adopt::{carry_out, plan_adoption};
use portcullis_kubernetes::backup::yaml_read;
use portcullis_kubernetes::client::{Client, Kind, Selector, kinds};
use portcullis_kubernetes::objects::{ACCEPTS, COLOUR, RELEASED, SERVICE, fence_key, pointer, repository_in};
use portcullis_kubernetes::rbac::{ADOPTERS, Needs, ROLE, Subject, adoption_yaml, yaml};
use portcullis_tests::wait::{self, SOON};
use portcullis_tests_kubernetes::cluster::Cluster;
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::world::{Ending, Scene, World, adopt_options, client_options};
use serde_json::{Value, json};

const POLICIES: Kind = Kind {
    group: "admissionregistration.k8s.io",
    version: "v1",
    plural: "validatingadmissionpolicies",
    kind: "ValidatingAdmissionPolicy",
    namespaced: false,
};
const BINDINGS: Kind =
    Kind { plural: "validatingadmissionpolicybindings", kind: "ValidatingAdmissionPolicyBinding", ..POLICIES };
/// People who may do by hand what Portcullis does.
const ON_CALL: &str = "on-call";
/// A pipeline that knows nothing of Portcullis.
const CI: &str = "legacy-ci";
/// A digest that nobody released.
const UNRELEASED: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// What the API server said.
#[derive(Debug)]
struct Answer {
    status: u16,
    message: String,
    warnings: String,
}

impl Answer {
    fn assert_passed(&self, what: &str) {
        assert!((200..300).contains(&self.status), "{what}: {self:?}");
        assert_eq!(self.warnings, "", "{what}");
    }

    /// Refused by the policy, with words that say why and what to do.
    fn assert_refused(&self, what: &str, said: &str) {
        assert_eq!(self.status, 403, "{what}: {self:?}");
        assert!(self.message.contains("ValidatingAdmissionPolicy"), "{what}: {}", self.message);
        assert_helps(what, &self.message, said);
    }
}

fn assert_helps(what: &str, words: &str, said: &str) {
    for part in [said, "portcullis release start shop/production", "portcullis rollback shop/production", ON_CALL] {
        assert!(words.contains(part), "{what}: {part:?} is not in: {words}");
    }
}

/// Somebody who asks the API server, in a namespace.
struct Person {
    client: kube::Client,
    namespace: String,
}

impl Person {
    /// A user with these groups, as an administrator may be anybody.
    async fn new(cluster: &Cluster, namespace: &str, user: &str, groups: &[&str]) -> Self {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.default_retry = false;
        config.auth_info.impersonate = Some(user.to_owned());
        let groups = groups.iter().chain(&["system:authenticated"]).map(|group| (*group).to_owned());
        config.auth_info.impersonate_groups = Some(groups.collect());
        Self { client: kube::Client::try_from(config).unwrap(), namespace: namespace.to_owned() }
    }

    fn ours(&self) -> Client {
        Client::from_kube(self.client.clone(), client_options())
    }

    async fn send(&self, method: &str, path: &str, content: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, content);
        let request = request.body(Body::from(serde_json::to_vec(body).unwrap())).unwrap();
        let response = self.client.send(request).await.unwrap();
        let warnings = response.headers().get_all(WARNING).iter().map(|value| value.to_str().unwrap().to_owned());
        let (status, warnings) = (response.status().as_u16(), warnings.collect::<Vec<_>>().join("\n"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        Answer { status, message: body["message"].as_str().unwrap_or_default().to_owned(), warnings }
    }

    /// A JSON patch that is really made.
    async fn patches(&self, kind: &Kind, name: &str, operations: Value) -> Answer {
        let path = kind.path(Some(&self.namespace), Some(name));
        self.send("PATCH", &path, "application/json-patch+json", &operations).await
    }

    /// One that is only tried: admission judges it as if it were made.
    async fn tries(&self, kind: &Kind, name: &str, operations: Value) -> Answer {
        let path = format!("{}?dryRun=All", kind.path(Some(&self.namespace), Some(name)));
        self.send("PATCH", &path, "application/json-patch+json", &operations).await
    }

    async fn tries_to_make(&self, kind: &Kind, object: &Value) -> Answer {
        let path = format!("{}?dryRun=All", kind.path(Some(&self.namespace), None));
        self.send("POST", &path, "application/json", &marked(kind, object)).await
    }
}

/// The object as one of its kind.
fn marked(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    kind.mark(&mut object);
    object
}

/// Another image of a Deployment's only container.
fn image(image: &str) -> Value {
    json!([{ "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image }])
}

fn annotation(key: &str, value: &str) -> Value {
    json!([{ "op": "add", "path": format!("/metadata/annotations/{}", pointer(key)), "value": value }])
}

/// What makes pods that would get the requests of a colour.
fn pods(image: &str, restart: &str) -> Value {
    let labels = json!({ "app": "web", SERVICE: "web", COLOUR: "blue" });
    json!({ "metadata": { "labels": labels },
        "spec": { "restartPolicy": restart, "containers": [{ "name": "app", "image": image }] } })
}

/// The policy in force in a world's namespace, under a name of its own; taken away by [`Gate::open`].
struct Gate {
    admin: Client,
    name: String,
    policy: Value,
    binding: Value,
}

impl Gate {
    /// Applies what is written, and waits until the API server judges by it.
    async fn close(world: &World<'_>, enforce: Enforce, ci: &Person) -> Self {
        let policy = world.policies.get(&world.target).unwrap();
        let services = policy.services.iter().map(|service| service.name.clone()).collect();
        let (namespace, writer) = (world.namespace.name.clone(), Subject::Group(ROLE.to_owned()));
        let break_glass = Some(ON_CALL.to_owned());
        let admission =
            Admission::new(world.target.clone(), namespace, services, writer, break_glass, enforce).unwrap();
        // As kubectl would read it.
        let [mut policy, mut binding] = yaml_read::read(&admission.yaml()).unwrap().try_into().unwrap();
        assert_eq!((&policy, &binding), (&admission.policy(), &admission.binding()), "the text says the same");
        let name = format!("{}.{}", admission.name(), world.namespace.name);
        policy["metadata"]["name"] = name.as_str().into();
        binding["metadata"]["name"] = name.as_str().into();
        binding["spec"]["policyName"] = name.as_str().into();
        let admin = Client::from_kube(world.namespace.client.clone(), client_options());
        let gate = Self { admin, name, policy, binding };
        gate.apply().await;
        wait::until("the API server judges by the policy", SOON, async || {
            let tried = ci.tries(&kinds::DEPLOYMENTS, "web", image("registry.test/web:probe")).await;
            let judged =
                [&tried.message, &tried.warnings].iter().any(|said| said.contains("ValidatingAdmissionPolicy"));
            if judged { Ok(()) } else { Err(format!("{tried:?}")) }
        })
        .await;
        gate
    }

    async fn apply(&self) {
        self.admin.apply(&POLICIES, "", &self.name, &self.policy, false).await.unwrap();
        self.admin.apply(&BINDINGS, "", &self.name, &self.binding, false).await.unwrap();
    }

    /// What the API server's own check of types finds in the expressions.
    async fn is_well_typed(&self) {
        let checked = wait::until("the expressions are checked", SOON, async || {
            let policy = self.admin.get(&POLICIES, "", &self.name).await.unwrap().unwrap();
            let observed = policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
            if observed { Ok(policy) } else { Err(policy["status"].to_string()) }
        })
        .await;
        assert_eq!(checked["status"]["typeChecking"].get("expressionWarnings"), None, "{}", checked["status"]);
    }

    async fn open(self) {
        self.admin.delete(&BINDINGS, "", &self.name).await.unwrap();
        self.admin.delete(&POLICIES, "", &self.name).await.unwrap();
    }
}

/// Gives rights as an administrator: documents of `cluster rbac`, or one of our own.
async fn give(world: &World<'_>, documents: Vec<Value>) {
    let admin = Client::from_kube(world.namespace.client.clone(), client_options());
    for document in documents {
        let (plural, kind) = match document["kind"].as_str().unwrap() {
            "Role" => ("roles", "Role"),
            "RoleBinding" => ("rolebindings", "RoleBinding"),
            other => panic!("a {other}"),
        };
        let kind = Kind { group: "rbac.authorization.k8s.io", version: "v1", plural, kind, namespaced: true };
        admin.create(&kind, &world.namespace.name, &document).await.unwrap();
    }
}

/// Everybody in a story, with the rights that they have.
async fn people(cluster: &Cluster, world: &World<'_>) -> (Person, Person, Person) {
    let name = &world.namespace.name;
    let policy = world.policies.get(&world.target).unwrap();
    let needs = Needs::of(&policy);
    give(world, yaml_read::read(&yaml(&needs, name, &Subject::Group(ROLE.to_owned()))).unwrap()).await;
    give(world, yaml_read::read(&adoption_yaml(&needs, name, &Subject::Group(ADOPTERS.to_owned()))).unwrap()).await;
    let group = |group: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group });
    let editor = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "editors" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit" },
        "subjects": [group(CI), group(ON_CALL)] });
    give(world, vec![editor]).await;
    let ci = Person::new(cluster, name, "pipeline", &[CI]).await;
    let on_call = Person::new(cluster, name, "ama", &[ON_CALL]).await;
    let portcullis = Person::new(cluster, name, "portcullis-driver", &[ROLE]).await;
    (ci, on_call, portcullis)
}

/// Adopts as somebody, in words where it cannot be.
async fn adopt(world: &World<'_>, who: &Person) -> Result<(), String> {
    let (client, namespace) = (who.ours(), &world.namespace.name);
    for service in &world.policies.get(&world.target).unwrap().services {
        let options = adopt_options();
        let plan = plan_adoption(&client, &world.target, namespace, &service.name, &options).await.unwrap();
        assert_eq!(plan.refusals, Vec::<String>::new());
        let done = carry_out(&client, namespace, &service.name, &plan, &options, |_| {}).await;
        done.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The image of a Deployment's only container.
async fn runs(world: &World<'_>, deployment: &str) -> String {
    let found = world.namespace.api::<Deployment>().get(deployment).await.unwrap();
    found.spec.unwrap().template.spec.unwrap().containers[0].image.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn and_nothing_else_is_kept_out() {
    let Some(cluster) = Cluster::shared().await else { return };
    let scene = Scene { autoscaled: Some((2, 6)), ..Scene::default() };
    let mut world = World::start(cluster, "admission", scene).await;
    let (ci, on_call, portcullis) = people(cluster, &world).await;
    let gate = Gate::close(&world, Enforce::Deny, &ci).await;
    gate.is_well_typed().await;

    // Adopting makes a colour of what runs: a person's, with rights of their own, and of the break-glass group.
    let adopter = Person::new(cluster, &world.namespace.name, "kofi", &[ADOPTERS]).await;
    let words = adopt(&world, &adopter).await.unwrap_err();
    assert_helps("adopting", &words, "did not release");
    let adopter = Person::new(cluster, &world.namespace.name, "kofi", &[ADOPTERS, ON_CALL]).await;
    adopt(&world, &adopter).await.unwrap();

    // A release and a rollback under the generated Role, with an autoscaler that acts in between.
    world.drive(portcullis.client.clone());
    let load = world.load("web", LoadOptions::default()).await;
    let (id, images) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    let live = runs(&world, "web-green").await;
    assert!(live.ends_with(&images[0].digest), "{live}");
    let autoscalers = world.namespace.api::<HorizontalPodAutoscaler>();
    let all = autoscalers.list(&ListParams::default()).await.unwrap().items;
    let of_green = |one: &&HorizontalPodAutoscaler| one.spec.as_ref().unwrap().scale_target_ref.name == "web-green";
    let of_green = all.iter().find(of_green).unwrap().metadata.name.clone().unwrap();
    let busier = json!({ "spec": { "minReplicas": 4 } });
    autoscalers.patch(&of_green, &PatchParams::default(), &Patch::Merge(&busier)).await.unwrap();
    wait::until("the autoscaler has scaled green up", SOON, async || {
        let found = world.namespace.api::<Deployment>().get("web-green").await.unwrap().status.unwrap();
        if found.ready_replicas == Some(4) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;

    past_portcullis(&world, &ci, &live).await;
    by_what_is_no_deployment(&world, &ci, &live).await;
    what_is_none_of_it(&world, &ci).await;

    // Whoever is on call may, and it is known of them.
    let broken = format!("{}@{UNRELEASED}", repository_in(&live));
    on_call.tries(&kinds::DEPLOYMENTS, "web-green", image(&broken)).await.assert_passed("break-glass, an image");
    let fence = annotation(&fence_key(&world.target), "l/9/9");
    on_call.tries(&kinds::DEPLOYMENTS, "web-green", fence).await.assert_passed("break-glass, a fence");
    on_call.tries(&kinds::DEPLOYMENTS, "web-green", json!([])).await.assert_passed("nothing at all");
    if let Some(log) = cluster.audit_log() {
        is_audited(&log, &world, &gate.name, &broken).await;
    }

    world.roll_back().await;
    world.ends_so(id, Ending::RolledBack).await;
    assert_eq!(load.stop().await.losses(), 0);
    gate.open().await;
}

/// The Deployment that serves, and the one that was there before it was adopted.
async fn past_portcullis(world: &World<'_>, ci: &Person, live: &str) {
    let repository = repository_in(live);
    for (what, to) in [
        ("a tag", format!("{repository}:latest")),
        ("no tag", repository.to_owned()),
        ("a digest that was not released", format!("{repository}@{UNRELEASED}")),
        ("a released digest in a tag's place", format!("{live}@{UNRELEASED}")),
    ] {
        for deployment in ["web-green", "web-blue", "web"] {
            let tried = ci.tries(&kinds::DEPLOYMENTS, deployment, image(&to)).await;
            tried.assert_refused(what, &format!("Portcullis releases {deployment}, and did not release {to}"));
        }
    }
    let sidecar = json!([{ "op": "add", "path": "/spec/template/spec/containers/-",
        "value": { "name": "helper", "image": "registry.test/helper:1" } }]);
    ci.tries(&kinds::DEPLOYMENTS, "web-green", sidecar).await.assert_refused("a sidecar", "registry.test/helper:1");
    let first = json!([{ "op": "add", "path": "/spec/template/spec/initContainers",
        "value": [{ "name": "helper", "image": "registry.test/helper:1" }] }]);
    ci.tries(&kinds::DEPLOYMENTS, "web-green", first).await.assert_refused("what runs first", "registry.test/helper:1");

    // The digest that the annotation names, and the annotation itself.
    let forged = json!([
        { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": format!("{repository}@{UNRELEASED}") },
        { "op": "replace", "path": format!("/metadata/annotations/{}", pointer(RELEASED)), "value": UNRELEASED },
    ]);
    ci.tries(&kinds::DEPLOYMENTS, "web-green", forged).await.assert_refused("a forged annotation", RELEASED);
    for key in [RELEASED.to_owned(), fence_key(&world.target)] {
        for value in ["x", ""] {
            let written = ci.tries(&kinds::DEPLOYMENTS, "web-green", annotation(&key, value)).await;
            written.assert_refused("an annotation", &key);
        }
        let gone = json!([{ "op": "remove", "path": format!("/metadata/annotations/{}", pointer(&key)) }]);
        ci.tries(&kinds::DEPLOYMENTS, "web-green", gone).await.assert_refused("an annotation taken away", &key);
    }

    // Back to what was released, from whatever it is: nobody has to be asked.
    let other = json!([
        { "op": "replace", "path": "/spec/template/spec/containers/0/name", "value": "renamed" },
        { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": live },
    ]);
    ci.tries(&kinds::DEPLOYMENTS, "web-green", other).await.assert_passed("the digest that was released");
}

/// What makes pods that would get requests, and the pods themselves.
async fn by_what_is_no_deployment(world: &World<'_>, ci: &Person, live: &str) {
    let named = |template: Value| {
        let mut object = template;
        object["metadata"]["name"] = "past".into();
        object
    };
    let selector = json!({ "matchLabels": { "app": "web", SERVICE: "web", COLOUR: "blue" } });
    let metadata = json!({ "name": "past" });
    let always = pods(live, "Always");
    let daemons = Kind { plural: "daemonsets", kind: "DaemonSet", ..kinds::DEPLOYMENTS };
    let stateful = Kind { plural: "statefulsets", kind: "StatefulSet", ..kinds::DEPLOYMENTS };
    let job = json!({ "template": pods(live, "Never") });
    for (kind, object) in [
        (kinds::PODS, named(always.clone())),
        (kinds::REPLICA_SETS, json!({ "metadata": metadata, "spec": { "selector": selector, "template": always } })),
        (kinds::DEPLOYMENTS, json!({ "metadata": metadata, "spec": { "selector": selector, "template": always } })),
        (daemons, json!({ "metadata": metadata, "spec": { "selector": selector, "template": always } })),
        (
            stateful,
            json!({ "metadata": metadata, "spec": { "selector": selector, "template": always, "serviceName": "web" } }),
        ),
        (kinds::JOBS, json!({ "metadata": metadata, "spec": job })),
        (
            kinds::CRON_JOBS,
            json!({ "metadata": metadata, "spec": { "schedule": "0 3 * * *", "jobTemplate": { "spec": job } } }),
        ),
    ] {
        let made = ci.tries_to_make(&kind, &object).await;
        // The very digest that is live: it is still nobody's to run.
        made.assert_refused(kind.kind, live);
    }

    // What the cluster's controllers made of what was released.
    let selector = Selector::labels(format!("{SERVICE}=web,{COLOUR}=green"));
    let admin = Client::from_kube(world.namespace.client.clone(), client_options());
    let first = async |kind: &Kind| {
        let all = admin.list(kind, Some(&world.namespace.name), &selector).await.unwrap().items;
        all[0]["metadata"]["name"].as_str().unwrap().to_owned()
    };
    let (set, pod) = (first(&kinds::REPLICA_SETS).await, first(&kinds::PODS).await);
    let other = format!("{}@{UNRELEASED}", repository_in(live));
    ci.tries(&kinds::REPLICA_SETS, &set, image(&other)).await.assert_refused("its ReplicaSet", &other);
    let inside = json!([{ "op": "replace", "path": "/spec/containers/0/image", "value": other }]);
    ci.tries(&kinds::PODS, &pod, inside).await.assert_refused("its pod", &other);
    let note = json!([{ "op": "add", "path": "/metadata/annotations", "value": { "note": "looked at" } }]);
    ci.tries(&kinds::PODS, &pod, note).await.assert_passed("a note on its pod");

    // Somebody else's pod that becomes one of a colour.
    let alone = json!({ "metadata": { "name": "alone", "labels": { "app": "alone" } },
        "spec": { "containers": [{ "name": "app", "image": "registry.test/unpullable:1" }] } });
    admin.create(&kinds::PODS, &world.namespace.name, &marked(&kinds::PODS, &alone)).await.unwrap();
    let joins = json!([{ "op": "add", "path": format!("/metadata/labels/{}", pointer(COLOUR)), "value": "green" }]);
    ci.tries(&kinds::PODS, "alone", joins).await.assert_refused("a pod that joins", "registry.test/unpullable:1");
}

/// What changes no image, and what is not Portcullis's.
async fn what_is_none_of_it(world: &World<'_>, ci: &Person) {
    let scaled = json!([{ "op": "replace", "path": "/spec/replicas", "value": 5 }]);
    let restarted = json!([{ "op": "add", "path": "/spec/template/metadata/annotations",
        "value": { "kubectl.kubernetes.io/restartedAt": "2026-11-22T03:00:00Z" } }]);
    let set = json!([{ "op": "add", "path": "/spec/template/spec/containers/0/env",
        "value": [{ "name": "LEVEL", "value": "debug" }] }]);
    for (what, operations) in [
        ("scaling", scaled.clone()),
        ("a restart", restarted),
        ("a variable", set),
        ("a person's own annotation", annotation(ACCEPTS, "kubectl")),
        ("another tool's annotation", annotation("example.com/owner", "shop")),
    ] {
        ci.tries(&kinds::DEPLOYMENTS, "web-green", operations).await.assert_passed(what);
    }
    let scale = format!("{}/scale?dryRun=All", kinds::DEPLOYMENTS.path(Some(&world.namespace.name), Some("web-green")));
    ci.send("PATCH", &scale, "application/json-patch+json", &scaled).await.assert_passed("kubectl scale");

    let other = json!({ "metadata": { "name": "redis" }, "spec": {
        "selector": { "matchLabels": { "app": "redis" } }, "replicas": 0,
        "template": { "metadata": { "labels": { "app": "redis" } },
            "spec": { "containers": [{ "name": "redis", "image": "redis:8" }] } } } });
    ci.tries_to_make(&kinds::DEPLOYMENTS, &other).await.assert_passed("a neighbour");
    let admin = Client::from_kube(world.namespace.client.clone(), client_options());
    admin.create(&kinds::DEPLOYMENTS, &world.namespace.name, &marked(&kinds::DEPLOYMENTS, &other)).await.unwrap();
    ci.patches(&kinds::DEPLOYMENTS, "redis", image("redis:9")).await.assert_passed("a neighbour's image");
    // One that says of itself what Portcullis says of its own, and then joins.
    let said = json!([{ "op": "add", "path": "/metadata/annotations", "value": { RELEASED: UNRELEASED } },
        { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": format!("redis@{UNRELEASED}") }]);
    ci.patches(&kinds::DEPLOYMENTS, "redis", said).await.assert_passed("what a neighbour says of itself");
    let joins = json!([{ "op": "add", "path": format!("/spec/template/metadata/labels/{}", pointer(COLOUR)), "value": "green" }]);
    ci.tries(&kinds::DEPLOYMENTS, "redis", joins).await.assert_refused("a neighbour that joins", UNRELEASED);
}

/// The audit log says who broke the glass, and on what; of what anybody could have done it says nothing.
async fn is_audited(log: &std::path::Path, world: &World<'_>, policy: &str, image: &str) {
    let key = format!("{policy}/break-glass");
    let said = wait::until("the audit log has both", SOON, async || {
        let log = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let here = events.filter(|event| event["objectRef"]["namespace"] == world.namespace.name.as_str());
        let of_ama = here.filter(|event| event["impersonatedUser"]["username"] == "ama");
        let said: Vec<Option<String>> =
            of_ama.map(|event| event["annotations"].get(&key).map(|said| said.as_str().unwrap().to_owned())).collect();
        if said.len() >= 3 { Ok(said) } else { Err(format!("{said:?}")) }
    })
    .await;
    let [changed, fenced, nothing] = said.try_into().unwrap();
    assert_eq!(changed.unwrap(), format!("ama broke the glass: Deployment web-green {image}"));
    assert!(fenced.unwrap().contains("portcullis.dev/fence.shop.production"));
    assert_eq!(nothing, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn and_where_it_only_audits_it_only_warns() {
    let Some(cluster) = Cluster::shared().await else { return };
    let world = World::start(cluster, "audited", Scene::default()).await;
    let (ci, on_call, _) = people(cluster, &world).await;
    let before = runs(&world, "web").await;
    let gate = Gate::close(&world, Enforce::Audit, &ci).await;

    let tag = format!("{}:latest", repository_in(&before));
    let changed = ci.tries(&kinds::DEPLOYMENTS, "web", image(&tag)).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_helps("a tag", &changed.warnings, &format!("did not release {tag}"));
    on_call.tries(&kinds::DEPLOYMENTS, "web", image(&tag)).await.assert_passed("break-glass");
    // Adopting is a person's, and goes through: it is what this mode is for.
    adopt(&world, &Person::new(cluster, &world.namespace.name, "kofi", &[ADOPTERS]).await).await.unwrap();
    assert_eq!(runs(&world, "web-blue").await, before);
    gate.open().await;
}
