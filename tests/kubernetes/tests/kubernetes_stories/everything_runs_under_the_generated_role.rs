//! The Role that `portcullis cluster rbac` writes is enough for everything the policy does: looking, releasing, testing,
//! backing up, rolling back, restoring; and for nothing else: it deletes no Deployment and reads no Secret.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use portcullis_domain::event::What;
use portcullis_domain::facts::AlarmState;
use portcullis_domain::policy::Place;
use portcullis_engine::bundles;
use portcullis_engine::memory::world::commit;
use portcullis_engine::ports::{Cluster as _, Policies as _};
use portcullis_kubernetes::backup::restore::{Done, plan, restore};
use portcullis_kubernetes::backup::wire::Wire;
use portcullis_kubernetes::backup::{Wanted, export, yaml_read};
use portcullis_kubernetes::client::{Client, Kind, kinds};
use portcullis_kubernetes::cluster::{KubernetesCluster, Options, Source};
use portcullis_kubernetes::error::Why;
use portcullis_kubernetes::rbac::{Needs, Subject, Want, yaml};
use portcullis_tests_kubernetes::cluster::{Cluster, Namespace};
use portcullis_tests_kubernetes::images::Behaviour;
use portcullis_tests_kubernetes::load::LoadOptions;
use portcullis_tests_kubernetes::mixed;
use portcullis_tests_kubernetes::samples::{self, read};
use portcullis_tests_kubernetes::world::{Ending, Scene, World, client_options};
use secrecy::SecretString;
use serde_json::Value;

/// What a Role document is made as.
fn kind_of(document: &Value) -> Kind {
    let (plural, kind) = match document["kind"].as_str().unwrap() {
        "Role" => ("roles", "Role"),
        "RoleBinding" => ("rolebindings", "RoleBinding"),
        other => panic!("a Role without capacity holds a {other}"),
    };
    Kind { group: "rbac.authorization.k8s.io", version: "v1", plural, kind, namespaced: true }
}

/// A client that may do what these needs are, and no more: a service account's, under the generated Role.
async fn bound(cluster: &Cluster, namespace: &Namespace<'_>, name: &str, needs: &Needs) -> kube::Client {
    let client = account(cluster, namespace, name).await;
    let admin = Client::from_kube(namespace.client.clone(), client_options());
    let subject = Subject::ServiceAccount(namespace.name.clone(), name.to_owned());
    for mut document in yaml_read::read(&yaml(needs, &namespace.name, &subject)).unwrap() {
        // Two of them stand beside each other here.
        document["metadata"]["name"] = name.into();
        if document["roleRef"].is_object() {
            document["roleRef"]["name"] = name.into();
        }
        admin.create(&kind_of(&document), &namespace.name, &document).await.unwrap();
    }
    client
}

/// A client of a service account that may do nothing.
async fn account(cluster: &Cluster, namespace: &Namespace<'_>, name: &str) -> kube::Client {
    let accounts: Api<ServiceAccount> = namespace.api();
    let account = read(serde_json::json!({ "metadata": { "name": name } }));
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let ask = TokenRequest {
        spec: TokenRequestSpec { audiences: Vec::new(), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let token = accounts.create_token_request(name, &PostParams::default(), &ask).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    config.auth_info = kube::config::AuthInfo {
        token: Some(SecretString::from(token.status.expect("it is answered").token)),
        ..kube::config::AuthInfo::default()
    };
    kube::Client::try_from(config).unwrap()
}

async fn give(world: &World<'_>, n: u32, manifests: &Value) {
    let web = portcullis_domain::names::ServiceName::new("web").unwrap();
    bundles::give(&*world.blobs, &world.target, &commit(n), &web, &manifests.to_string()).await.unwrap();
}

/// Writes the one setting there is, as an administrator.
async fn settings(world: &World<'_>, greeting: &str) {
    let map: ConfigMap = read(serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" }, "data": { "greeting": greeting },
    }));
    let maps = world.namespace.api::<ConfigMap>();
    maps.patch("settings", &PatchParams::apply("a-person").force(), &Patch::Apply(&map)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn and_nothing_more_does() {
    let Some(cluster) = Cluster::shared().await else { return };
    let scene = Scene { autoscaled: Some((2, 4)), ..Scene::default() };
    let mut world = World::start(cluster, "role", scene).await;
    world.adopt().await;
    let policy = world.policies.get(&world.target).unwrap();
    let client = bound(cluster, &world.namespace, "portcullis", &Needs::of(&policy)).await;
    world.drive(client.clone());
    let load = world.load("web", LoadOptions::default()).await;
    let (id, _) = world.push(1, &Behaviour::version("v1")).await;
    world.approve(id).await;
    world.reaches(id, "watching").await;
    world.alarm(AlarmState::Alarm).await;
    world.ends_so(id, Ending::RolledBack).await;
    world.alarm(AlarmState::Ok).await;
    let (id, _) = world.push(2, &Behaviour::version("v2")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    world.close_window().await;
    // Manifests that come with a commit are shown to the API server, which makes nothing of them.
    let mut given = samples::deployment_json("web", "IMAGE", 2);
    given["spec"]["template"]["spec"]["containers"][0]["env"] = serde_json::json!([{ "name": "A", "value": "1" }]);
    give(&world, 3, &given).await;
    let (id, _) = world.push(3, &Behaviour::version("v3")).await;
    world.approve(id).await;
    world.ends_so(id, Ending::Live).await;
    world.close_window().await;
    assert_eq!(load.stop().await.losses(), 0);
    // Nothing that was missing was gone around: a gate's facts say what could not be read.
    for event in world.events().await {
        if let What::FactsRead { facts, .. } = &event.what {
            assert!(facts.missing.is_empty(), "{:?}", facts.missing);
        }
    }

    given["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = 99_999.into();
    give(&world, 4, &given).await;
    let (id, _) = world.push(4, &Behaviour::version("v4")).await;
    world.is_held(id, "containerPort").await;

    settings(&world, "hello").await;
    let ours = Client::from_kube(client, client_options());
    let restorer = bound(cluster, &world.namespace, "restorer", &Needs::of(&policy).with(Want::Restore)).await;
    let wire: Arc<dyn Wire> = Arc::new(Client::from_kube(restorer, client_options()));
    let taken = export(&wire, &world.namespace.name, Wanted::default()).await.unwrap();
    taken.has(&["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]).unwrap();
    let maps = taken.objects["ConfigMap"].clone();
    settings(&world, "changed by hand").await;
    let planned = plan(&wire, &world.namespace.name, maps).await.unwrap();
    let done = restore(&wire, planned.confirm(&world.namespace.name).unwrap()).await.unwrap();
    assert!(done.iter().all(|(_, done)| *done == Done::Changed) && !done.is_empty(), "{done:?}");
    let map = world.namespace.api::<ConfigMap>().get("settings").await.unwrap();
    assert_eq!(map.data.unwrap()["greeting"], "hello");

    let name = &world.namespace.name;
    let refused = [
        ours.delete(&kinds::DEPLOYMENTS, name, "web-green").await.map(|_| ()),
        ours.patch(&kinds::DEPLOYMENTS, name, "somebody-elses", &[]).await.map(|_| ()),
        ours.list(&kinds::SECRETS, Some(name), &portcullis_kubernetes::client::Selector::default()).await.map(|_| ()),
        ours.get(&kinds::PODS, "kube-system", "any").await.map(|_| ()),
        ours.list(&kinds::NODES, None, &portcullis_kubernetes::client::Selector::default()).await.map(|_| ()),
    ];
    for (n, refused) in refused.into_iter().enumerate() {
        assert!(matches!(refused.as_ref().unwrap_err().why, Why::Forbidden { .. }), "{n}: {refused:?}");
    }
    // A backup that lacks what was asked for is none, and says what to do.
    let cluster = KubernetesCluster::new(Source::Connected(ours), Options::default());
    let exported = cluster.export(&world.target, &world.place, None).await.unwrap();
    assert!(exported.sealed.is_empty() && exported.about.is_some());
    let recipient = mixed::keys().recipients().remove(0).to_string();
    let error = cluster.export(&world.target, &world.place, Some(&recipient)).await.unwrap_err().to_string();
    assert!(error.contains("Secret: NOT BACKED UP") && error.contains("--secrets` prints"), "{error}");
    let services = [portcullis_domain::names::ServiceName::new("web").unwrap()].into();
    world.adapter.observe(&world.target, &world.place, &services).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_deployments_backs_nothing_up() {
    let Some(cluster) = Cluster::shared().await else { return };
    let namespace = cluster.namespace("nobody").await;
    let client = Client::from_kube(account(cluster, &namespace, "portcullis").await, client_options());
    let ours = KubernetesCluster::new(Source::Connected(client), Options::default());
    let target = "shop/production".parse().unwrap();
    let place =
        Place { account: None, region: None, role: None, cluster: "test".into(), namespace: namespace.name.clone() };
    let error = ours.export(&target, &place, None).await.unwrap_err().to_string();
    let wanted = "backing up shop/production: Deployment: NOT BACKED UP: the role may not list it. Nothing is changed without it. \
        Apply what `portcullis cluster rbac shop/production --policy FILE` prints";
    assert_eq!(error, wanted);
}
