//! Weights as shares, on routes and on Ingresses.

use super::*;
use crate::fake::service;

fn route(rules: &[Json]) -> Json {
    json!({ "metadata": { "name": "shop" }, "spec": { "rules": rules } })
}

fn rule(blue: u64, green: u64) -> Json {
    json!({ "matches": [{}], "backendRefs": [{ "name": "web-blue", "port": 80, "weight": blue },
        { "name": "web-green", "port": 80, "weight": green }] })
}

fn ingress(groups: &Json) -> Json {
    let action = json!({ "type": "forward", "forwardConfig": { "targetGroups": groups } }).to_string();
    json!({ "metadata": { "name": "front", "annotations": { "alb.ingress.kubernetes.io/actions.web": action } },
        "spec": { "rules": [{ "http": { "paths": [{ "path": "/", "backend":
            { "service": { "name": "web", "port": { "name": "use-annotation" } } } }] } }] } })
}

fn group(name: &str, weight: u64) -> Json {
    json!({ "serviceName": name, "servicePort": 80, "weight": weight })
}

fn by_route() -> Way {
    Way::Route("shop".into())
}

fn by_ingress() -> Way {
    Way::Ingress("front".into())
}

#[test]
fn a_share_becomes_the_smallest_weights_that_are_exact_or_is_refused() {
    for (green, most, expected) in [
        (0, MOST_OF_INGRESS, Some((100, 0))),
        (10_000, MOST_OF_INGRESS, Some((0, 100))),
        (2_500, MOST_OF_INGRESS, Some((75, 25))),
        (1_250, MOST_OF_INGRESS, Some((875, 125))),
        (10, MOST_OF_INGRESS, Some((999, 1))),
        (1_255, MOST_OF_INGRESS, None),
        (1_255, MOST_OF_ROUTE, Some((8_745, 1_255))),
        (10_001, MOST_OF_ROUTE, None),
    ] {
        assert_eq!(weights(green, most).ok(), expected, "{green}");
    }
    assert!(weights(1_255, MOST_OF_INGRESS).unwrap_err().contains("0.1%"));
}

#[test]
fn the_weights_of_a_route_are_read_as_a_share_and_written_rule_by_rule() {
    let other = json!({ "backendRefs": [{ "name": "api", "port": 80 }] });
    let shop = route(&[rule(75, 25), other, rule(3, 1)]);
    assert_eq!(green(&by_route(), &service(), &shop), Ok(2_500), "what they come to counts, not how they are written");
    let changed = changes(&by_route(), &service(), &shop, 5_000).unwrap();
    let paths: Vec<&str> = changed.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/spec/rules/0/backendRefs", "/spec/rules/2/backendRefs"]);
    assert_eq!(changed[0].before, shop["spec"]["rules"][0]["backendRefs"], "the whole old value is tested");
    assert_eq!(changed[1].after, rule(50, 50)["backendRefs"]);
    let same = changes(&by_route(), &service(), &shop, 2_500).unwrap();
    assert!(same.iter().all(|one| one.before == one.after), "a mark changes no weight: {same:?}");
}

#[test]
fn weights_that_are_not_ours_to_read_say_what_differs() {
    let third = json!({ "backendRefs": [{ "name": "web-blue" }, { "name": "web-green" }, { "name": "canary" }] });
    let one = json!({ "backendRefs": [{ "name": "web-green" }] });
    let plain = json!({ "backendRefs": [{ "name": "web" }] });
    let elsewhere = json!({ "backendRefs": [{ "name": "web-blue" }, { "name": "web-green", "namespace": "x" }] });
    for (what, way, carrier) in [
        ("\"canary\"", by_route(), route(&[third])),
        ("does not send to web-blue", by_route(), route(&[one])),
        ("\"web\"", by_route(), route(&[plain])),
        ("\"\"", by_route(), route(&[elsewhere])),
        ("rule 2 gives green 5000", by_route(), route(&[rule(75, 25), rule(1, 1)])),
        ("no share that Portcullis writes", by_route(), route(&[rule(2, 1)])),
        ("both weights are 0", by_route(), route(&[rule(0, 0)])),
        ("none of its rules", by_route(), route(&[])),
        ("\"old\"", by_ingress(), ingress(&json!([group("web-blue", 1), group("web-green", 1), group("old", 1)]))),
        ("twice", by_ingress(), ingress(&json!([group("web-blue", 1), group("web-blue", 1)]))),
        ("no backend of it uses", by_ingress(), json!({ "metadata": {}, "spec": {} })),
    ] {
        let why = green(&way, &service(), &carrier).unwrap_err();
        assert!(why.contains(what) && why.contains(&way.to_string()), "{what}: {why}");
        assert!(changes(&way, &service(), &carrier, 0).is_err(), "{what}: nothing is written over it");
    }
    let mut past = ingress(&json!([group("web-blue", 1), group("web-green", 1)]));
    past["spec"]["defaultBackend"] = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    assert!(green(&by_ingress(), &service(), &past).unwrap_err().contains("past the weights"));
}

#[test]
fn the_action_of_an_ingress_keeps_all_but_its_weights() {
    let mut front = ingress(&json!([group("web-blue", 100), group("web-green", 0)]));
    let key = action_key("web");
    let mut said = action("web", &front).unwrap();
    said["forwardConfig"]["targetGroupStickinessConfig"] = json!({ "enabled": false });
    front["metadata"]["annotations"][&key] = said.to_string().into();
    assert_eq!(green(&by_ingress(), &service(), &front), Ok(0));
    let changed = changes(&by_ingress(), &service(), &front, 2_500).unwrap();
    assert_eq!(changed[0].path, "/metadata/annotations/alb.ingress.kubernetes.io~1actions.web");
    let after: Json = serde_json::from_str(changed[0].after.as_str().unwrap()).unwrap();
    said["forwardConfig"]["targetGroups"] = json!([group("web-blue", 75), group("web-green", 25)]);
    assert_eq!(after, said);
}

#[test]
fn an_ingress_goes_to_weights_and_back_to_what_it_was() {
    let plain = json!({ "metadata": { "name": "front" }, "spec": { "rules": [{ "http": { "paths": [
        { "path": "/", "backend": { "service": { "name": "web", "port": { "number": 80 } } } },
        { "path": "/api", "backend": { "service": { "name": "api", "port": { "number": 80 } } } } ] } }] } });
    let staged = ingress_staged(&service(), &plain).unwrap();
    assert!(is_staged(&service(), &staged));
    assert!(green(&by_ingress(), &service(), &staged).is_err(), "half way is no share");
    assert_eq!(ingress_staged(&service(), &staged).unwrap(), staged);
    let weighted = ingress_by_weights(&service(), &staged).unwrap();
    assert_eq!(green(&by_ingress(), &service(), &weighted), Ok(0));
    let beside = ingress_beside(&service(), &weighted).unwrap();
    assert!(is_staged(&service(), &beside));
    let back = ingress_by_service(&service(), &beside).unwrap();
    assert_eq!(back["spec"], plain["spec"]);
    assert_eq!(back["metadata"]["annotations"], json!({}));
}

#[test]
fn a_route_goes_to_weights_and_back_to_the_service() {
    let plain = route(&[json!({ "filters": [1], "backendRefs": [{ "name": "web", "port": 80, "weight": 1 }] })]);
    let weighted = route_by_weights(&service(), &plain).unwrap();
    assert_eq!(green(&by_route(), &service(), &weighted), Ok(0));
    assert_eq!(weighted["spec"]["rules"][0]["filters"], json!([1]));
    assert_eq!(route_by_service(&service(), &weighted), plain);
    let two = route(&[json!({ "backendRefs": [{ "name": "web" }, { "name": "old" }] })]);
    assert!(route_by_weights(&service(), &two).unwrap_err().contains("other backends"));
    assert!(route_by_weights(&service(), &route(&[])).is_err());
}

#[test]
fn what_moves_traffic_is_said_by_the_service_or_is_its_selector() {
    let said = |text: &str| Way::of(&json!({ "metadata": { "annotations": { TRAFFIC: text } } }));
    assert_eq!(Way::of(&json!({})), Ok(Way::Selector));
    for way in [by_route(), by_ingress()] {
        assert_eq!(said(&way.annotation().unwrap()), Ok(way));
    }
    for wrong in ["", "ingress", "ingress/", "ingress/A b", "service/web", "httproute/a/b"] {
        assert!(said(wrong).unwrap_err().contains("neither"), "{wrong}");
    }
}
