//! The names, labels and annotations of what Portcullis writes: all of them are here, and nowhere else.
//!
//! | object | name |
//! | --- | --- |
//! | a colour's Deployment | `SERVICE-blue`, `SERVICE-green` |
//! | the Service that requests come to | `SERVICE`, its selector narrowed to one colour |
//! | a colour's own Service: tests before it serves, and what weights are between | `SERVICE-blue`, `SERVICE-green` |
//! | a colour's autoscaler and disruption budget, where the live colour has one | `SERVICE-blue`, `SERVICE-green` |
//!
//! A Deployment `SERVICE` without a colour is what ran before Portcullis came: it is read as blue until it is adopted, and
//! kept at rest afterwards.

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use serde_json::Value as Json;

/// The field manager of every write.
pub const FIELD_MANAGER: &str = "portcullis";

/// Label and selector of pods: which colour they are of.
pub const COLOUR: &str = "portcullis.dev/colour";
/// Label of every object of ours, and of its pods: which service it is of.
pub const SERVICE: &str = "portcullis.dev/service";
/// Label of every object of ours: which application it is of.
pub const APPLICATION: &str = "portcullis.dev/application";

/// Kubernetes' own label of endpoint slices: which Service they are of.
pub const SERVICE_OF_SLICE: &str = "kubernetes.io/service-name";

/// Annotation: the digest that the last write of ours put there.
pub const RELEASED: &str = "portcullis.dev/released-digest";
/// Annotation: the digest before that, where the write changed it. The way back of a rolling update.
pub const PREVIOUS: &str = "portcullis.dev/previous-digest";
/// Annotation: how many replicas it had before it was scaled down.
pub const REPLICAS_BEFORE: &str = "portcullis.dev/replicas-before";
/// Annotation: what the last write was for, such as `switch`.
pub const INTENTION: &str = "portcullis.dev/intention";
/// Annotation of a Service: the colour that had the traffic before.
pub const PREVIOUS_COLOUR: &str = "portcullis.dev/previous-colour";
/// Annotation of a Service: what moves its traffic, if not its selector: `httproute/NAME` or `ingress/NAME`.
pub const TRAFFIC: &str = "portcullis.dev/traffic";
/// Annotation of a Deployment with several containers: the one that is the service's.
pub const CONTAINER: &str = "portcullis.dev/container";
/// Annotation: other field managers that may own fields which we write, by name, with commas between them.
pub const ACCEPTS: &str = "portcullis.dev/accepts-writer";
/// Annotation of an autoscaler: the least number of replicas it had before ours was pinned; `none` = it had none.
pub const LEAST_BEFORE: &str = "portcullis.dev/min-replicas";
/// Annotation of an autoscaler: the most replicas it had before ours was pinned.
pub const MOST_BEFORE: &str = "portcullis.dev/max-replicas";
/// Annotation of what was adopted: by which target.
pub const ADOPTED: &str = "portcullis.dev/adopted-by";
/// Annotation of what was adopted: what a person should know before changing it.
pub const WARNING: &str = "portcullis.dev/warning";
/// What begins every key of ours.
pub const OURS: &str = "portcullis.dev/";

/// The annotation of a target's fence. The name in a key has at most 63 characters: longer ones are hashed.
pub fn fence_key(target: &TargetId) -> String {
    let name = format!("fence.{}.{}", target.app, target.env);
    if name.len() <= 63 {
        return format!("{OURS}{name}");
    }
    format!("{OURS}fence.{}", &Digest::of(target.to_string().as_bytes()).hex()[..32])
}

/// The annotation of the fence of one service's weights: several services may share one Ingress or route. Names have no
/// dot, so it is nobody else's; the name in a key has at most 63 characters: longer ones are hashed.
pub fn weights_fence_key(target: &TargetId, service: &ServiceName) -> String {
    weights_key("fence", target, service)
}

/// The annotation beside it: what the last write of these weights was for, such as `switch`.
pub fn weights_intention_key(target: &TargetId, service: &ServiceName) -> String {
    weights_key("intention", target, service)
}

fn weights_key(what: &str, target: &TargetId, service: &ServiceName) -> String {
    let name = format!("{what}.{}.{}.{service}", target.app, target.env);
    if name.len() <= 63 {
        return format!("{OURS}{name}");
    }
    format!("{OURS}{what}.{}", &Digest::of(format!("{target}/{service}").as_bytes()).hex()[..32])
}

/// The name of a colour's objects.
pub fn coloured(service: &ServiceName, colour: Colour) -> String {
    format!("{service}-{colour}")
}

/// The colour that a label or selector names.
pub fn colour_of(text: &str) -> Option<Colour> {
    match text {
        "blue" => Some(Colour::Blue),
        "green" => Some(Colour::Green),
        _ => None,
    }
}

/// An object's name.
pub fn name(object: &Json) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// A label.
pub fn label<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key)?.as_str()
}

/// An annotation.
pub fn annotation<'a>(object: &'a Json, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key)?.as_str()
}

/// A key as part of a JSON pointer (RFC 6901).
pub fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The digest in an image's name, such as `registry/web@sha256:…`.
pub fn digest_in(image: &str) -> Option<Digest> {
    image.rsplit_once('@')?.1.parse().ok()
}

/// An image's repository, without tag and digest.
pub fn repository_in(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    // A colon before the last slash is the registry's port.
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

/// The position of the service's own container in a pod's specification.
///
/// # Errors
/// There are several, and neither a name nor an annotation says which.
pub fn own_container(object: &Json, pod: &Json, service: &str) -> Result<usize, String> {
    let names: Vec<&str> =
        pod["containers"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    let position = |wanted: &str| names.iter().position(|name| *name == wanted);
    if let Some(wanted) = annotation(object, CONTAINER) {
        return position(wanted)
            .ok_or_else(|| format!("the annotation {CONTAINER} names {wanted:?}, which it has not"));
    }
    match (position(service), names.len()) {
        (Some(position), _) => Ok(position),
        (None, 1) => Ok(0),
        (None, 0) => Err("it has no container".to_owned()),
        (None, _) => Err(format!(
            "which of its containers ({}) is the service's is not known: name it with the annotation {CONTAINER}",
            names.join(", ")
        )),
    }
}

/// Puts a digest on the service's own container, and on every other container of the same repository (a migration that
/// runs first). Gives how many images changed.
pub fn set_digest(pod: &mut Json, own: usize, digest: &Digest) -> usize {
    let repository = repository_in(pod["containers"][own]["image"].as_str().unwrap_or_default()).to_owned();
    let image = format!("{repository}@{digest}");
    let mut changed = 0;
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Json::as_array_mut).into_iter().flatten() {
            let same = container["image"].as_str().is_some_and(|image| repository_in(image) == repository);
            if same && container["image"] != image.as_str() {
                container["image"] = image.clone().into();
                changed += 1;
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_images_repository_is_what_is_left_without_tag_and_digest() {
        let digest = Digest::of(b"1");
        for (image, repository) in [
            ("web", "web"),
            ("web:1.2", "web"),
            ("localhost:5000/team/web", "localhost:5000/team/web"),
            ("localhost:5000/team/web:1", "localhost:5000/team/web"),
            (&format!("r/web:1@{digest}"), "r/web"),
        ] {
            assert_eq!(repository_in(image), repository, "{image}");
        }
        assert_eq!(digest_in(&format!("r/web:1@{digest}")), Some(digest));
        assert_eq!(digest_in("r/web:1"), None);
    }

    #[test]
    fn a_digest_goes_on_every_container_of_the_same_repository_and_no_other() {
        let digest = Digest::of(b"2");
        let mut pod = json!({
            "initContainers": [{ "name": "migrate", "image": "r/web:old" }],
            "containers": [{ "name": "proxy", "image": "r/envoy:1" }, { "name": "web", "image": "r/web:old" }],
        });
        assert_eq!(set_digest(&mut pod, 1, &digest), 2);
        let image = format!("r/web@{digest}");
        assert_eq!(pod["initContainers"][0]["image"], image.as_str());
        assert_eq!(pod["containers"][1]["image"], image.as_str());
        assert_eq!(pod["containers"][0]["image"], "r/envoy:1");
        let before = pod.clone();
        assert_eq!(set_digest(&mut pod, 1, &digest), 0, "it is there already");
        assert_eq!(pod, before);
        let mut alone = json!({ "containers": [{ "name": "web", "image": "r/web:old" }] });
        set_digest(&mut alone, 0, &digest);
        assert!(alone.get("initContainers").is_none(), "nothing is added: {alone}");
    }

    #[test]
    fn which_container_is_the_services_is_never_guessed() {
        let one = json!({ "containers": [{ "name": "main" }] });
        let two = json!({ "containers": [{ "name": "proxy" }, { "name": "web" }] });
        assert_eq!(own_container(&json!({}), &one, "web"), Ok(0));
        assert_eq!(own_container(&json!({}), &two, "web"), Ok(1));
        assert!(own_container(&json!({}), &two, "api").unwrap_err().contains("proxy, web"));
        let said = json!({ "metadata": { "annotations": { CONTAINER: "proxy" } } });
        assert_eq!(own_container(&said, &two, "web"), Ok(0));
        assert!(own_container(&said, &one, "web").is_err());
    }

    #[test]
    fn a_fences_key_is_a_valid_one_however_long_the_names() {
        let short: TargetId = "volteryde/production".parse().unwrap();
        assert_eq!(fence_key(&short), "portcullis.dev/fence.volteryde.production");
        let long: TargetId = format!("{}/{}", "a".repeat(60), "b".repeat(60)).parse().unwrap();
        let key = fence_key(&long);
        assert!(key.starts_with(OURS) && key.len() - OURS.len() <= 63, "{key}");
        assert_eq!(pointer(&fence_key(&short)), "portcullis.dev~1fence.volteryde.production");
    }

    #[test]
    fn the_weights_of_each_service_have_a_fence_of_their_own() {
        let (web, api) = (ServiceName::new("web").unwrap(), ServiceName::new(&"s".repeat(63)).unwrap());
        let target: TargetId = "shop/production".parse().unwrap();
        assert_eq!(weights_fence_key(&target, &web), "portcullis.dev/fence.shop.production.web");
        let long = weights_fence_key(&target, &api);
        assert!(long.starts_with(OURS) && long.len() - OURS.len() <= 63, "{long}");
        let other: TargetId = "shop/staging".parse().unwrap();
        let keys = [long, weights_fence_key(&other, &api), fence_key(&target), weights_fence_key(&target, &web)];
        assert!((1..keys.len()).all(|n| !keys[..n].contains(&keys[n])), "{keys:?}");
    }
}
