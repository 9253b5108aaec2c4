//! One workload's controller: keeps as many ready pods as asked for, replaces them one by one (one more than asked,
//! never one fewer), and lets none go before its last answer.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use portcullis_domain::digest::Digest;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::held;
use super::pod::{self, PodEvent, Template};
use super::proxy::Front;

/// What a workload's object asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Desired {
    /// The object's version.
    pub(super) version: u64,
    pub(super) digest: Digest,
    pub(super) replicas: u32,
}

/// What the controller sees, by its last look.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    /// The version of the object that it acted on.
    pub(super) observed: u64,
    pub(super) pods: Vec<PodStatus>,
    /// Pods that get nothing more and still finish what they have.
    pub(super) leaving: u32,
}

/// One pod that is not leaving.
#[derive(Debug, Clone)]
pub(super) struct PodStatus {
    pub(super) digest: Digest,
    pub(super) ready: Option<Arc<Endpoint>>,
    pub(super) problem: Option<String>,
}

/// A running controller. Dropping it ends its pods.
#[derive(Debug)]
pub(super) struct Deployment {
    desired: watch::Sender<Option<Desired>>,
    status: watch::Receiver<Arc<Status>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Deployment {
    pub(super) fn start(template: Template, front: Arc<Front>) -> Self {
        let (desired, asked) = watch::channel(None);
        let (shown, status) = watch::channel(Arc::default());
        let (events, heard) = mpsc::unbounded_channel();
        let controller = Controller { template, front, shown, events, pods: Vec::new(), leaving: 0, next: 0 };
        let task = Mutex::new(Some(tokio::spawn(controller.run(asked, heard))));
        Self { desired, status, task }
    }

    /// Asks for this from now on, unless something newer was asked for.
    pub(super) fn ask(&self, desired: Desired) {
        self.desired.send_if_modified(|asked| {
            let newer = asked.is_none_or(|asked| asked.version < desired.version);
            if newer {
                *asked = Some(desired);
            }
            newer
        });
    }

    /// The status as last shown.
    pub(super) fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// The status once it fulfils a condition; none if the controller ended first.
    pub(super) async fn wait(&self, condition: impl FnMut(&Arc<Status>) -> bool) -> Option<Arc<Status>> {
        self.status.clone().wait_for(condition).await.ok().map(|status| status.clone())
    }

    /// Ends all pods, each after its last answer, and returns when they are gone.
    pub(super) async fn stop(&self) {
        self.desired.send_modify(|asked| {
            if let Some(asked) = asked {
                *asked = Desired { version: u64::MAX, replicas: 0, ..*asked };
            }
        });
        // One that was never asked for anything has no pods.
        if self.desired.borrow().is_some() {
            self.wait(|status| status.observed == u64::MAX && status.pods.is_empty() && status.leaving == 0).await;
        }
        let task = held(&self.task).take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

struct Pod {
    id: u64,
    status: PodStatus,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct Controller {
    template: Template,
    front: Arc<Front>,
    shown: watch::Sender<Arc<Status>>,
    events: mpsc::UnboundedSender<(u64, PodEvent)>,
    pods: Vec<Pod>,
    leaving: u32,
    next: u64,
}

impl Controller {
    async fn run(
        mut self,
        mut asked: watch::Receiver<Option<Desired>>,
        mut heard: mpsc::UnboundedReceiver<(u64, PodEvent)>,
    ) {
        loop {
            tokio::select! {
                changed = asked.changed() => if changed.is_err() { break },
                Some((id, event)) = heard.recv() => self.hear(id, event),
            }
            let desired = *asked.borrow_and_update();
            if let Some(desired) = desired {
                self.reconcile(&desired);
            }
        }
        // The cluster was dropped: its pods end with the senders of their `stop`.
    }

    fn hear(&mut self, id: u64, event: PodEvent) {
        if matches!(event, PodEvent::Gone) {
            self.leaving = self.leaving.saturating_sub(1);
        }
        // News of a pod that was told to go meanwhile changes nothing.
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.id == id) {
            match event {
                PodEvent::Ready(endpoint) => (pod.status.ready, pod.status.problem) = (Some(endpoint), None),
                PodEvent::Problem(problem) => pod.status.problem = Some(problem),
                PodEvent::Gone => {}
            }
        }
    }

    fn reconcile(&mut self, desired: &Desired) {
        let wanted = usize::try_from(desired.replicas).unwrap_or(usize::MAX);
        let mut leaving = Vec::new();
        while let Some(at) = self.surplus(desired, wanted) {
            leaving.push(self.pods.remove(at));
        }
        let current = self.pods.iter().filter(|pod| pod.status.digest == desired.digest).count();
        let surge = usize::from(current < self.pods.len());
        let room = (wanted + surge).saturating_sub(self.pods.len());
        for _ in 0..room.min(wanted.saturating_sub(current)) {
            self.start_pod(desired.digest);
        }
        // First the Service forgets them, then they are drained: in this order no request can be sent to a closed door.
        self.leaving += u32::try_from(leaving.len()).unwrap_or(u32::MAX);
        self.publish(desired.version);
        for pod in leaving {
            tokio::spawn(finish(pod, self.template.grace, self.events.clone()));
        }
    }

    /// A pod that may go now: never one whose going leaves fewer ready pods than asked for.
    fn surplus(&self, desired: &Desired, wanted: usize) -> Option<usize> {
        let ready = self.pods.iter().filter(|pod| pod.status.ready.is_some()).count();
        let may_go = |pod: &Pod| pod.status.ready.is_none() || ready > wanted;
        let is_old = |pod: &Pod| pod.status.digest != desired.digest;
        if let Some(at) = self.pods.iter().position(|pod| is_old(pod) && may_go(pod)) {
            return Some(at);
        }
        let current: Vec<usize> = (0..self.pods.len()).filter(|at| !is_old(&self.pods[*at])).collect();
        if current.len() <= wanted {
            return None;
        }
        let unready = current.iter().rev().find(|at| self.pods[**at].status.ready.is_none());
        unready.or_else(|| current.iter().rev().find(|at| may_go(&self.pods[**at]))).copied()
    }

    fn start_pod(&mut self, digest: Digest) {
        let id = self.next;
        self.next += 1;
        let (stop, told) = watch::channel(false);
        let task = tokio::spawn(pod::run(self.template.clone(), digest, id, self.events.clone(), told));
        self.pods.push(Pod { id, status: PodStatus { digest, ready: None, problem: None }, stop, task });
    }

    fn publish(&self, observed: u64) {
        let ready = self.pods.iter().filter_map(|pod| pod.status.ready.clone()).collect();
        self.front.route.set_ready(self.template.colour, ready);
        let pods = self.pods.iter().map(|pod| pod.status.clone()).collect();
        self.shown.send_replace(Arc::new(Status { observed, pods, leaving: self.leaving }));
    }
}

/// Lets a pod answer what it has (at most for the grace period), then ends it.
async fn finish(pod: Pod, grace: Duration, events: mpsc::UnboundedSender<(u64, PodEvent)>) {
    if let Some(endpoint) = &pod.status.ready
        && timeout(grace, endpoint.drain()).await.is_err()
    {
        tracing::warn!(addr = %endpoint.addr(), "a pod is ended with requests in flight: the grace period is over");
    }
    pod.stop.send_replace(true);
    // A pod that panicked is gone as well; a workload that is gone needs no news.
    let _ = pod.task.await;
    let _ = events.send((pod.id, PodEvent::Gone));
}
