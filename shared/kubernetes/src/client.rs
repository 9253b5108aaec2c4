//! One cluster's API: requests with time limits, at a bounded rate, repeated only where that is safe.
//!
//! Objects are JSON as the cluster gave it: what a newer cluster says that we do not know is kept. A write whose outcome is
//! not known is never repeated here: the engine repeats it under its fence.

mod exchange;
pub mod kinds;
mod pace;
pub(crate) mod together;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use http::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use portcullis_domain::policy::Place;
use portcullis_domain::time::Timestamp;
use portcullis_engine::ports::{Access, Bearer, PortError, PortResult};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::error::{ApiError, Asked, Why, clean};
use crate::objects::FIELD_MANAGER;
use exchange::document;
pub use kinds::Kind;
use pace::Pace;

/// How a cluster is asked.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// For a connection to come up.
    pub connect: Duration,
    /// For one request to be answered, its body included.
    pub request: Duration,
    /// Requests a second, over a longer time. The API server shares itself fairly between its clients (API Priority and
    /// Fairness); this only bounds what a fault of ours could do.
    pub per_second: u32,
    /// Requests at once after a rest.
    pub burst: u32,
    /// How often a safe request is tried, the first time included.
    pub tries: u32,
    /// Objects per page of a list.
    pub page: u32,
    /// Bytes of one answer.
    pub most_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(20),
            per_second: 200,
            burst: 400,
            tries: 4,
            page: 500,
            most_bytes: 64 << 20,
        }
    }
}

/// Which objects of a kind are wanted.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// Label selector, such as `app=web,tier!=cache`.
    pub labels: Option<String>,
    /// Field selector, such as `spec.nodeName=a`.
    pub fields: Option<String>,
}

impl Selector {
    /// By labels.
    pub fn labels(labels: impl Into<String>) -> Self {
        Self { labels: Some(labels.into()), fields: None }
    }
}

/// All objects of a kind, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// The objects, each with its `apiVersion` and `kind`.
    pub items: Vec<Json>,
    /// The moment: the list's resource version.
    pub resource_version: String,
}

/// A cluster's API. Cheap to clone; clones share connections, rate and token.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    kube: kube::Client,
    auth: Option<Auth>,
    pace: Pace,
    options: ClientOptions,
}

/// Tokens that end: the one in use, replaced when it is due.
struct Auth {
    access: Arc<dyn Access>,
    place: Place,
    bearer: Mutex<Option<Bearer>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// One request before it is sent.
struct Call<'a> {
    asked: Asked<'a>,
    method: Method,
    path: String,
    content: Option<(&'static str, Vec<u8>)>,
    /// None = the object as JSON.
    accept: Option<&'static str>,
    /// Bytes of the answer; none = as for all.
    most: Option<usize>,
}

impl Client {
    /// The cluster of a context of a kubeconfig file; `None` = its current context.
    ///
    /// # Errors
    /// The file cannot be read, or has no such context.
    pub async fn from_kubeconfig(file: &Path, context: Option<&str>, options: ClientOptions) -> PortResult<Self> {
        let doing = || match context {
            Some(context) => format!("reading the context {context} of {}", file.display()),
            None => format!("reading {}", file.display()),
        };
        let kubeconfig = Kubeconfig::read_from(file).map_err(|error| PortError::new(doing(), chain(&error)))?;
        let wanted = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &wanted).await;
        let config = config.map_err(|error| PortError::new(doing(), chain(&error)))?;
        Self::connect(config, None, options)
    }

    /// The cluster of a place, by endpoint, certificate authority and token.
    ///
    /// # Errors
    /// The endpoint cannot be learned, or is none.
    pub async fn from_access(access: Arc<dyn Access>, place: &Place, options: ClientOptions) -> PortResult<Self> {
        let doing = || format!("reaching the cluster {}", place.cluster);
        let endpoint = access.endpoint(place).await?;
        let url: http::Uri = endpoint.url.parse().map_err(|error| PortError::new(doing(), error))?;
        if url.scheme_str() != Some("https") {
            return Err(PortError::new(doing(), "its endpoint is not https: a token is not sent there"));
        }
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&endpoint.authority).collect();
        let certificates = certificates
            .map_err(|error| PortError::new(doing(), format!("its certificate authority is not PEM: {error}")))?;
        if certificates.is_empty() {
            return Err(PortError::new(doing(), "its certificate authority has no certificate"));
        }
        let mut config = kube::Config::new(url);
        config.root_cert = Some(certificates.iter().map(|certificate| certificate.to_vec()).collect());
        let auth = Auth { access, place: place.clone(), bearer: Mutex::new(None) };
        Self::connect(config, Some(auth), options)
    }

    fn connect(mut config: kube::Config, auth: Option<Auth>, options: ClientOptions) -> PortResult<Self> {
        config.connect_timeout = Some(options.connect);
        // The whole of a request is limited where it is sent. A limit on reading would close connections that only rest.
        config.read_timeout = None;
        config.write_timeout = Some(options.request);
        let agent = HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        config.headers.push((USER_AGENT, agent));
        // It would repeat writes, too.
        config.default_retry = false;
        let doing = || format!("connecting to {}", config.cluster_url);
        let kube = kube::Client::try_from(config.clone()).map_err(|error| PortError::new(doing(), chain(&error)))?;
        Ok(Self::over(kube, auth, options))
    }

    /// Over a client that is made already: its connection, its credentials. It must not repeat requests by itself.
    pub fn from_kube(kube: kube::Client, options: ClientOptions) -> Self {
        Self::over(kube, None, options)
    }

    fn over(kube: kube::Client, auth: Option<Auth>, options: ClientOptions) -> Self {
        let pace = Pace::new(options.per_second, options.burst);
        Self(Arc::new(Inner { kube, auth, pace, options }))
    }

    /// How it asks.
    pub fn options(&self) -> &ClientOptions {
        &self.0.options
    }

    /// One object; none = there is none.
    pub async fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Json>, ApiError> {
        let asked = Asked { verb: "get", kind, namespace: scope(kind, namespace), name: Some(name) };
        let path = kind.path(Some(namespace), Some(name));
        match self.json(Call { asked, method: Method::GET, path, content: None, accept: None, most: None }).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind, page by page, of one moment; `None` = of all namespaces. Where the continuation runs out
    /// (410), it begins once more.
    pub async fn list(&self, kind: &Kind, namespace: Option<&str>, selector: &Selector) -> Result<Listed, ApiError> {
        match self.pages(kind, namespace, selector).await {
            Err(error) if error.why == Why::Expired => self.pages(kind, namespace, selector).await,
            other => other,
        }
    }

    async fn pages(&self, kind: &Kind, namespace: Option<&str>, selector: &Selector) -> Result<Listed, ApiError> {
        let namespace = namespace.filter(|_| kind.namespaced);
        let asked = Asked { verb: "list", kind, namespace, name: None };
        let mut base = format!("{}?limit={}", kind.path(namespace, None), self.0.options.page);
        for (key, value) in [("labelSelector", &selector.labels), ("fieldSelector", &selector.fields)] {
            if let Some(value) = value {
                base = format!("{base}&{key}={}", kinds::escaped(value));
            }
        }
        let mut listed = Listed::default();
        let mut path = base.clone();
        loop {
            let mut page =
                self.json(Call { asked, method: Method::GET, path, content: None, accept: None, most: None }).await?;
            let Some(Json::Array(items)) = page.get_mut("items").map(Json::take) else {
                return Err(asked.error(Why::Malformed, "a list without items"));
            };
            listed.items.extend(items.into_iter().map(|mut item| {
                kind.mark(&mut item);
                item
            }));
            let text = |key: &str| page["metadata"][key].as_str().unwrap_or_default().to_owned();
            listed.resource_version = text("resourceVersion");
            let next = text("continue");
            if next.is_empty() {
                return Ok(listed);
            }
            path = format!("{base}&continue={}", kinds::escaped(&next));
        }
    }

    /// Changes an object by a JSON patch (RFC 6902), all of it or nothing; gives the object as it is stored then.
    pub async fn patch(&self, kind: &Kind, namespace: &str, name: &str, operations: &[Json]) -> Result<Json, ApiError> {
        let asked = Asked { verb: "patch", kind, namespace: scope(kind, namespace), name: Some(name) };
        let path = format!("{}?fieldManager={FIELD_MANAGER}", kind.path(Some(namespace), Some(name)));
        let content = Some(("application/json-patch+json", encoded(&asked, &operations)?));
        self.json(Call { asked, method: Method::PATCH, path, content, accept: None, most: None }).await
    }

    /// Server-side apply under our field manager: fields that another manager owns are a conflict, never taken.
    /// With `dry_run` nothing is stored; the answer is what would be.
    pub async fn apply(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        object: &Json,
        dry_run: bool,
    ) -> Result<Json, ApiError> {
        let asked = Asked { verb: "patch", kind, namespace: scope(kind, namespace), name: Some(name) };
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let path = format!("{}?fieldManager={FIELD_MANAGER}&force=false{dry}", kind.path(Some(namespace), Some(name)));
        // JSON is YAML, too.
        let content = Some(("application/apply-patch+yaml", encoded(&asked, object)?));
        self.json(Call { asked, method: Method::PATCH, path, content, accept: None, most: None }).await
    }

    /// Makes an object that must not be there yet.
    pub async fn create(&self, kind: &Kind, namespace: &str, object: &Json) -> Result<Json, ApiError> {
        self.created(kind, namespace, object, "").await
    }

    /// What would be made of an object that must not be there yet: with the defaults, or with the refusal.
    pub async fn would_create(&self, kind: &Kind, namespace: &str, object: &Json) -> Result<Json, ApiError> {
        self.created(kind, namespace, object, "&dryRun=All").await
    }

    async fn created(&self, kind: &Kind, namespace: &str, object: &Json, dry: &str) -> Result<Json, ApiError> {
        let name = object["metadata"]["name"].as_str();
        let asked = Asked { verb: "create", kind, namespace: scope(kind, namespace), name };
        let path = format!("{}?fieldManager={FIELD_MANAGER}{dry}", kind.path(Some(namespace), None));
        let content = Some(("application/json", encoded(&asked, object)?));
        self.json(Call { asked, method: Method::POST, path, content, accept: None, most: None }).await
    }

    /// Deletes an object and, in the background, what it owns. Whether it was there is told.
    pub async fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Result<bool, ApiError> {
        let asked = Asked { verb: "delete", kind, namespace: scope(kind, namespace), name: Some(name) };
        let path = format!("{}?propagationPolicy=Background", kind.path(Some(namespace), Some(name)));
        match self.json(Call { asked, method: Method::DELETE, path, content: None, accept: None, most: None }).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last lines of a container's log, at most 16 KB; of the run before this one with `previous`.
    pub async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        lines: u32,
        previous: bool,
    ) -> Result<String, ApiError> {
        let kind = Kind { plural: "pods/log", ..kinds::PODS };
        let asked = Asked { verb: "get", kind: &kind, namespace: Some(namespace), name: Some(pod) };
        let path = format!(
            "{}/log?container={}&tailLines={lines}&limitBytes=16384&previous={previous}",
            kinds::PODS.path(Some(namespace), Some(pod)),
            kinds::escaped(container)
        );
        let accept = Some("*/*");
        let answer = self.send(&Call { asked, method: Method::GET, path, content: None, accept, most: None }).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// A path of the API that is no object's, such as `/apis`, as JSON. `accept` asks for another form of it.
    pub async fn document(&self, path: &str, accept: Option<&'static str>) -> Result<Json, ApiError> {
        let kind = document();
        let asked = Asked { verb: "get", kind: &kind, namespace: None, name: Some(path) };
        self.json(Call { asked, method: Method::GET, path: path.to_owned(), content: None, accept, most: None }).await
    }

    /// An object's metadata without the rest of it: of a Secret, without its content. None = there is none.
    pub async fn metadata(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Json>, ApiError> {
        let asked = Asked { verb: "get", kind, namespace: scope(kind, namespace), name: Some(name) };
        let path = kind.path(Some(namespace), Some(name));
        let accept = Some("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
        match self.json(Call { asked, method: Method::GET, path, content: None, accept, most: None }).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn json(&self, call: Call<'_>) -> Result<Json, ApiError> {
        let body = self.send(&call).await?;
        serde_json::from_slice(&body).map_err(|error| call.asked.error(Why::Malformed, &error.to_string()))
    }
}

impl Auth {
    /// The token in use; a new one when it is due.
    async fn current(&self) -> PortResult<Bearer> {
        let mut bearer = self.bearer.lock().await;
        if let Some(bearer) = bearer.as_ref().filter(|bearer| bearer.renew_at.is_none_or(|at| at > now())) {
            return Ok(bearer.clone());
        }
        let new = self.access.bearer(&self.place).await?;
        *bearer = Some(new.clone());
        Ok(new)
    }
}

fn scope<'a>(kind: &Kind, namespace: &'a str) -> Option<&'a str> {
    kind.namespaced.then_some(namespace)
}

fn encoded(asked: &Asked<'_>, body: &impl serde::Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(body).map_err(|error| asked.error(Why::Refused(400), &error.to_string()))
}

/// An error with what caused it. Kubernetes errors hold no credentials; a kubeconfig's would only be named by file.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    clean(&text)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
