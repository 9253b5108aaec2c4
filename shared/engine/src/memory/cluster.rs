//! A cluster in memory with the real fence protocol, and an eye on what must never happen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Part, Stamp, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{Seq, ServiceName, TargetId};
use portcullis_domain::policy::{ALL_TRAFFIC, Colour, Place, Test};
use portcullis_domain::time::{Millis, Timestamp};

use super::{Faults, Op, locked};
use crate::ports::{Bundled, Clock, Cluster, Exported, Manifest, PortResult, TestResult, Written};

/// How pods of a digest behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// How long a pod takes to be ready.
    pub ready_after: Millis,
    /// Why its pods are not ready; none = they are.
    pub problem: Option<String>,
}

impl Default for Build {
    fn default() -> Self {
        Self { ready_after: Millis::seconds(3), problem: None }
    }
}

/// One change that a fenced write made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// When.
    pub at: Timestamp,
    /// The object.
    pub object: ObjectKey,
    /// Under which fence.
    pub fence: Fence,
    /// The value before; none = the object was absent.
    pub from: Option<Value>,
    /// The value after.
    pub to: Value,
}

#[derive(Debug, Clone)]
struct Object {
    fence: Option<Fence>,
    foreign: Option<String>,
    value: Value,
    /// Pods that were ready when the value last changed, and when that was.
    kept: u32,
    since: Timestamp,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<(TargetId, ObjectKey), Object>,
    builds: BTreeMap<Digest, Build>,
    /// What workloads were made from, where manifests were given.
    made: BTreeMap<(TargetId, ObjectKey), String>,
    effects: Vec<Effect>,
    violations: Vec<String>,
    tests: BTreeMap<(TargetId, Seq), Timestamp>,
    failing: BTreeMap<String, String>,
    test_takes: Millis,
    ignores_fences: bool,
}

/// Objects of services, with pods that become ready in the clock's time.
pub struct FakeCluster {
    clock: Arc<dyn Clock>,
    faults: Faults,
    state: Mutex<State>,
}

impl FakeCluster {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>, faults: Faults) -> Arc<Self> {
        Arc::new(Self { clock, faults, state: Mutex::default() })
    }

    /// Puts a service there as it was before Portcullis came: one colour serves, nothing is fenced.
    pub fn seed(&self, target: &TargetId, service: &ServiceName, colour: Colour, digest: Digest, replicas: u32) {
        let now = self.clock.now();
        let mut state = locked(&self.state);
        let mut put = |key, value, kept| {
            let object = Object { fence: None, foreign: None, value, kept, since: now };
            state.objects.insert((target.clone(), key), object);
        };
        put(ObjectKey::workload(service, colour), Value::Workload { digest, replicas }, replicas);
        put(ObjectKey::traffic(service), Value::Traffic { green: colour.share(ALL_TRAFFIC) }, 0);
    }

    /// Puts a worker there as it was before Portcullis came: its blue pods run, and nothing routes requests to them.
    pub fn seed_worker(&self, target: &TargetId, service: &ServiceName, digest: Digest, replicas: u32) {
        let value = Value::Workload { digest, replicas };
        let object = Object { fence: None, foreign: None, value, kept: replicas, since: self.clock.now() };
        let key = (target.clone(), ObjectKey::workload(service, Colour::Blue));
        locked(&self.state).objects.insert(key, object);
    }

    /// Sets how pods of a digest behave, those that run included.
    pub fn set_build(&self, digest: Digest, build: Build) {
        locked(&self.state).builds.insert(digest, build);
    }

    /// A person changes a value with other tools: the annotation stays.
    pub fn by_hand(&self, target: &TargetId, key: &ObjectKey, value: Value) {
        self.change(target, key, |object| object.value = value);
    }

    /// Somebody writes another annotation.
    pub fn set_annotation(&self, target: &TargetId, key: &ObjectKey, text: Option<&str>) {
        self.change(target, key, |object| {
            object.fence = text.and_then(|text| text.parse().ok());
            object.foreign = text.filter(|_| object.fence.is_none()).map(str::to_owned);
        });
    }

    /// Somebody deletes an object.
    pub fn delete(&self, target: &TargetId, key: &ObjectKey) {
        locked(&self.state).objects.remove(&(target.clone(), key.clone()));
    }

    /// Makes a test fail, by its name.
    pub fn fail_test(&self, name: &str, why: &str) {
        locked(&self.state).failing.insert(name.to_owned(), why.to_owned());
    }

    /// No test fails any more.
    pub fn pass_tests(&self) {
        locked(&self.state).failing.clear();
    }

    /// From now on every write goes through, whatever is there: a cluster without the protocol, to show what it is for.
    pub fn ignore_fences(&self) {
        locked(&self.state).ignores_fences = true;
    }

    /// How long a test runs.
    pub fn set_test_takes(&self, takes: Millis) {
        locked(&self.state).test_takes = takes;
    }

    /// What a workload was made from, where manifests were given with a commit.
    pub fn made_from(&self, target: &TargetId, object: &ObjectKey) -> Option<String> {
        locked(&self.state).made.get(&(target.clone(), object.clone())).cloned()
    }

    /// What fenced writes changed, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        locked(&self.state).effects.clone()
    }

    /// What happened that must never happen.
    pub fn violations(&self) -> Vec<String> {
        locked(&self.state).violations.clone()
    }

    /// The digest a colour runs.
    pub fn digest_of(&self, target: &TargetId, service: &ServiceName, colour: Colour) -> Option<Digest> {
        let state = locked(&self.state);
        match state.objects.get(&(target.clone(), ObjectKey::workload(service, colour)))?.value {
            Value::Workload { digest, .. } => Some(digest),
            Value::Traffic { .. } => None,
        }
    }

    /// The digests that answer requests of a service, with their share of 10,000: only colours with a ready pod.
    pub fn serving(&self, target: &TargetId, service: &ServiceName) -> BTreeMap<Digest, u16> {
        let state = locked(&self.state);
        let mut serving = BTreeMap::new();
        for colour in [Colour::Blue, Colour::Green] {
            let share = state.share(target, service, colour);
            let object = state.objects.get(&(target.clone(), ObjectKey::workload(service, colour)));
            if let (1.., Some(object)) = (share, object)
                && let Value::Workload { digest, .. } = object.value
                && state.ready(object, self.clock.now()) > 0
            {
                *serving.entry(digest).or_default() += share;
            }
        }
        serving
    }

    /// One object as it is.
    pub fn found(&self, target: &TargetId, key: &ObjectKey) -> Found {
        locked(&self.state).found(target, key, self.clock.now())
    }

    fn change(&self, target: &TargetId, key: &ObjectKey, how: impl FnOnce(&mut Object)) {
        let now = self.clock.now();
        let mut state = locked(&self.state);
        let ready = state.objects.get(&(target.clone(), key.clone())).map_or(0, |object| state.ready(object, now));
        if let Some(object) = state.objects.get_mut(&(target.clone(), key.clone())) {
            let digest = object.digest();
            how(object);
            object.kept = if object.digest() == digest { ready } else { 0 };
            object.since = now;
        }
    }
}

impl Object {
    fn digest(&self) -> Option<Digest> {
        match self.value {
            Value::Workload { digest, .. } => Some(digest),
            Value::Traffic { .. } => None,
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp { fence: self.fence.clone(), value: self.value }
    }
}

/// What an object is created as before it is patched: it does nothing.
fn inert(value: Value) -> Value {
    match value {
        Value::Workload { digest, .. } => Value::Workload { digest, replicas: 0 },
        Value::Traffic { .. } => value,
    }
}

impl State {
    fn ready(&self, object: &Object, now: Timestamp) -> u32 {
        let Value::Workload { digest, replicas } = object.value else { return 0 };
        let build = self.builds.get(&digest).cloned().unwrap_or_default();
        if build.problem.is_some() {
            0
        } else if now >= object.since + build.ready_after {
            replicas
        } else {
            object.kept.min(replicas)
        }
    }

    /// The share of requests a colour gets.
    fn share(&self, target: &TargetId, service: &ServiceName, colour: Colour) -> u16 {
        match self.objects.get(&(target.clone(), ObjectKey::traffic(service))).map(|object| object.value) {
            Some(Value::Traffic { green }) => colour.share(green),
            _ => 0,
        }
    }

    fn found(&self, target: &TargetId, key: &ObjectKey, now: Timestamp) -> Found {
        let Some(object) = self.objects.get(&(target.clone(), key.clone())) else { return Found::default() };
        let problem = object.digest().and_then(|digest| self.builds.get(&digest)?.problem.clone());
        Found {
            stamp: Some(object.stamp()),
            ready: self.ready(object, now),
            foreign: object.foreign.clone(),
            problems: problem.into_iter().collect(),
            ..Found::default()
        }
    }

    /// Notes what a write would do that must never be done.
    fn judge(&mut self, target: &TargetId, write: &Write, fence: &Fence, now: Timestamp) {
        let service = &write.object.service;
        match (write.object.part, write.to) {
            (Part::Traffic, Value::Traffic { green }) => {
                for colour in [Colour::Green, Colour::Blue] {
                    let to = colour.share(green);
                    let key = (target.clone(), ObjectKey::workload(service, colour));
                    let ready = self.objects.get(&key).map_or(0, |object| self.ready(object, now));
                    if to > self.share(target, service, colour) && ready == 0 {
                        self.violations
                            .push(format!("{fence} sends requests of {service} to {colour}, which has no ready pod"));
                    }
                }
            }
            (Part::Workload(colour), Value::Workload { replicas, .. }) => {
                let key = (target.clone(), write.object.clone());
                let ready = self.objects.get(&key).map_or(0, |object| self.ready(object, now));
                if self.share(target, service, colour) > 0 && replicas < ready {
                    self.violations.push(format!("{fence} scales {} to {replicas} while it serves", write.object));
                }
            }
            (part, value) => self.violations.push(format!("{fence} writes {value:?} to {part:?}")),
        }
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    async fn observe(
        &self,
        target: &TargetId,
        _: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ObjectKey, Found>> {
        self.faults.before(Op::Observe).await?;
        let (state, now) = (locked(&self.state), self.clock.now());
        let parts = [Part::Workload(Colour::Blue), Part::Workload(Colour::Green), Part::Traffic];
        let keys = services.iter().flat_map(|service| parts.map(|part| ObjectKey { service: service.clone(), part }));
        Ok(keys.map(|key| (key.clone(), state.found(target, &key, now))).collect())
    }

    async fn manifests(
        &self,
        _: &TargetId,
        _: &Place,
        services: &BTreeSet<ServiceName>,
    ) -> PortResult<BTreeMap<ServiceName, Digest>> {
        self.faults.before(Op::Manifests).await?;
        Ok(services.iter().map(|service| (service.clone(), Digest::of(service.as_str().as_bytes()))).collect())
    }

    async fn bundles(
        &self,
        target: &TargetId,
        _: &Place,
        texts: &BTreeMap<ServiceName, String>,
        _: &mut BTreeMap<ObjectKey, Found>,
    ) -> PortResult<BTreeMap<ServiceName, Bundled>> {
        self.faults.before(Op::Manifests).await?;
        let state = locked(&self.state);
        let bundled = |(service, text): (&ServiceName, &String)| {
            let made =
                state.made.iter().any(|((of, object), made)| (of, &object.service, made) == (target, service, text));
            (service.clone(), Bundled { hash: Digest::of(text.as_bytes()), differs: !made, serves: true })
        };
        Ok(texts.iter().map(bundled).collect())
    }

    async fn write_from(
        &self,
        target: &TargetId,
        place: &Place,
        write: &Write,
        fence: &Fence,
        text: &str,
    ) -> PortResult<Written> {
        let written = self.write(target, place, write, fence).await?;
        if written == Written::Done {
            locked(&self.state).made.insert((target.clone(), write.object.clone()), text.to_owned());
        }
        Ok(written)
    }

    async fn write(&self, target: &TargetId, _: &Place, write: &Write, fence: &Fence) -> PortResult<Written> {
        self.faults.before(Op::Write).await?;
        {
            let now = self.clock.now();
            let mut state = locked(&self.state);
            let found = state.found(target, &write.object, now);
            let accepted = match &found.stamp {
                _ if state.ignores_fences => true,
                _ if found.foreign.is_some() => false,
                None => write.from.is_empty() || write.from.contains(&None),
                Some(stamp) if stamp.fence.as_ref() == Some(fence) => {
                    stamp.value == write.to || stamp.value == inert(write.to)
                }
                Some(stamp) => {
                    let older = stamp.fence.as_ref().is_none_or(|there| {
                        there.ledger == fence.ledger && (there.epoch, there.seq) < (fence.epoch, fence.seq)
                    });
                    older && write.from.iter().flatten().any(|from| from == stamp)
                }
            };
            if !accepted {
                return Ok(Written::Drift(found));
            }
            state.judge(target, write, fence, now);
            let from = found.stamp.map(|stamp| stamp.value);
            let same = |value: Value| match (value, write.to) {
                (Value::Workload { digest: a, .. }, Value::Workload { digest: b, .. }) => a == b,
                _ => false,
            };
            let unchanged = from == Some(write.to);
            let kept = if from.is_some_and(same) { found.ready } else { 0 };
            let key = (target.clone(), write.object.clone());
            let since = state.objects.get(&key).filter(|_| unchanged).map_or(now, |object| object.since);
            let object = Object { fence: Some(fence.clone()), foreign: None, value: write.to, kept, since };
            state.objects.insert(key, object);
            let effect = Effect { at: now, object: write.object.clone(), fence: fence.clone(), from, to: write.to };
            state.effects.push(effect);
        }
        self.faults.after(Op::Write).await?;
        Ok(Written::Done)
    }

    async fn look(&self, target: &TargetId, _: &Place, ask: &AwaitReady) -> PortResult<Found> {
        self.faults.before(Op::Look).await?;
        Ok(self.found(target, &ask.object))
    }

    async fn export(&self, target: &TargetId, _: &Place, _: Option<&str>) -> PortResult<Exported> {
        self.faults.before(Op::Export).await?;
        let manifests = {
            let state = locked(&self.state);
            let own = state.objects.iter().filter(|((of, _), _)| of == target);
            let manifest = |key: &ObjectKey, object: &Object| {
                let (kind, name) = match key.part {
                    Part::Workload(colour) => ("Deployment", format!("{}-{colour}", key.service)),
                    Part::Traffic => ("Service", key.service.to_string()),
                };
                let yaml = format!("kind: {kind}\nmetadata:\n  name: {name}\nspec: {:?}\n", object.value);
                Manifest { kind: kind.to_owned(), name, yaml }
            };
            own.map(|((_, key), object)| manifest(key, object)).collect()
        };
        self.faults.after(Op::Export).await?;
        Ok(Exported { manifests, ..Exported::default() })
    }

    async fn test(
        &self,
        target: &TargetId,
        _: &Place,
        intention: Seq,
        test: &Test,
        _: &BTreeMap<ServiceName, Colour>,
    ) -> PortResult<TestResult> {
        self.faults.before(Op::Test).await?;
        let now = self.clock.now();
        let mut state = locked(&self.state);
        let takes = state.test_takes;
        let began = *state.tests.entry((target.clone(), intention)).or_insert(now);
        Ok(match state.failing.get(&test.name) {
            _ if now < began + takes => TestResult::Running,
            Some(why) => TestResult::Failed(why.clone()),
            None => TestResult::Passed(format!("{} passed", test.name)),
        })
    }
}
