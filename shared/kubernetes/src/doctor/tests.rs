//! What is found on a cluster, in words.

use insta::assert_snapshot;

use super::*;
use crate::objects::COLOUR;

fn policy(strategy: &str, services: &str) -> Policy {
    let text = format!(
        "portcullis: 1\napplication: shop\nregistry: r.example.com/shop\nservices:\n{services}\n\
         environments:\n  production: {{ mode: observe, cluster: prod, namespace: shop, strategy: {strategy} }}\n"
    );
    let set = portcullis_policy::load(&[("p.yaml".into(), text)]).unwrap();
    Policy::clone(&set.policies[0])
}

fn deployment(name: &str, managed: &Json) -> Json {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": "shop", "managedFields": managed },
        "spec": { "replicas": 3, "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [
            { "name": name, "image": "r/x", "readinessProbe": {} } ] } } } })
}

fn service(name: &str) -> Json {
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": { "selector": { "app": name } } })
}

fn healthy() -> Found {
    Found {
        version: Some(Ok("v1.34.2".into())),
        rights: vec![Right { purpose: "look: x", what: "list pods".into(), allowed: true }],
        deployments: Some(vec![deployment("web", &json!([])), deployment("jobs", &json!([]))]),
        services: Some(vec![service("web")]),
        ingresses: Some(Vec::new()),
        bindings: Vec::new(),
        routes: Vec::new(),
        room: Some(22),
    }
}

#[test]
fn a_healthy_cluster_is_told_in_a_few_lines() {
    let policy = policy("blue-green", "  web: {}\n  jobs: { kind: worker }");
    assert_snapshot!(text(&findings(&healthy(), &policy), false), @r"
      ✓ access    prod answers, v1.34.2
      ✓ rights    1 of 1
      ✓ services  jobs: Deployment/jobs
      ✓ services  web: Deployment/web
      ✓ writers   nobody else writes these objects
      ✓ traffic   web: its Service's selector moves it at once
      ✓ capacity  a release needs 6 more pods; 22 fit

    6 checks: 7 ok, 0 to look at, 0 in the way
    ");
}

#[test]
fn everything_in_the_way_comes_with_its_fix() {
    let policy = policy("blue-green", "  web: {}\n  api: {}");
    let managed = json!([{ "manager": "kustomize-controller", "operation": "Apply", "fieldsV1": { "f:spec": { "f:replicas": {} } } }]);
    let mut web = deployment("web", &managed);
    web["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = Json::Null;
    let ingress = json!({ "metadata": { "name": "front", "annotations": { "alb.ingress.kubernetes.io/target-type": "ip" } },
        "spec": { "ingressClassName": "alb", "defaultBackend": { "service": { "name": "web" } } } });
    let right = |purpose, what: &str| Right { purpose, what: what.into(), allowed: false };
    let found = Found {
        rights: vec![
            right("write: both colours", "patch deployments.apps web-green"),
            right("back up: list everything", "list widgets.x.dev"),
        ],
        deployments: Some(vec![web]),
        ingresses: Some(vec![ingress]),
        room: Some(1),
        ..healthy()
    };
    let shown = text(&findings(&found, &policy), true);
    assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
    assert_snapshot!(shown, @r"
      ok   access    prod answers, v1.34.2
      FAIL rights    to write, missing: patch deployments.apps web-green
                     fix: somebody who may give rights in shop runs:
                          portcullis cluster rbac shop/production | kubectl apply -f -
      hold rights    to back up, missing: list widgets.x.dev
                     fix: somebody who may give rights in shop runs:
                          portcullis cluster rbac shop/production | kubectl apply -f -
      FAIL services  api: there is no Deployment api (nor one of a colour with pods)
                     fix: name the service as its Deployment is named, or create it: a release may bring
                          its manifests
      hold services  web: its container has no readinessProbe, so that a pod counts as ready when it
                     starts
                     fix: add a readinessProbe that answers when it can serve
      FAIL writers   Flux Kustomization writes spec.replicas of Deployment/web, and would undo a switch
                     or a rollback within its interval
                     fix: add this annotation to Deployment/web in Git: Flux then creates it where it is
                          missing and leaves it alone after
                          metadata:
                            annotations:
                              kustomize.toolkit.fluxcd.io/ssa: IfNotPresent
      FAIL traffic   web: requests would be lost: the load balancer of Ingress front has its pods as
                     targets, and takes the old ones out before the new ones are healthy. Switch by
                     weights between two target groups (`traffic: alb` in the policy), or say that the
                     selector is switched all the same
                     fix: let weights move it: write `traffic: alb` in the policy, then `portcullis
                          cluster adopt` (adopted already: release it first); or use strategy: rolling
                          here
      FAIL capacity  a release needs 3 more pods; 1 fit
                     fix: add nodes or raise the ResourceQuota; with strategy: rolling fewer are needed

    6 checks: 1 ok, 2 to look at, 5 in the way
    ");
}

#[test]
fn which_way_moves_traffic_is_told_and_what_is_in_its_way() {
    let policy = policy("blue-green", "  web: {}");
    let mut front = service("web");
    front["metadata"]["annotations"] = json!({ "portcullis.dev/traffic": "httproute/shop" });
    let route = |blue: u64, green: u64| {
        json!({ "metadata": { "name": "shop" }, "spec": { "rules": [{ "backendRefs": [
            { "name": "web-blue", "weight": blue }, { "name": "web-green", "weight": green }] }] } })
    };
    let traffic = |routes: Vec<Json>| {
        let found = Found { services: Some(vec![front.clone()]), routes, ..healthy() };
        findings(&found, &policy).into_iter().find(|finding| finding.check == "traffic").unwrap()
    };
    let well = traffic(vec![route(75, 25)]);
    assert_eq!(
        (well.level, well.what.as_str()),
        (Level::Ok, "web: the weights of HTTPRoute shop move it; green has 25%")
    );
    for (routes, words) in [(vec![], "there is no HTTPRoute shop"), (vec![route(2, 1)], "not ours to read")] {
        let finding = traffic(routes);
        assert!(finding.level == Level::Fail && finding.what.contains(words), "{finding:?}");
        assert!(finding.fix.unwrap().contains("cluster release"));
    }
    front["spec"]["selector"][COLOUR] = "blue".into();
    let found = Found { services: Some(vec![front]), routes: vec![route(75, 25)], ..healthy() };
    let all = findings(&found, &policy);
    let finding = all.iter().find(|finding| finding.check == "traffic").unwrap();
    assert!(finding.level == Level::Fail && finding.what.contains("adopted with `traffic: gateway`"), "{finding:?}");
}

#[test]
fn a_cluster_that_does_not_answer_is_one_finding() {
    let found = Found { version: Some(Err("refused".into())), ..Found::default() };
    let findings = findings(&found, &policy("rolling", "  web: {}"));
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].check, findings[0].level), ("access", Level::Fail));
}

#[test]
fn what_is_not_known_is_never_well() {
    let found = Found { deployments: None, services: None, ingresses: None, ..healthy() };
    let findings = findings(&found, &policy("blue-green", "  web: {}"));
    let level =
        |check: &str| findings.iter().filter(|finding| finding.check == check).map(|finding| finding.level).max();
    assert_eq!(level("services"), Some(Level::Hold));
    assert_eq!(level("traffic"), Some(Level::Hold));
}

#[test]
fn a_rule_is_asked_about_verb_by_verb_and_name_by_name() {
    let rule = Rule {
        purpose: "p",
        group: "apps".into(),
        resources: vec!["deployments".into(), "deployments/scale".into()],
        verbs: vec!["get", "patch"],
        names: vec!["a".into(), "b".into()],
    };
    let asked: Vec<String> = each(&rule).into_iter().map(|one| one.what).collect();
    assert_eq!(asked.len(), 8);
    assert_eq!(asked[0], "get deployments.apps a");
    assert_eq!(asked[7], "patch deployments/scale.apps b");
    assert_eq!(each(&rule)[7].about["subresource"], "scale");
}
