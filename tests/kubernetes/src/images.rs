//! What the containers of the test cluster do. There is no registry: an image is its reference, and the facts about it
//! that a test pushed into the cluster, a `ConfigMap` per digest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Namespace};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Where the facts about images are.
pub const NAMESPACE: &str = "portcullis-test-images";
const FACTS: &str = "behaviour.json";
/// Environment variables that begin so say what one container does: `TEST_LATENCY_MS=20`, `TEST_NEVER_READY=true`.
pub const VARIABLE: &str = "TEST_";
/// An image whose name holds this cannot be pulled.
pub const UNPULLABLE: &str = "unpullable";

/// What a container does. Every field can be set for one container by an environment variable of its name in capitals
/// after [`VARIABLE`]; that wins over what was pushed with the image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The version it answers with, in the header `x-version`; empty = the tag, or the digest's first 12 digits.
    pub version: String,
    /// Every n-th request fails with 500; 0 = none. Health paths never fail by it.
    pub error_every: u64,
    /// How long it thinks before it answers. Health paths answer at once.
    pub latency_ms: u64,
    /// How long after its start its health paths answer 200; until then 503.
    pub ready_after_ms: u64,
    /// Its health paths always answer 503.
    pub never_ready: bool,
    /// So long after its start its health paths answer 503 again.
    pub unready_after_ms: Option<u64>,
    /// It exits so long after its start; none = it runs until it is stopped. 0 with code 1 is a crash loop.
    pub exit_after_ms: Option<u64>,
    /// What it exits with then.
    pub exit_code: i32,
    /// It exits then because it took more memory than it may (code 137, `OOMKilled`).
    pub out_of_memory: bool,
    /// It takes so long to exit after SIGTERM. What is in flight is answered meanwhile, nothing new is accepted.
    pub slow_stop_ms: u64,
    /// It exits at SIGTERM without answering what is in flight.
    pub abrupt_stop: bool,
    /// A line that it logs when it starts.
    pub says: Option<String>,
}

impl Behaviour {
    /// A faultless build.
    pub fn version(version: &str) -> Self {
        Self { version: version.to_owned(), ..Self::default() }
    }

    /// A build that crashes as soon as it starts.
    pub fn crashing(version: &str) -> Self {
        Self { exit_after_ms: Some(0), exit_code: 1, ..Self::version(version) }
    }
}

/// An image by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// As a container names it: `registry.test/shop@sha256:…`.
    pub reference: String,
    /// `sha256:…`.
    pub digest: String,
}

/// Pushes an image: from now on, containers with this digest behave so. The same repository and behaviour make the same
/// digest.
pub async fn push(client: &Client, repository: &str, behaviour: &Behaviour) -> Image {
    let facts = serde_json::to_string(behaviour).unwrap();
    let digest = digest_of(&format!("{repository} {facts}"));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = ObjectMeta { name: Some(NAMESPACE.into()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata: namespace, ..Namespace::default() };
    match namespaces.create(&PostParams::default(), &namespace).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("making the namespace {NAMESPACE}: {error}"),
    }
    let name = digest.replace(':', "-");
    let facts = ConfigMap {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(FACTS.to_owned(), facts)])),
        ..ConfigMap::default()
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let pushed = maps.patch(&name, &PatchParams::apply("portcullis-test-images").force(), &Patch::Apply(&facts)).await;
    pushed.unwrap_or_else(|error| panic!("pushing {repository}@{digest}: {error}"));
    Image { reference: format!("{repository}@{digest}"), digest }
}

fn digest_of(text: &str) -> String {
    Sha256::digest(text).iter().fold("sha256:".to_owned(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Why a container could not be made: the reason as a kubelet gives it, and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// A pulled image, with what the container's variables add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub(crate) digest: String,
    /// As a kubelet reports it: repository and digest.
    pub(crate) image_id: String,
    pub(crate) behaviour: Behaviour,
}

/// Pulls the image of a container.
pub(crate) async fn pull(client: &Client, container: &Container) -> Result<Pulled, Refused> {
    let image = container.image.as_deref().unwrap_or_default();
    let reference = Reference::of(image);
    if reference.repository.rsplit('/').next().is_some_and(|name| name.contains(UNPULLABLE)) {
        let message = format!("failed to pull and unpack image \"{image}\": {image}: not found");
        return Err(Refused { reason: "ErrImagePull", message });
    }
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let facts = maps.get_opt(&reference.digest.replace(':', "-")).await;
    let facts = facts.map_err(|error| Refused {
        reason: "ErrImagePull",
        message: format!("failed to pull image \"{image}\": asking for its facts: {error}"),
    })?;
    let facts = facts.and_then(|facts| facts.data?.remove(FACTS));
    let env = container.env.iter().flatten().filter_map(|var| Some((var.name.as_str(), var.value.as_deref()?)));
    let mut behaviour = behaviour(facts.as_deref(), env)
        .map_err(|message| Refused { reason: "CreateContainerConfigError", message })?;
    if behaviour.version.is_empty() {
        behaviour.version = reference.version();
    }
    let image_id = format!("{}@{}", reference.repository, reference.digest);
    Ok(Pulled { digest: reference.digest, image_id, behaviour })
}

/// What was pushed with the image, with what the variables say laid over it.
fn behaviour<'v>(facts: Option<&str>, env: impl Iterator<Item = (&'v str, &'v str)>) -> Result<Behaviour, String> {
    let facts: Behaviour = match facts {
        Some(facts) => serde_json::from_str(facts).map_err(|error| format!("the image's facts: {error}"))?,
        None => Behaviour::default(),
    };
    let mut fields = serde_json::to_value(facts).map_err(|error| error.to_string())?;
    for (name, value) in env {
        if let Some(field) = name.strip_prefix(VARIABLE) {
            let field = field.to_ascii_lowercase();
            let text = matches!(field.as_str(), "version" | "says");
            let read = if text { None } else { serde_json::from_str(value).ok() };
            fields[field] = read.unwrap_or_else(|| Value::String(value.to_owned()));
        }
    }
    serde_json::from_value(fields).map_err(|error| format!("a variable that begins with {VARIABLE} is wrong: {error}"))
}

/// An image's name, taken apart. A tag that nothing points anywhere has the digest of the whole reference.
#[derive(Debug, PartialEq, Eq)]
struct Reference {
    repository: String,
    tag: Option<String>,
    digest: String,
}

impl Reference {
    fn of(image: &str) -> Self {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, digest.to_owned()),
            None => (image, digest_of(image)),
        };
        // A colon before the last slash is a port's.
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
            _ => (name, None),
        };
        Self { repository: repository.to_owned(), tag, digest }
    }

    fn version(&self) -> String {
        self.tag.clone().unwrap_or_else(|| self.digest.chars().skip("sha256:".len()).take(12).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_taken_apart_as_registries_do() {
        let of = |image: &str| {
            let reference = Reference::of(image);
            (reference.repository.clone(), reference.tag.clone(), reference.version())
        };
        assert_eq!(
            of("registry.test:5000/shop/web"),
            ("registry.test:5000/shop/web".into(), None, digest_of("registry.test:5000/shop/web")[7..19].into())
        );
        assert_eq!(of("web:v3"), ("web".into(), Some("v3".into()), "v3".into()));
        assert_eq!(of("a/web@sha256:0123456789abcdef").2, "0123456789ab");
        assert_eq!(Reference::of("a/web:v1@sha256:00").digest, "sha256:00");
        assert_ne!(Reference::of("web:v1").digest, Reference::of("web:v2").digest);
    }

    #[test]
    fn variables_win_over_what_was_pushed_with_the_image() {
        let facts = serde_json::to_string(&Behaviour { latency_ms: 5, ..Behaviour::version("v1") }).unwrap();
        let env = [("TEST_LATENCY_MS", "30"), ("TEST_NEVER_READY", "true"), ("TEST_VERSION", "2"), ("HOME", "/")];
        let with = behaviour(Some(&facts), env.into_iter()).unwrap();
        assert_eq!(with, Behaviour { latency_ms: 30, never_ready: true, ..Behaviour::version("2") });
    }

    #[test]
    fn a_misspelt_variable_is_an_error_and_not_a_faultless_container() {
        for (name, value) in [("TEST_LATENCY", "30"), ("TEST_LATENCY_MS", "soon")] {
            assert!(behaviour(None, [(name, value)].into_iter()).unwrap_err().contains("TEST_"), "{name}={value}");
        }
    }
}
