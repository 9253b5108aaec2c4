//! Reads `infra/*.yaml`: what the stack consists of and how its parts are wired, so that the end-to-end tests go by the
//! wiring that is deployed and by nothing else.
//!
//! A template is read with values for its parameters; conditions are decided and intrinsic functions worked out. What
//! only exists once it is deployed stays a [`reference()`]: `${Wakes}`, `${Wakes.Arn}`.
//!
//! - [`yaml`]: a template's YAML with its short tags, as JSON
//! - [`resolve`]: parameters, conditions, functions
//! - [`pattern`]: EventBridge's event patterns
//! - [`forbidden`]: what no template of ours may contain
//!
//! Sources: `AWS CloudFormation` User Guide, "Template anatomy" and "Intrinsic function reference"; AWS Serverless
//! Application Model Developer Guide, "AWS SAM resources and properties".

pub mod forbidden;
pub mod pattern;
pub mod resolve;
pub mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use self::pattern::Mismatch;

/// Why a template could not be read, or what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(pub String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

pub(crate) fn wrong<T>(what: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(what.into()))
}

/// The name of a function: that of its folder under `functions/`, its binary and its archive, such as `on-alarm`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(String);

impl FunctionName {
    /// This name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The logical id of a resource in its template, such as `Wakes`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(String);

impl ResourceId {
    /// This id.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The resource that a value refers to, whether by its name or by one of its attributes; none = the value is something
/// else, or more than that.
pub fn reference(value: &str) -> Option<ResourceId> {
    let inner = value.strip_prefix("${")?.strip_suffix('}')?;
    let id = inner.split('.').next()?;
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| ResourceId::new(id))
}

/// What feeds a function from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// The function.
    pub function: FunctionName,
    /// Messages of one invocation.
    pub batch: u64,
    /// Whether it says which messages failed (`ReportBatchItemFailures`); otherwise one that fails fails all.
    pub says_which_failed: bool,
}

/// A route of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRoute {
    /// `GET`, `POST`.
    pub method: String,
    /// Its path, with `{proxy+}` for whatever follows.
    pub path: String,
    /// The function behind it.
    pub function: FunctionName,
}

/// A template whose parameters have values.
#[derive(Debug, Clone)]
pub struct Template {
    path: PathBuf,
    body: Value,
}

impl Template {
    /// Reads a template with the defaults of its parameters.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TemplateError> {
        Self::read_with(path, &[])
    }

    /// Reads a template with these values; the other parameters have their defaults.
    pub fn read_with(path: impl AsRef<Path>, parameters: &[(&str, &str)]) -> Result<Self, TemplateError> {
        let path = path.as_ref();
        let named = |error: TemplateError| TemplateError(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| named(TemplateError(error.to_string())))?;
        let raw = yaml::read(&text).map_err(named)?;
        Self::of(path, &raw, parameters)
    }

    /// The template with this content: `raw` is what [`yaml::read`] makes of a file, changed or not.
    pub fn of(path: &Path, raw: &Value, parameters: &[(&str, &str)]) -> Result<Self, TemplateError> {
        let named = |error: TemplateError| TemplateError(format!("{}: {error}", path.display()));
        let mut body = resolve::resolve(raw, parameters).map_err(named)?;
        apply_globals(&mut body);
        Ok(Self { path: path.to_owned(), body })
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All functions, by name.
    pub fn functions(&self) -> Vec<FunctionName> {
        let mut names: Vec<_> = self.function_resources().filter_map(|(_, function)| name_of(function)).collect();
        names.sort();
        names
    }

    /// The functions that EventBridge invokes with this event on the account's default bus, by name.
    ///
    /// # Errors
    /// When a rule has a pattern that [`pattern`] does not know.
    pub fn routes_of(&self, event: &Value) -> Result<Vec<FunctionName>, TemplateError> {
        let mut routes = Vec::new();
        for (id, function) in self.function_resources() {
            let name = self.name(id, function)?;
            for (rule, properties) in events(function, "EventBridgeRule") {
                if properties.get("EventBusName").is_some_and(|bus| bus != "default") {
                    continue;
                }
                let matched = pattern::matches(&properties["Pattern"], event);
                if matched.map_err(|Mismatch(why)| TemplateError(format!("the rule {rule} of {id}: {why}")))? {
                    routes.push(name.clone());
                }
            }
        }
        routes.sort();
        routes.dedup();
        Ok(routes)
    }

    /// The event buses that this event is forwarded to: the values of the rules' targets, as the parameters say.
    ///
    /// # Errors
    /// When a rule has a pattern that [`pattern`] does not know.
    pub fn forwards(&self, event: &Value) -> Result<Vec<String>, TemplateError> {
        let mut buses = Vec::new();
        for (id, rule) in self.resources_of("AWS::Events::Rule") {
            let properties = &rule["Properties"];
            let matched = pattern::matches(&properties["EventPattern"], event);
            if matched.map_err(|Mismatch(why)| TemplateError(format!("the rule {id}: {why}")))? {
                let targets = list(&properties["Targets"]).filter_map(|target| target["Arn"].as_str());
                buses.extend(targets.filter(|arn| arn.contains(":event-bus/")).map(str::to_owned));
            }
        }
        buses.sort();
        buses.dedup();
        Ok(buses)
    }

    /// The functions that a queue feeds.
    pub fn consumers_of(&self, queue: &ResourceId) -> Vec<Consumer> {
        let mut consumers = Vec::new();
        for (_, function) in self.function_resources() {
            let Some(name) = name_of(function) else { continue };
            for (_, properties) in events(function, "SQS") {
                if properties["Queue"].as_str().and_then(reference).as_ref() == Some(queue) {
                    let batch = properties["BatchSize"].as_u64().unwrap_or(10);
                    let says = list(&properties["FunctionResponseTypes"]).any(|kind| kind == "ReportBatchItemFailures");
                    consumers.push(Consumer { function: name.clone(), batch, says_which_failed: says });
                }
            }
        }
        consumers
    }

    /// The functions that a topic invokes.
    pub fn subscribers_of(&self, topic: &ResourceId) -> Vec<FunctionName> {
        let subscribes = |function: &&Value| {
            events(function, "SNS")
                .any(|(_, event)| event["Topic"].as_str().and_then(reference).as_ref() == Some(topic))
        };
        self.function_resources().map(|(_, function)| function).filter(subscribes).filter_map(name_of).collect()
    }

    /// The functions that an AWS service may invoke directly, such as `lambda.alarms.cloudwatch.amazonaws.com`.
    pub fn invoked_by(&self, service: &str) -> Vec<FunctionName> {
        self.resources_of("AWS::Lambda::Permission")
            .map(|(_, permission)| &permission["Properties"])
            .filter(|properties| properties["Principal"] == service && properties["Action"] == "lambda:InvokeFunction")
            .filter_map(|properties| self.resource(&reference(properties["FunctionName"].as_str()?)?))
            .filter_map(name_of)
            .collect()
    }

    /// The routes of the HTTP API.
    pub fn http_routes(&self) -> Vec<HttpRoute> {
        let mut routes = Vec::new();
        for (_, function) in self.function_resources() {
            let Some(name) = name_of(function) else { continue };
            for (_, properties) in events(function, "HttpApi") {
                routes.push(HttpRoute {
                    method: text(properties, "Method").to_uppercase(),
                    path: text(properties, "Path"),
                    function: name.clone(),
                });
            }
        }
        routes
    }

    /// When a function is invoked by the clock: `rate(1 minute)`.
    pub fn schedule(&self, function: &FunctionName) -> Vec<String> {
        let Some(found) = self.function(function) else { return Vec::new() };
        [("Schedule", "Schedule"), ("ScheduleV2", "ScheduleExpression")]
            .iter()
            .flat_map(|(kind, field)| events(found, kind).map(|(_, properties)| text(properties, field)))
            .collect()
    }

    /// A function's environment variables. A value may be, or contain, a [`reference()`].
    pub fn environment(&self, function: &FunctionName) -> BTreeMap<String, String> {
        let variables =
            self.function(function).and_then(|found| found["Properties"]["Environment"]["Variables"].as_object());
        let told = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        variables.into_iter().flatten().map(|(name, value)| (name.clone(), told(value))).collect()
    }

    /// How long one invocation of a function may take. Lambda's default is 3 seconds.
    pub fn timeout(&self, function: &FunctionName) -> Duration {
        let seconds = self.function(function).and_then(|found| found["Properties"]["Timeout"].as_u64());
        Duration::from_secs(seconds.unwrap_or(3))
    }

    /// All queues.
    pub fn queues(&self) -> Vec<ResourceId> {
        self.resources_of("AWS::SQS::Queue").map(|(id, _)| ResourceId::new(id)).collect()
    }

    /// The name that a queue is made with.
    pub fn queue_name(&self, queue: &ResourceId) -> Option<String> {
        Some(self.resource(queue)?["Properties"]["QueueName"].as_str()?.to_owned())
    }

    /// Where a message of a queue goes that was received so often in vain.
    pub fn dead_letters_of(&self, queue: &ResourceId) -> Option<(ResourceId, u64)> {
        let redrive = &self.resource(queue)?["Properties"]["RedrivePolicy"];
        Some((reference(redrive["deadLetterTargetArn"].as_str()?)?, redrive["maxReceiveCount"].as_u64()?))
    }

    /// The queue that gets the event of an asynchronous invocation that failed.
    pub fn dead_letter_queue_of(&self, function: &FunctionName) -> Option<ResourceId> {
        reference(self.function(function)?["Properties"]["DeadLetterQueue"]["TargetArn"].as_str()?)
    }

    /// A resource, as it is in the template with its parameters.
    pub fn resource(&self, id: &ResourceId) -> Option<&Value> {
        self.body["Resources"].as_object()?.get(id.as_str())
    }

    /// The resources of a type, by their ids.
    pub fn resources_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.resources().filter(move |(_, resource)| resource["Type"] == kind)
    }

    /// All resources, by their ids.
    pub fn resources(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.body["Resources"].as_object().into_iter().flatten().map(|(id, resource)| (id.as_str(), resource))
    }

    fn function_resources(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.resources_of("AWS::Serverless::Function")
    }

    fn function(&self, name: &FunctionName) -> Option<&Value> {
        self.function_resources()
            .map(|(_, function)| function)
            .find(|function| name_of(function).as_ref() == Some(name))
    }

    fn name(&self, id: &str, function: &Value) -> Result<FunctionName, TemplateError> {
        name_of(function).map_or_else(
            || wrong(format!("{}: the function {id} has no archive that ends with NAME.zip", self.path.display())),
            Ok,
        )
    }
}

/// The name in a function's archive: `portcullis/0.1.0/on-alarm.zip` is `on-alarm`.
pub(crate) fn name_of(function: &Value) -> Option<FunctionName> {
    let key = function["Properties"]["CodeUri"]["Key"].as_str()?;
    let name = key.rsplit('/').next()?.strip_suffix(".zip")?;
    (!name.is_empty()).then(|| FunctionName::new(name))
}

/// A function's events of one type, by their names.
pub(crate) fn events<'a>(function: &'a Value, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let all = function["Properties"]["Events"].as_object().into_iter().flatten();
    all.filter(move |(_, event)| event["Type"] == kind).map(|(name, event)| (name.as_str(), &event["Properties"]))
}

/// The items of a list; a single value is a list of one, as in policies.
pub(crate) fn list(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Null => Box::new(std::iter::empty()),
        Value::Array(items) => Box::new(items.iter()),
        one => Box::new(std::iter::once(one)),
    }
}

fn text(properties: &Value, key: &str) -> String {
    properties[key].as_str().unwrap_or_default().to_owned()
}

/// What `Globals` says for all functions; what a function says itself wins, and maps are put together.
fn apply_globals(body: &mut Value) {
    let globals = body["Globals"]["Function"].clone();
    let Some(resources) = body["Resources"].as_object_mut() else { return };
    for resource in resources.values_mut().filter(|resource| resource["Type"] == "AWS::Serverless::Function") {
        let mut properties = globals.clone();
        merge(&mut properties, resource["Properties"].take());
        resource["Properties"] = properties;
    }
}

fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}
