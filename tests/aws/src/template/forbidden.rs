//! What no template of ours may contain. A wildcard may stand where its reason is written beside it, under
//! `Metadata.Wildcards` of the same resource, by the statement's `Sid`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{FunctionName, Template, events, list, name_of, reference};

/// Functions that must never wait for others of the account: alarms, the driver, and the sweep that repairs the rest.
const RESERVED: [&str; 3] = ["on-alarm", DRIVER, "sweep"];
/// The one function with rights on clusters.
const DRIVER: &str = "run-release";
/// Functions that take what comes from outside.
const INGEST: &str = "on-";
/// The one place that ingest functions may write to: bodies that are too large for a queue.
const POINTERS: &str = "/unrecorded/*";
/// How many attempts a dead letter has behind it at least.
const LEAST_RECEIVES: u64 = 3;

/// What is forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A `*` in what a policy allows, without a written reason.
    Wildcard,
    /// Something that can fail without leaving what it failed on.
    NoDeadLetters,
    /// A queue of dead letters of which nobody hears.
    NoAlarm,
    /// What is stored without a KMS key of ours.
    NotEncrypted,
    /// A log that is kept for ever, or a function whose log is made by nobody.
    NoRetention,
    /// A function that others of the account can starve.
    NoReservedConcurrency,
    /// How often something is tried is left to a default.
    NoRetry,
    /// A function without a role of its own, or with rights that this template does not show.
    NoOwnRole,
    /// A function that takes what comes from outside, with rights on stored things; any but the driver, with rights on
    /// clusters.
    IngestRights,
    /// The driver with rights on the ledger that are not limited to keys.
    LedgerKeys,
    /// A secret as a value, not as the name of one.
    PlainSecret,
    /// A batch of which one failed message fails all.
    WholeBatch,
    /// A function of another architecture or runtime than is built.
    Runtime,
    /// A table or bucket that can lose what it holds, or show it to the world.
    Unprotected,
}

/// One place where something forbidden was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What is forbidden.
    pub rule: Rule,
    /// The resource.
    pub resource: String,
    /// What was found, and what is wanted.
    pub found: String,
}

/// A statement of a policy, and the resource that it is written in.
struct Statement<'a> {
    resource: &'a str,
    body: &'a Value,
}

impl<'a> Statement<'a> {
    fn allows(&self) -> bool {
        self.body["Effect"] == "Allow"
    }

    fn sid(&self) -> &'a str {
        self.body["Sid"].as_str().unwrap_or("(no Sid)")
    }

    fn actions(&self) -> impl Iterator<Item = &'a str> {
        list(&self.body["Action"]).filter_map(Value::as_str)
    }

    fn resources(&self) -> impl Iterator<Item = &'a str> {
        list(&self.body["Resource"]).filter_map(Value::as_str)
    }

    /// Where it has a wildcard, if it has one. A path below a resource of the same template is none.
    fn wildcard(&self) -> Option<String> {
        let below_own = |arn: &str| {
            arn.split_once("}/").is_some_and(|(own, below)| {
                reference(&format!("{own}}}")).is_some() && !below.trim_end_matches('*').contains(['*', '?'])
            })
        };
        let action =
            self.actions().find(|action| action.contains(['*', '?'])).map(|action| format!("the action {action}"));
        let resource = self.resources().find(|arn| arn.contains(['*', '?']) && !below_own(arn));
        let anybody = list(&self.body["Principal"]).any(|who| {
            who == "*" || who.as_object().is_some_and(|by| by.values().flat_map(list).any(|who| who == "*"))
        });
        action
            .or_else(|| resource.map(|arn| format!("the resource {arn}")))
            .or_else(|| anybody.then(|| "the principal *".to_owned()))
            .or_else(|| {
                let inverted =
                    ["NotAction", "NotResource", "NotPrincipal"].into_iter().find(|key| self.body.get(key).is_some());
                inverted.map(|key| format!("a {key}, which allows whatever it does not name"))
            })
    }
}

/// All that is forbidden in a template.
pub fn forbidden(template: &Template) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |rule: Rule, resource: &str, what: String| {
        found.push(Finding { rule, resource: resource.to_owned(), found: what });
    };
    policies(template, &mut say);
    functions(template, &mut say);
    rules(template, &mut say);
    stored(template, &mut say);
    queues(template, &mut say);
    found.sort();
    found
}

/// The wildcards that have a reason, as (resource, Sid): what `Metadata.Wildcards` is used for with these parameters.
pub fn reasoned(template: &Template) -> BTreeSet<(String, String)> {
    let reasoned = |statement: &Statement<'_>| statement.allows() && statement.wildcard().is_some();
    let found = statements(template).into_iter().filter(reasoned);
    found.map(|statement| (statement.resource.to_owned(), statement.sid().to_owned())).collect()
}

/// The reasons that are written, as (resource, Sid).
pub fn reasons(template: &Template) -> BTreeSet<(String, String)> {
    let mut written = BTreeSet::new();
    for (id, resource) in template.resources() {
        let sids = resource["Metadata"]["Wildcards"].as_object().into_iter().flatten().map(|(sid, _)| sid);
        written.extend(sids.map(|sid| (id.to_owned(), sid.clone())));
    }
    written
}

type Say<'s> = dyn FnMut(Rule, &str, String) + 's;

fn statements(template: &Template) -> Vec<Statement<'_>> {
    fn walk<'a>(resource: &'a str, value: &'a Value, into: &mut Vec<Statement<'a>>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    if key == "Statement" {
                        into.extend(list(value).map(|body| Statement { resource, body }));
                    } else {
                        walk(resource, value, into);
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(resource, item, into)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (id, resource) in template.resources() {
        walk(id, &resource["Properties"], &mut found);
    }
    found
}

fn policies(template: &Template, say: &mut Say<'_>) {
    for statement in statements(template).iter().filter(|statement| statement.allows()) {
        let Some(wildcard) = statement.wildcard() else { continue };
        let resource = template.resources().find(|(id, _)| *id == statement.resource).map(|(_, resource)| resource);
        let reason = resource.and_then(|resource| resource["Metadata"]["Wildcards"][statement.sid()].as_str());
        if reason.is_none_or(|reason| reason.trim().len() < 20) {
            let place = format!("{} of the statement {}, without a reason", wildcard, statement.sid());
            say(Rule::Wildcard, statement.resource, place);
        }
    }
}

/// The statements that a function's role allows, in the role and in the policies of this template that it names.
fn allowed<'a>(template: &'a Template, function: &Value) -> Vec<Statement<'a>> {
    let Some(role) = function["Properties"]["Role"].as_str().and_then(reference) else { return Vec::new() };
    let mut of: Vec<String> = vec![role.as_str().to_owned()];
    if let Some(role) = template.resource(&role) {
        let managed = list(&role["Properties"]["ManagedPolicyArns"]).filter_map(Value::as_str).filter_map(reference);
        of.extend(managed.map(|id| id.as_str().to_owned()));
    }
    for (id, policy) in template.resources_of("AWS::IAM::Policy") {
        let roles = list(&policy["Properties"]["Roles"]).filter_map(Value::as_str).filter_map(reference);
        if roles.into_iter().any(|of| of == role) {
            of.push(id.to_owned());
        }
    }
    let all = statements(template).into_iter();
    all.filter(|statement| statement.allows() && of.iter().any(|id| id == statement.resource)).collect()
}

fn functions(template: &Template, say: &mut Say<'_>) {
    let mut roles: BTreeMap<String, &str> = BTreeMap::new();
    let mut all: Vec<_> = template.resources_of("AWS::Serverless::Function").collect();
    all.sort_by_key(|(id, _)| *id);
    for (id, function) in all {
        let properties = &function["Properties"];
        let name = name_of(function).unwrap_or_else(|| FunctionName::new("(no archive)"));
        if properties["Runtime"] != "provided.al2023" || properties["Architectures"] != serde_json::json!(["arm64"]) {
            say(Rule::Runtime, id, "not provided.al2023 on arm64".to_owned());
        }
        own_role(template, id, properties, &mut roles, say);
        if properties["DeadLetterQueue"]["TargetArn"].as_str().and_then(reference).is_none() {
            say(Rule::NoDeadLetters, id, "no DeadLetterQueue".to_owned());
        }
        let invoked = &properties["EventInvokeConfig"];
        if invoked["MaximumRetryAttempts"].as_u64().is_none() || invoked["MaximumEventAgeInSeconds"].as_u64().is_none()
        {
            say(Rule::NoRetry, id, "no EventInvokeConfig with attempts and age".to_owned());
        }
        if properties["KmsKeyArn"].as_str().is_none() {
            say(Rule::NotEncrypted, id, "its environment is not encrypted with a key of ours".to_owned());
        }
        if properties["LoggingConfig"]["LogGroup"].as_str().and_then(reference).is_none() {
            say(Rule::NoRetention, id, "its log group is made by Lambda and kept for ever".to_owned());
        }
        if RESERVED.contains(&name.as_str()) && properties["ReservedConcurrentExecutions"].as_u64().is_none() {
            say(Rule::NoReservedConcurrency, id, format!("{name} without ReservedConcurrentExecutions"));
        }
        for (variable, value) in template.environment(&name) {
            let names_secret =
                ["SECRET", "TOKEN", "PASSWORD", "PRIVATE_KEY"].iter().any(|part| variable.contains(part));
            if value.contains("{{resolve:") || (names_secret && !variable.ends_with("_ARN")) {
                say(Rule::PlainSecret, id, format!("{variable} holds a secret, not the name of one"));
            }
        }
        rights(template, id, &name, function, say);
        sources(id, function, say);
    }
}

fn own_role<'a>(
    template: &Template,
    id: &'a str,
    properties: &Value,
    roles: &mut BTreeMap<String, &'a str>,
    say: &mut Say<'_>,
) {
    let role = properties["Role"].as_str().and_then(reference);
    let Some((role, body)) = role.and_then(|role| Some((role.clone(), template.resource(&role)?))) else {
        return say(Rule::NoOwnRole, id, "no role of this template".to_owned());
    };
    if let Some(other) = roles.insert(role.as_str().to_owned(), id) {
        say(Rule::NoOwnRole, id, format!("the role {role} is also that of {other}"));
    }
    for policy in list(&body["Properties"]["ManagedPolicyArns"]).filter_map(Value::as_str) {
        if reference(policy).is_none() {
            say(Rule::NoOwnRole, id, format!("its role has {policy}, whose rights this template does not show"));
        }
    }
    if properties.get("Policies").is_some() {
        say(Rule::NoOwnRole, id, "Policies beside a Role are ignored".to_owned());
    }
}

fn rights(template: &Template, id: &str, name: &FunctionName, function: &Value, say: &mut Say<'_>) {
    for statement in allowed(template, function) {
        for action in statement.actions() {
            let (service, verb) = action.split_once(':').unwrap_or((action, ""));
            if name.as_str() != DRIVER && (service == "eks" || service == "*") {
                say(Rule::IngestRights, id, format!("{} allows {action}", statement.sid()));
            }
            if name.as_str().starts_with(INGEST) {
                let writes = service == "s3" && !verb.starts_with("Get") && !verb.starts_with("List");
                for arn in statement.resources().filter(|arn| writes && !arn.ends_with(POINTERS)) {
                    say(Rule::IngestRights, id, format!("{} allows {action} on {arn}", statement.sid()));
                }
            }
            if name.as_str() == DRIVER && service == "dynamodb" {
                let condition = &statement.body["Condition"];
                let keys = list(&condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]).count();
                if keys == 0 || condition["Null"]["dynamodb:LeadingKeys"] != "false" {
                    say(Rule::LedgerKeys, id, format!("{} allows {action} on every key", statement.sid()));
                }
            }
        }
    }
}

/// What invokes a function.
fn sources(id: &str, function: &Value, say: &mut Say<'_>) {
    for kind in ["EventBridgeRule", "Schedule", "ScheduleV2", "SNS", "SQS"] {
        for (name, event) in events(function, kind) {
            let place = format!("the event {name}");
            match kind {
                "SNS" => {
                    if event.get("RedrivePolicy").is_none() {
                        say(Rule::NoDeadLetters, id, format!("{place} has no RedrivePolicy"));
                    }
                }
                "SQS" => {
                    if !list(&event["FunctionResponseTypes"]).any(|kind| kind == "ReportBatchItemFailures") {
                        say(Rule::WholeBatch, id, format!("{place} does not say which messages failed"));
                    }
                }
                _ => retried(event, id, &place, say),
            }
        }
    }
}

/// What EventBridge hands over: so often, for so long, and then to a queue.
fn retried(target: &Value, id: &str, place: &str, say: &mut Say<'_>) {
    let retry = &target["RetryPolicy"];
    if retry["MaximumEventAgeInSeconds"].as_u64().is_none() || retry["MaximumRetryAttempts"].as_u64().is_none() {
        say(Rule::NoRetry, id, format!("{place} has no RetryPolicy with attempts and age"));
    }
    if target["DeadLetterConfig"]["Arn"].as_str().and_then(reference).is_none() {
        say(Rule::NoDeadLetters, id, format!("{place} has no DeadLetterConfig"));
    }
}

fn rules(template: &Template, say: &mut Say<'_>) {
    for (id, rule) in template.resources_of("AWS::Events::Rule") {
        for target in list(&rule["Properties"]["Targets"]) {
            retried(target, id, "a target", say);
        }
    }
    for (id, schedule) in template.resources_of("AWS::Scheduler::Schedule") {
        retried(&schedule["Properties"]["Target"], id, "its target", say);
    }
}

fn stored(template: &Template, say: &mut Say<'_>) {
    for (id, resource) in template.resources() {
        let properties = &resource["Properties"];
        let key = match resource["Type"].as_str().unwrap_or_default() {
            "AWS::DynamoDB::Table" => {
                protected_table(id, resource, say);
                &properties["SSESpecification"]["KMSMasterKeyId"]
            }
            "AWS::S3::Bucket" => {
                protected_bucket(id, resource, say);
                let rules = &properties["BucketEncryption"]["ServerSideEncryptionConfiguration"];
                &rules[0]["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]
            }
            "AWS::SQS::Queue" | "AWS::SNS::Topic" => &properties["KmsMasterKeyId"],
            "AWS::SecretsManager::Secret" => &properties["KmsKeyId"],
            "AWS::Logs::LogGroup" => {
                if properties["RetentionInDays"].as_u64().is_none() {
                    say(Rule::NoRetention, id, "kept for ever".to_owned());
                }
                &properties["KmsKeyId"]
            }
            _ => continue,
        };
        // `alias/aws/sqs` and the like are keys of AWS, whose policy nobody can see or change.
        if key.as_str().is_none_or(|key| key.is_empty() || key.starts_with("alias/")) {
            say(Rule::NotEncrypted, id, "not encrypted with a key of ours".to_owned());
        }
    }
}

fn protected_table(id: &str, table: &Value, say: &mut Say<'_>) {
    let properties = &table["Properties"];
    let wanted = [
        ("DeletionProtectionEnabled", properties["DeletionProtectionEnabled"] == true),
        (
            "point-in-time recovery",
            properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == true,
        ),
        ("SSEEnabled", properties["SSESpecification"]["SSEEnabled"] == true),
        ("DeletionPolicy: Retain", table["DeletionPolicy"] == "Retain"),
    ];
    for (what, _) in wanted.iter().filter(|(_, is_so)| !is_so) {
        say(Rule::Unprotected, id, format!("no {what}"));
    }
}

fn protected_bucket(id: &str, bucket: &Value, say: &mut Say<'_>) {
    let properties = &bucket["Properties"];
    let closed = properties["PublicAccessBlockConfiguration"].as_object();
    if closed.is_none_or(|closed| closed.len() != 4 || !closed.values().all(|is_so| is_so == true)) {
        say(Rule::Unprotected, id, "open to the public".to_owned());
    }
    if properties["VersioningConfiguration"]["Status"] != "Enabled" {
        say(Rule::Unprotected, id, "no versions".to_owned());
    }
    if list(&properties["LifecycleConfiguration"]["Rules"]).count() == 0 {
        say(Rule::NoRetention, id, "no lifecycle".to_owned());
    }
}

fn queues(template: &Template, say: &mut Say<'_>) {
    let all = template.queues();
    let dead: BTreeSet<_> =
        all.iter().filter_map(|queue| template.dead_letters_of(queue)).map(|(dead, _)| dead).collect();
    let mut ends: BTreeSet<String> = dead.iter().map(|queue| queue.as_str().to_owned()).collect();
    for queue in &all {
        match template.dead_letters_of(queue) {
            Some((_, receives)) if receives >= LEAST_RECEIVES => {}
            Some((_, receives)) => {
                say(Rule::NoDeadLetters, queue.as_str(), format!("a dead letter after {receives} attempts"));
            }
            // What nothing is received from is an end: dead letters themselves.
            None if template.consumers_of(queue).is_empty() => {
                ends.insert(queue.as_str().to_owned());
            }
            None => say(Rule::NoDeadLetters, queue.as_str(), "no RedrivePolicy".to_owned()),
        }
    }
    for queue in ends {
        let watched = template.resources_of("AWS::CloudWatch::Alarm").any(|(_, alarm)| {
            let properties = &alarm["Properties"];
            let of = list(&properties["Dimensions"])
                .any(|dimension| dimension["Value"] == format!("${{{queue}.QueueName}}").as_str());
            of && properties["MetricName"] == "ApproximateNumberOfMessagesVisible"
        });
        if !watched {
            say(Rule::NoAlarm, &queue, "no alarm when something is in it".to_owned());
        }
    }
}
