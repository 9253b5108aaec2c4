//! Events about pods, as a kubelet writes them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

/// Writes events about one pod. What cannot be written is lost, as it would be with a real kubelet.
#[derive(Clone)]
pub(super) struct Events {
    client: Client,
    node: String,
    about: ObjectReference,
}

impl Events {
    pub(super) fn about(pod: &Pod, node: &str, client: Client) -> Self {
        let meta = &pod.metadata;
        let about = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        };
        Self { client, node: node.to_owned(), about }
    }

    /// What is part of a pod's life.
    pub(super) fn normal(&self, container: &str, reason: &str, message: String) {
        self.write("Normal", container, reason, message);
    }

    /// What keeps it from running well.
    pub(super) fn warning(&self, container: &str, reason: &str, message: String) {
        self.write("Warning", container, reason, message);
    }

    fn write(&self, kind: &str, container: &str, reason: &str, message: String) {
        let mut about = self.about.clone();
        if !container.is_empty() {
            about.field_path = Some(format!("spec.containers{{{container}}}"));
        }
        let (namespace, name) = (about.namespace.clone().unwrap_or_default(), about.name.clone().unwrap_or_default());
        let now = Some(Time(Timestamp::now()));
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:016x}", rand::random::<u64>())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: about,
            type_: Some(kind.into()),
            reason: Some(reason.into()),
            message: Some(message),
            count: Some(1),
            first_timestamp: now.clone(),
            last_timestamp: now,
            source: Some(EventSource { component: Some("kubelet".into()), host: Some(self.node.clone()) }),
            reporting_component: Some("kubelet".into()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        tokio::spawn(async move {
            let _ = events.create(&PostParams::default(), &event).await;
        });
    }
}
