//! Manifests that were given with a commit, which a colour is made from.

use portcullis_domain::names::ServiceName;
use portcullis_engine::ports::PortError;
use serde_json::Value as Json;

use crate::objects::{OURS, name, own_container};

/// The manifests of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// Its Deployment, of whatever name: what is made of it is coloured.
    pub deployment: Json,
    /// Its Service; none = a worker.
    pub service: Option<Json>,
}

impl Bundle {
    /// Reads YAML documents: one Deployment and at most one Service.
    ///
    /// # Errors
    /// The text is refused by [`crate::backup::yaml_read`] (aliases, tags, sizes), or holds anything else.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let wrong = |found: String| PortError::new("reading a bundle of manifests", found);
        let documents = crate::backup::yaml_read::read(text).map_err(|refused| wrong(refused.to_string()))?;
        let (mut deployment, mut service) = (None, None);
        for document in documents {
            let place = match (document["apiVersion"].as_str(), document["kind"].as_str()) {
                (Some("apps/v1"), Some("Deployment")) => &mut deployment,
                (Some("v1"), Some("Service")) => &mut service,
                (_, kind) => {
                    let kind = crate::error::clean(kind.unwrap_or("something without a kind"));
                    return Err(wrong(format!("it holds {kind}; a Deployment and a Service are read")));
                }
            };
            if place.replace(document).is_some() {
                return Err(wrong("it holds two objects of a kind".into()));
            }
        }
        let deployment = deployment.ok_or_else(|| wrong("it holds no Deployment".into()))?;
        // What is written into later has to be a map, or absent.
        let maps = [
            "/metadata",
            "/metadata/labels",
            "/metadata/annotations",
            "/spec/template/metadata",
            "/spec/template/metadata/labels",
            "/spec/selector",
        ];
        for (object, path) in
            std::iter::once(&deployment).chain(&service).flat_map(|object| maps.map(|path| (object, path)))
        {
            if object.pointer(path).is_some_and(|value| !value.is_object() && !value.is_null()) {
                return Err(wrong(format!("{path} is no map")));
            }
        }
        let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
        if containers.is_some_and(|containers| !containers.iter().all(Json::is_object)) {
            return Err(wrong("one of its containers is no map".into()));
        }
        if containers.is_none_or(Vec::is_empty) {
            return Err(wrong("its Deployment has no container".into()));
        }
        if !deployment["spec"]["selector"]["matchLabels"].is_object() {
            return Err(wrong("its Deployment selects no pods by matchLabels".into()));
        }
        if service.as_ref().is_some_and(|service| !service["spec"]["selector"].is_object()) {
            return Err(wrong("its Service has no selector".into()));
        }
        Ok(Self { deployment, service })
    }

    /// What a colour is made from: what serves, with these pods; or all of this where nothing serves. What else of a
    /// Deployment there is (its selector cannot be changed) and its Service stay as they are. The image's repository is
    /// that of what serves, whatever stands here in its place.
    ///
    /// # Errors
    /// Whoever finds the pods that serve would not find these; which container is the service's is not known.
    pub fn over(&self, service: &ServiceName, live: Option<&Json>, front: Option<&Json>) -> Result<Json, String> {
        let Some(live) = live else {
            own_container(&self.deployment, &self.deployment["spec"]["template"]["spec"], service.as_str())?;
            return Ok(self.deployment.clone());
        };
        let mut template = self.deployment["spec"]["template"].clone();
        let labels = &template["metadata"]["labels"];
        let selectors = [(live, &live["spec"]["selector"]["matchLabels"])];
        for (object, selector) in selectors.into_iter().chain(front.map(|front| (front, &front["spec"]["selector"]))) {
            for (key, value) in selector.as_object().into_iter().flatten() {
                if !key.starts_with(OURS) && labels.get(key) != Some(value) {
                    let (kind, name) = (object["kind"].as_str().unwrap_or("an object"), name(object));
                    let value = value.as_str().unwrap_or_default();
                    return Err(format!("its pods have no label {key}={value}, by which {kind} {name} finds them"));
                }
            }
        }
        let pod = &live["spec"]["template"]["spec"];
        let served = &pod["containers"][own_container(live, pod, service.as_str())?]["image"];
        let own = own_container(live, &template["spec"], service.as_str())?;
        let stands = template["spec"]["containers"][own]["image"].clone();
        for list in ["initContainers", "containers"] {
            for container in template["spec"].get_mut(list).and_then(Json::as_array_mut).into_iter().flatten() {
                if container["image"] == stands {
                    container["image"] = served.clone();
                }
            }
        }
        let mut made = live.clone();
        made["spec"]["template"] = template;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use portcullis_domain::policy::Colour;

    use super::*;
    use crate::fake::{deployment, digest, front, service};

    const GOOD: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: registry/web}]}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n";

    #[test]
    fn a_bundle_is_a_deployment_and_a_service_and_nothing_else() {
        let bundle = Bundle::parse(GOOD).unwrap();
        assert_eq!(bundle.deployment["metadata"]["name"], "web");
        assert_eq!(bundle.service.unwrap()["spec"]["ports"][0]["port"], 80);
        let worker = GOOD.split("---").next().unwrap();
        assert_eq!(Bundle::parse(worker).unwrap().service, None);
        for (bad, expected) in [
            (String::new(), "no Deployment"),
            (format!("{GOOD}---\n{worker}"), "two objects"),
            ("apiVersion: v1\nkind: Secret\n".into(), "it holds Secret"),
            ("apiVersion: apps/v1\nkind: Deployment\nspec: {}\n".into(), "no container"),
            ("a: &x [1]\nb: *x\n".into(), ""),
        ] {
            let error = Bundle::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn pods_are_taken_and_everything_else_is_as_it_serves() {
        let bundle =
            Bundle::parse(&GOOD.replace("image: registry/web", "image: IMAGE, env: [{name: A, value: b}]")).unwrap();
        let (live, front) = (deployment("web", None, 3, &digest(1)), front(Some(Colour::Blue), None));
        let made = bundle.over(&service(), Some(&live), Some(&front)).unwrap();
        let container = &made["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["env"][0]["value"], "b");
        assert_eq!(container["image"], live["spec"]["template"]["spec"]["containers"][0]["image"]);
        assert_eq!((&made["spec"]["replicas"], &made["metadata"]), (&live["spec"]["replicas"], &live["metadata"]));
        let first = bundle.over(&service(), None, None).unwrap();
        assert_eq!(first, bundle.deployment, "where nothing serves it is all there is");
    }

    #[test]
    fn pods_that_nobody_would_find_are_refused() {
        let live = deployment("web", None, 3, &digest(1));
        let other = Bundle::parse(&GOOD.replace("labels: {app: web}", "labels: {app: shop}")).unwrap();
        let why = other.over(&service(), Some(&live), None).unwrap_err();
        assert_eq!(why, "its pods have no label app=web, by which Deployment web finds them");
        let mut front = front(None, None);
        front["spec"]["selector"]["tier"] = "edge".into();
        let why = Bundle::parse(GOOD).unwrap().over(&service(), Some(&live), Some(&front)).unwrap_err();
        assert!(why.contains("tier=edge"), "{why}");
        let two = GOOD.replace("{name: web, image: registry/web}", "{name: a, image: one}, {name: b, image: two}");
        let why = Bundle::parse(&two).unwrap().over(&service(), None, None).unwrap_err();
        assert!(why.starts_with("which of its containers (a, b)"), "{why}");
    }
}
