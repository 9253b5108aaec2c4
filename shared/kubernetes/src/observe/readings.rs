//! Readings that are shared by whoever needs them at the same time: fifty services that come up in one release are looked at
//! by a few lists, not one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use portcullis_domain::names::ServiceName;
use portcullis_domain::policy::Colour;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::{Picture, carrier, named, objects, read_pods, workload};
use crate::client::together::Together;
use crate::client::{Client, Kind, Listed, Selector, kinds};
use crate::error::ApiError;
use crate::objects::{SERVICE_OF_SLICE, label};

/// Whoever waits for something looks again on the same beat, so that they look together.
const BEAT: Duration = Duration::from_millis(200);

type Pictures = BTreeMap<ServiceName, Picture>;

/// A cluster, read together with whoever else reads it now. Each answer is of a moment after it was asked for.
#[derive(Clone)]
pub struct Readings {
    client: Client,
    since: Instant,
    shared: Arc<Rooms>,
}

#[derive(Default)]
struct Rooms {
    objects: Together<ServiceName, Pictures>,
    pictures: Together<ServiceName, Pictures>,
    slices: Together<String, Vec<Json>>,
    lists: Together<(), Listed>,
}

impl Readings {
    /// Of this cluster. Clones share.
    pub fn of(client: Client) -> Self {
        Self { client, since: Instant::now(), shared: Arc::default() }
    }

    /// The cluster.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// When to look again.
    pub(crate) fn next_beat(&self) -> Instant {
        let beats = self.since.elapsed().as_millis() / BEAT.as_millis();
        self.since + BEAT * u32::try_from(beats + 1).unwrap_or(u32::MAX)
    }

    /// A service's Deployments, Service, and what has its weights.
    pub(crate) async fn objects(&self, namespace: &str, service: &ServiceName) -> Result<Picture, ApiError> {
        let (client, of) = (self.client.clone(), namespace.to_owned());
        let read = move |services| async move { one_or_many(&client, &of, &services).await };
        let pictures = self.shared.objects.ask(namespace, service.clone(), read).await?;
        Ok(pictures.get(service).cloned().unwrap_or_default())
    }

    /// The same with its pods.
    pub(crate) async fn picture(&self, namespace: &str, service: &ServiceName) -> Result<Picture, ApiError> {
        let (client, of) = (self.client.clone(), namespace.to_owned());
        let read = move |services| async move {
            let mut pictures = one_or_many(&client, &of, &services).await?;
            read_pods(&client, &of, &mut pictures).await?;
            Ok(pictures)
        };
        let pictures = self.shared.pictures.ask(namespace, service.clone(), read).await?;
        Ok(pictures.get(service).cloned().unwrap_or_default())
    }

    /// The endpoint slices of a Service.
    pub(crate) async fn slices(&self, namespace: &str, service: &str) -> Result<Vec<Json>, ApiError> {
        let (client, of) = (self.client.clone(), namespace.to_owned());
        let read = move |services: BTreeSet<String>| async move {
            let selector = named(SERVICE_OF_SLICE, services.iter().map(String::as_str));
            Ok(client.list(&kinds::ENDPOINT_SLICES, Some(&of), &selector).await?.items)
        };
        let all = self.shared.slices.ask(namespace, service.to_owned(), read).await?;
        Ok(all.iter().filter(|slice| label(slice, SERVICE_OF_SLICE) == Some(service)).cloned().collect())
    }

    /// Everything of a kind.
    pub(crate) async fn list(&self, kind: &Kind, namespace: &str) -> Result<Arc<Listed>, ApiError> {
        let (client, of, kind) = (self.client.clone(), namespace.to_owned(), *kind);
        let room = kind.path(Some(namespace), None);
        let read = move |_| async move { client.list(&kind, Some(&of), &Selector::default()).await };
        self.shared.lists.ask(&room, (), read).await
    }
}

/// One service is read by its objects' names: the API server answers that at once, and a list only when it has caught up with
/// everything that was written (Kubernetes documentation, "API Concepts", consistent reads from the watch cache).
async fn one_or_many(client: &Client, namespace: &str, services: &BTreeSet<ServiceName>) -> Result<Pictures, ApiError> {
    let (Some(service), 1) = (services.first(), services.len()) else {
        return objects(client, namespace, services).await;
    };
    let (blue, green, traffic) = tokio::join!(
        workload(client, namespace, service, Colour::Blue),
        workload(client, namespace, service, Colour::Green),
        client.get(&kinds::SERVICES, namespace, service.as_str()),
    );
    let mut picture = Picture { blue: blue?, green: green?, traffic: traffic?, ..Picture::default() };
    if let Some(front) = &picture.traffic {
        picture.carrier = carrier(client, namespace, front).await?;
    }
    Ok(BTreeMap::from([(service.clone(), picture)]))
}
