//! What is made where nothing is: manifests kept for a service's first release.

use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_engine::ports::PortError;
use serde_json::Value as Json;

/// The manifests of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// Its Deployment, of whatever name: what is made of it is coloured.
    pub deployment: Json,
    /// Its Service; none = a worker.
    pub service: Option<Json>,
}

/// Where bundles come from.
pub trait Bundles: Send + Sync {
    /// The bundle of a service; none = there is none.
    fn bundle(&self, target: &TargetId, service: &ServiceName) -> Option<Bundle>;
}

/// The same for whatever service.
impl Bundles for Bundle {
    fn bundle(&self, _: &TargetId, _: &ServiceName) -> Option<Bundle> {
        Some(self.clone())
    }
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
