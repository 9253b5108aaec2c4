//! The stack as code: what it must never contain, and that every event comes to the function that is made for it.
//!
//! Each rule is shown able to fail by a copy of a template that breaks it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use portcullis_tests_aws::template::forbidden::{Finding, Rule, forbidden, reasoned, reasons};
use portcullis_tests_aws::template::{FunctionName, ResourceId, Template, reference, yaml};
use serde_json::{Value, json};

type Parameters = &'static [(&'static str, &'static str)];

const ROLE: &str = "arn:aws:iam::333333333333:role/executor";
/// Every template, with each set of parameters that turns other parts of it on.
const VARIANTS: &[(&str, Parameters)] = &[
    ("hub.yaml", &[("CodeBucket", "code")]),
    (
        "hub.yaml",
        &[
            ("CodeBucket", "code"),
            ("RepositoryArns", "arn:aws:ecr:us-east-1:444444444444:repository/one"),
            ("ReaderRoleArns", "arn:aws:iam::444444444444:role/reader"),
            ("WakeQueueUrl", "production=https://sqs.us-east-1.amazonaws.com/333333333333/portcullis-wakes"),
            ("WakeQueueArns", "arn:aws:sqs:us-east-1:333333333333:portcullis-wakes"),
            ("ExecutorKeyArns", "arn:aws:kms:us-east-1:333333333333:key/k"),
            ("ForwardingAccounts", "333333333333,444444444444"),
            ("Executor1RoleArn", ROLE),
            ("Executor1Environments", "production,staging"),
            ("Executor2RoleArn", ROLE),
            ("Executor3RoleArn", ROLE),
            ("OperatorEmail", "on-call@example.com"),
        ],
    ),
    (
        "executor.yaml",
        &[
            ("CodeBucket", "code"),
            ("LedgerArn", "arn:aws:dynamodb:us-east-1:123456789012:table/portcullis-ledger"),
            ("HubKeyArn", "arn:aws:kms:us-east-1:123456789012:key/k"),
            ("PolicyLocation", "s3://policies-of-the-hub/policies/"),
        ],
    ),
    (
        "executor.yaml",
        &[
            ("CodeBucket", "code"),
            ("LedgerArn", "arn:aws:dynamodb:us-east-1:555555555555:table/portcullis-ledger"),
            ("HubKeyArn", "arn:aws:kms:us-east-1:555555555555:key/k"),
            ("PolicyLocation", "s3://policies-of-the-hub/policies/"),
            ("HubAccount", "555555555555"),
            ("HubBusArn", "arn:aws:events:us-east-1:555555555555:event-bus/default"),
            ("Environments", "production,staging"),
            ("ClusterArns", "arn:aws:eks:us-east-1:123456789012:cluster/one"),
            ("RepositoryArns", "arn:aws:ecr:us-east-1:444444444444:repository/one"),
            ("EnvironmentRoleArns", "arn:aws:iam::444444444444:role/reader"),
            ("VpcId", "vpc-1"),
            ("SubnetIds", "subnet-1,subnet-2"),
            ("CreateEndpoints", "true"),
            ("RouteTableIds", "rtb-1"),
            ("ClusterSecurityGroupId", "sg-1"),
            ("OperatorEmail", "on-call@example.com"),
        ],
    ),
    (
        "executor.yaml",
        &[
            ("CodeBucket", "code"),
            ("LedgerArn", "arn:aws:dynamodb:us-east-1:555555555555:table/portcullis-ledger"),
            ("HubKeyArn", "arn:aws:kms:us-east-1:555555555555:key/k"),
            ("PolicyLocation", "s3://policies-of-the-hub/policies/"),
            ("HubAccount", "555555555555"),
            ("ReserveConcurrency", "true"),
        ],
    ),
    (
        "registry.yaml",
        &[("HubAccount", "555555555555"), ("HubBusArn", "arn:aws:events:us-east-1:555555555555:event-bus/default")],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn path(file: &str) -> PathBuf {
    root().join("infra").join(file)
}

fn raw(file: &str) -> Value {
    yaml::read(&std::fs::read_to_string(path(file)).unwrap()).unwrap()
}

fn variants() -> impl Iterator<Item = Template> {
    VARIANTS.iter().map(|(file, parameters)| Template::read_with(path(file), parameters).unwrap())
}

/// A template with the first set of parameters that is written down for it.
fn template(file: &str) -> Template {
    let (_, parameters) = VARIANTS.iter().find(|(of, _)| *of == file).unwrap();
    Template::read_with(path(file), parameters).unwrap()
}

/// The same, with something in its file changed.
fn broken(file: &str, change: impl FnOnce(&mut Value)) -> Template {
    let (_, parameters) = VARIANTS.iter().find(|(of, _)| *of == file).unwrap();
    let mut raw = raw(file);
    let before = raw.clone();
    change(&mut raw);
    assert_ne!(raw, before, "the change changed nothing");
    Template::of(&path(file), &raw, parameters).unwrap()
}

fn event(file: &str) -> Value {
    let text = std::fs::read_to_string(root().join("events").join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn names(functions: &[FunctionName]) -> Vec<&str> {
    functions.iter().map(FunctionName::as_str).collect()
}

/// Removes what is at the end of a path.
fn remove(value: &mut Value, path: &[&str]) {
    let (last, before) = path.split_last().unwrap();
    let mut at = value;
    for key in before {
        at = at.get_mut(key).unwrap_or_else(|| panic!("there is no {key} in {path:?}"));
    }
    assert!(at.as_object_mut().unwrap().remove(*last).is_some(), "there is no {path:?}");
}

fn statement<'a>(raw: &'a mut Value, resource: &str, sid: &str) -> &'a mut Value {
    fn find<'a>(value: &'a mut Value, sid: &str) -> Option<&'a mut Value> {
        if value.get("Sid").is_some_and(|found| found == sid) {
            return Some(value);
        }
        match value {
            Value::Object(map) => map.values_mut().find_map(|value| find(value, sid)),
            Value::Array(items) => items.iter_mut().find_map(|value| find(value, sid)),
            _ => None,
        }
    }
    find(&mut raw["Resources"][resource], sid).unwrap()
}

#[test]
fn no_template_contains_what_is_forbidden() {
    for template in variants() {
        let found = forbidden(&template);
        assert!(found.is_empty(), "{}: {found:#?}", template.path().display());
    }
}

#[test]
fn no_reason_is_written_for_a_wildcard_that_is_not_there() {
    for file in ["hub.yaml", "executor.yaml", "registry.yaml"] {
        let (mut written, mut used) = (BTreeSet::new(), BTreeSet::new());
        for template in variants().filter(|template| template.path().ends_with(file)) {
            written.extend(reasons(&template));
            used.extend(reasoned(&template));
        }
        assert_eq!(written.difference(&used).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "{file}");
    }
}

/// What a broken copy is found guilty of, and nothing else.
fn assert_found(case: &str, template: &Template, rule: Rule, resource: &str) {
    let found = forbidden(template);
    let is_it = |finding: &Finding| finding.rule == rule && finding.resource == resource;
    assert!(!found.is_empty() && found.iter().all(is_it), "{case}: wanted {rule:?} of {resource}, found {found:#?}");
}

type Change = fn(&mut Value);

#[test]
fn each_rule_can_fail() {
    let cases: &[(&str, &str, Rule, &str, Change)] = &[
        ("an action with a wildcard", "hub.yaml", Rule::Wildcard, "OnAlarmRole", |raw| {
            statement(raw, "OnAlarmRole", "OwnQueue")["Action"] = json!("sqs:*");
        }),
        ("every resource", "hub.yaml", Rule::Wildcard, "NotifyRole", |raw| {
            statement(raw, "NotifyRole", "ReadLedger")["Resource"] = json!("*");
        }),
        ("all objects of any bucket", "executor.yaml", Rule::Wildcard, "RunReleaseRole", |raw| {
            statement(raw, "RunReleaseRole", "Backups")["Resource"] = json!("arn:aws:s3:::*/*");
        }),
        ("a reason that was taken away", "executor.yaml", Rule::Wildcard, "RunReleaseRole", |raw| {
            remove(raw, &["Resources", "RunReleaseRole", "Metadata", "Wildcards", "Measure"]);
        }),
        ("a reason that says nothing", "executor.yaml", Rule::Wildcard, "RunReleaseRole", |raw| {
            raw["Resources"]["RunReleaseRole"]["Metadata"]["Wildcards"]["Measure"] = json!("needed");
        }),
        ("everything but", "hub.yaml", Rule::Wildcard, "SweepRole", |raw| {
            remove(statement(raw, "SweepRole", "Overdue"), &["Action"]);
            statement(raw, "SweepRole", "Overdue")["NotAction"] = json!("dynamodb:DeleteTable");
        }),
        ("a queue that anybody may send to", "hub.yaml", Rule::Wildcard, "AlarmUnrecordedPolicy", |raw| {
            statement(raw, "AlarmUnrecordedPolicy", "Rules")["Principal"] = json!({ "AWS": "*" });
        }),
        ("a function without dead letters", "hub.yaml", Rule::NoDeadLetters, "OnAlarm", |raw| {
            remove(raw, &["Resources", "OnAlarm", "Properties", "DeadLetterQueue"]);
        }),
        ("a rule without dead letters", "hub.yaml", Rule::NoDeadLetters, "OnScanResult", |raw| {
            remove(
                raw,
                &["Resources", "OnScanResult", "Properties", "Events", "ImageScan", "Properties", "DeadLetterConfig"],
            );
        }),
        ("a subscription without dead letters", "hub.yaml", Rule::NoDeadLetters, "OnAlarm", |raw| {
            remove(raw, &["Resources", "OnAlarm", "Properties", "Events", "Topic", "Properties", "RedrivePolicy"]);
        }),
        ("a schedule without dead letters", "hub.yaml", Rule::NoDeadLetters, "Synthetic", |raw| {
            remove(raw, &["Resources", "Synthetic", "Properties", "Target", "DeadLetterConfig"]);
        }),
        ("a queue without dead letters", "executor.yaml", Rule::NoDeadLetters, "Wakes", |raw| {
            // Its dead letters have an alarm still: they are an end all the same.
            remove(raw, &["Resources", "Wakes", "Properties", "RedrivePolicy"]);
        }),
        ("a queue that gives up at once", "executor.yaml", Rule::NoDeadLetters, "Wakes", |raw| {
            raw["Resources"]["Wakes"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] = json!(1);
        }),
        ("dead letters of which nobody hears", "executor.yaml", Rule::NoAlarm, "WakeDeadLetters", |raw| {
            remove(raw, &["Resources", "DeadWakes"]);
        }),
        ("a queue that is not encrypted", "hub.yaml", Rule::NotEncrypted, "AlarmUnrecorded", |raw| {
            remove(raw, &["Resources", "AlarmUnrecorded", "Properties", "KmsMasterKeyId"]);
        }),
        ("a queue with a key of AWS", "hub.yaml", Rule::NotEncrypted, "AlarmUnrecorded", |raw| {
            raw["Resources"]["AlarmUnrecorded"]["Properties"]["KmsMasterKeyId"] = json!("alias/aws/sqs");
        }),
        ("a topic that is not encrypted", "hub.yaml", Rule::NotEncrypted, "AlarmTopic", |raw| {
            remove(raw, &["Resources", "AlarmTopic", "Properties", "KmsMasterKeyId"]);
        }),
        ("a table without a key", "hub.yaml", Rule::NotEncrypted, "Ledger", |raw| {
            remove(raw, &["Resources", "Ledger", "Properties", "SSESpecification", "KMSMasterKeyId"]);
        }),
        ("a bucket that is not encrypted", "executor.yaml", Rule::NotEncrypted, "Backups", |raw| {
            remove(raw, &["Resources", "Backups", "Properties", "BucketEncryption"]);
        }),
        ("a log that is not encrypted", "hub.yaml", Rule::NotEncrypted, "OnAlarmLog", |raw| {
            remove(raw, &["Resources", "OnAlarmLog", "Properties", "KmsKeyId"]);
        }),
        ("a secret with AWS's key", "hub.yaml", Rule::NotEncrypted, "SlackSigningSecret", |raw| {
            remove(raw, &["Resources", "SlackSigningSecret", "Properties", "KmsKeyId"]);
        }),
        ("an environment with AWS's key", "executor.yaml", Rule::NotEncrypted, "RunRelease", |raw| {
            remove(raw, &["Resources", "RunRelease", "Properties", "KmsKeyArn"]);
        }),
        ("a log that is kept for ever", "hub.yaml", Rule::NoRetention, "HttpLog", |raw| {
            remove(raw, &["Resources", "HttpLog", "Properties", "RetentionInDays"]);
        }),
        ("a log that Lambda makes", "hub.yaml", Rule::NoRetention, "Sweep", |raw| {
            remove(raw, &["Resources", "Sweep", "Properties", "LoggingConfig"]);
        }),
        ("a bucket without a lifecycle", "hub.yaml", Rule::NoRetention, "PointerBucket", |raw| {
            remove(raw, &["Resources", "PointerBucket", "Properties", "LifecycleConfiguration"]);
        }),
        ("alarms that can be starved", "hub.yaml", Rule::NoReservedConcurrency, "OnAlarm", |raw| {
            remove(raw, &["Resources", "OnAlarm", "Properties", "ReservedConcurrentExecutions"]);
        }),
        ("a driver that can be starved", "executor.yaml", Rule::NoReservedConcurrency, "RunRelease", |raw| {
            remove(raw, &["Resources", "RunRelease", "Properties", "ReservedConcurrentExecutions"]);
        }),
        ("a rule with EventBridge's retries", "hub.yaml", Rule::NoRetry, "OnImagePush", |raw| {
            remove(
                raw,
                &["Resources", "OnImagePush", "Properties", "Events", "ImageAction", "Properties", "RetryPolicy"],
            );
        }),
        ("a forwarding with EventBridge's retries", "registry.yaml", Rule::NoRetry, "ForwardImages", |raw| {
            remove(&mut raw["Resources"]["ForwardImages"]["Properties"]["Targets"][0], &["RetryPolicy"]);
        }),
        ("a function with Lambda's retries", "hub.yaml", Rule::NoRetry, "Notify", |raw| {
            remove(raw, &["Resources", "Notify", "Properties", "EventInvokeConfig"]);
        }),
        ("a function without a role", "executor.yaml", Rule::NoOwnRole, "RunRelease", |raw| {
            remove(raw, &["Resources", "RunRelease", "Properties", "Role"]);
        }),
        ("two functions with one role", "hub.yaml", Rule::NoOwnRole, "OnScanResult", |raw| {
            raw["Resources"]["OnScanResult"]["Properties"]["Role"] = json!({ "Fn::GetAtt": ["OnAlarmRole", "Arn"] });
        }),
        ("a policy of AWS's", "hub.yaml", Rule::NoOwnRole, "Notify", |raw| {
            raw["Resources"]["NotifyRole"]["Properties"]["ManagedPolicyArns"] =
                json!(["arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess"]);
        }),
        ("a recorder that sees clusters", "hub.yaml", Rule::IngestRights, "OnImagePush", |raw| {
            let own = statement(raw, "OnImagePushRole", "OwnQueue");
            own["Action"].as_array_mut().unwrap().push(json!("eks:DescribeCluster"));
        }),
        ("a recorder that writes policies", "hub.yaml", Rule::IngestRights, "OnGitHubEvent", |raw| {
            statement(raw, "OnGitHubEventRole", "Pointers")["Resource"] =
                json!({ "Fn::Sub": "${PolicyBucket.Arn}/policies/*" });
        }),
        ("a driver on every target", "executor.yaml", Rule::LedgerKeys, "RunRelease", |raw| {
            remove(statement(raw, "RunReleaseRole", "OwnTargets"), &["Condition"]);
        }),
        ("a driver whose requests may name no key", "executor.yaml", Rule::LedgerKeys, "RunRelease", |raw| {
            remove(statement(raw, "RunReleaseRole", "OwnTargets"), &["Condition", "Null"]);
        }),
        ("a secret in the environment", "hub.yaml", Rule::PlainSecret, "OnApproval", |raw| {
            raw["Resources"]["OnApproval"]["Properties"]["Environment"]["Variables"]["SLACK_SIGNING_SECRET"] =
                json!("s");
        }),
        ("a secret that CloudFormation looks up", "hub.yaml", Rule::PlainSecret, "OnApproval", |raw| {
            raw["Resources"]["OnApproval"]["Properties"]["Environment"]["Variables"]["SLACK"] =
                json!("{{resolve:secretsmanager:slack}}");
        }),
        ("a batch that fails as a whole", "executor.yaml", Rule::WholeBatch, "RunRelease", |raw| {
            remove(
                raw,
                &["Resources", "RunRelease", "Properties", "Events", "Wake", "Properties", "FunctionResponseTypes"],
            );
        }),
        ("another architecture", "executor.yaml", Rule::Runtime, "RunRelease", |raw| {
            raw["Globals"]["Function"]["Architectures"] = json!(["x86_64"]);
        }),
        ("a table that can be deleted", "hub.yaml", Rule::Unprotected, "Ledger", |raw| {
            remove(raw, &["Resources", "Ledger", "Properties", "DeletionProtectionEnabled"]);
        }),
        ("a table that cannot be put back", "hub.yaml", Rule::Unprotected, "Ledger", |raw| {
            remove(raw, &["Resources", "Ledger", "Properties", "PointInTimeRecoverySpecification"]);
        }),
        ("a bucket for everybody", "executor.yaml", Rule::Unprotected, "Backups", |raw| {
            raw["Resources"]["Backups"]["Properties"]["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] =
                json!(false);
        }),
    ];
    let mut shown = BTreeSet::new();
    for (case, file, rule, resource, change) in cases {
        assert_found(case, &broken(file, change), *rule, resource);
        shown.insert(*rule);
    }
    // `Unprotected` is the last one: a rule that is added after it must be shown here too.
    assert_eq!(shown.len(), Rule::Unprotected as usize + 1, "a rule is not shown able to fail: {shown:?}");
}

#[test]
fn each_event_comes_to_the_function_that_is_made_for_it() {
    let routes: &[(&str, &[&str])] = &[
        ("ecr/image-action-push.json", &["on-image-push"]),
        ("ecr/image-action-push-untagged.json", &["on-image-push"]),
        ("ecr/image-action-push-failure.json", &["on-image-push"]),
        ("ecr/image-action-delete.json", &["on-image-push"]),
        ("ecr/image-scan-complete.json", &["on-scan-result"]),
        ("ecr/image-scan-failed.json", &["on-scan-result"]),
        ("ecr/scan-resource-change.json", &["on-scan-result"]),
        ("inspector/scan-complete.json", &["on-scan-result"]),
        ("inspector/finding-active.json", &["on-scan-result"]),
        ("inspector/finding-closed.json", &["on-scan-result"]),
        // Not of an image: not worth an invocation.
        ("inspector/scan-ec2.json", &[]),
        ("cloudwatch/alarm-eventbridge-metric.json", &["on-alarm"]),
        ("cloudwatch/alarm-eventbridge-metric-math.json", &["on-alarm"]),
        ("cloudwatch/alarm-eventbridge-composite-suppressed.json", &["on-alarm"]),
        ("cloudwatch/alarm-ok.json", &["on-alarm"]),
        ("cloudwatch/unknown.json", &[]),
    ];
    let hub = template("hub.yaml");
    for (file, wanted) in routes {
        assert_eq!(&names(&hub.routes_of(&event(file)).unwrap())[..], *wanted, "{file}");
    }
    // The other two ways of an alarm are no events of a bus.
    let topic = hub.subscribers_of(&ResourceId::new("AlarmTopic"));
    assert_eq!(names(&topic), ["on-alarm"], "alarm-sns.json");
    assert_eq!(names(&hub.invoked_by("lambda.alarms.cloudwatch.amazonaws.com")), ["on-alarm"], "alarm-direct.json");
    let apart = ["cloudwatch/alarm-sns.json", "cloudwatch/alarm-direct.json"];
    let mut known: BTreeSet<String> = routes.iter().map(|(file, _)| (*file).to_owned()).collect();
    known.extend(apart.map(str::to_owned));
    assert_eq!(known, samples(), "a sample event has no route here");
}

/// The sample events by their paths.
fn samples() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in std::fs::read_dir(root().join("events")).unwrap().map(Result::unwrap) {
        if !folder.path().is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            let (folder, file) = (folder.file_name(), file.file_name());
            found.insert(format!("{}/{}", folder.to_str().unwrap(), file.to_str().unwrap()));
        }
    }
    found
}

#[test]
fn a_rule_that_is_missing_leaves_its_events_without_a_function() {
    let without =
        broken("hub.yaml", |raw| remove(raw, &["Resources", "OnAlarm", "Properties", "Events", "AlarmState"]));
    let routes = without.routes_of(&event("cloudwatch/alarm-eventbridge-metric.json")).unwrap();
    assert!(routes.is_empty(), "{routes:?}");
}

#[test]
fn an_account_of_its_own_forwards_what_the_hub_routes() {
    let hub = template("hub.yaml");
    let apart: Vec<Template> = variants().filter(|template| !template.path().ends_with("hub.yaml")).collect();
    for file in samples() {
        let event = event(&file);
        let routed = !hub.routes_of(&event).unwrap().is_empty();
        let buses: BTreeSet<String> = apart.iter().flat_map(|template| template.forwards(&event).unwrap()).collect();
        let wanted: BTreeSet<String> =
            routed.then(|| "arn:aws:events:us-east-1:555555555555:event-bus/default".to_owned()).into_iter().collect();
        assert_eq!(buses, wanted, "{file}");
    }
    let together = template("executor.yaml");
    let alarm = event("cloudwatch/alarm-eventbridge-metric.json");
    assert!(together.forwards(&alarm).unwrap().is_empty(), "beside the hub nothing is forwarded: it would come twice");
}

#[test]
fn what_a_recorder_could_not_record_comes_back_to_it() {
    let hub = template("hub.yaml");
    let recorders: Vec<_> = hub.functions().into_iter().filter(|name| name.as_str().starts_with("on-")).collect();
    assert_eq!(names(&recorders), ["on-alarm", "on-approval", "on-github-event", "on-image-push", "on-scan-result"]);
    for function in recorders {
        let queue = reference(&hub.environment(&function)["UNRECORDED_QUEUE_URL"]).unwrap();
        let consumers = hub.consumers_of(&queue);
        assert_eq!(consumers.iter().map(|consumer| &consumer.function).collect::<Vec<_>>(), [&function]);
        assert!(consumers[0].says_which_failed);
        assert_eq!(hub.dead_letter_queue_of(&function).as_ref(), Some(&queue), "what it crashed on is tried again too");
        let (dead, receives) = hub.dead_letters_of(&queue).unwrap();
        assert_eq!((dead.as_str(), receives), ("DeadLetters", 480));
        let queue = hub.resource(&queue).unwrap();
        let invisible = queue["Properties"]["VisibilityTimeout"].as_u64().unwrap();
        assert!(
            invisible >= 6 * hub.timeout(&function).as_secs(),
            "{function} may still work on a message when it comes again"
        );
    }
}

#[test]
fn the_hub_wakes_the_queue_that_the_driver_reads() {
    let (hub, executor) = (template("hub.yaml"), template("executor.yaml"));
    let wakes = ResourceId::new("Wakes");
    let name = executor.queue_name(&wakes).unwrap();
    for function in hub.functions() {
        let url = &hub.environment(&function)["WAKE_QUEUE_URL"];
        assert_eq!(url.rsplit('/').next(), Some(name.as_str()), "{function}");
    }
    let driver = FunctionName::new("run-release");
    assert_eq!(names(&executor.functions()), ["run-release"]);
    assert_eq!(executor.environment(&driver)["WAKE_QUEUE_URL"], "${Wakes}");
    let consumers = executor.consumers_of(&wakes);
    assert_eq!(consumers.iter().map(|consumer| consumer.function.as_str()).collect::<Vec<_>>(), ["run-release"]);
    assert!(consumers[0].says_which_failed);
}

#[test]
fn both_templates_name_the_same_ledger_and_policies() {
    let (hub, executor) = (template("hub.yaml"), template("executor.yaml"));
    let driver = executor.environment(&FunctionName::new("run-release"));
    for function in hub.functions() {
        let own = hub.environment(&function);
        assert_eq!(own["LEDGER_TABLE"], "${Ledger}", "{function}");
        assert_eq!(own["POLICY_LOCATION"], "s3://${PolicyBucket}/policies/", "{function}");
    }
    assert_eq!(hub.resource(&ResourceId::new("Ledger")).unwrap()["Properties"]["TableName"], "portcullis-ledger");
    assert_eq!(driver["LEDGER_TABLE"], "portcullis-ledger", "the ARN in LedgerArn, as the name in its own account");
    let apart = Template::read_with(path("executor.yaml"), VARIANTS[3].1).unwrap();
    let far = &apart.environment(&FunctionName::new("run-release"))["LEDGER_TABLE"];
    assert_eq!(far, "arn:aws:dynamodb:us-east-1:555555555555:table/portcullis-ledger", "a far table by its ARN");
}

#[test]
fn the_table_is_the_one_that_the_ledger_uses() {
    use portcullis_aws::ledger::table::{
        EXPIRES, OVERDUE_INDEX, OVERDUE_PARTITION_KEY, OVERDUE_SORT_KEY, PARTITION_KEY, SORT_KEY,
    };
    let hub = template("hub.yaml");
    let table = &hub.resource(&ResourceId::new("Ledger")).unwrap()["Properties"];
    let keys = |schema: &Value| -> Vec<(String, String)> {
        let part = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        schema.as_array().unwrap().iter().map(|key| (part(key, "AttributeName"), part(key, "KeyType"))).collect()
    };
    let pair =
        |hash: &str, range: &str| vec![(hash.to_owned(), "HASH".to_owned()), (range.to_owned(), "RANGE".to_owned())];
    assert_eq!(keys(&table["KeySchema"]), pair(PARTITION_KEY, SORT_KEY));
    let index = &table["GlobalSecondaryIndexes"][0];
    assert_eq!(index["IndexName"], OVERDUE_INDEX);
    assert_eq!(keys(&index["KeySchema"]), pair(OVERDUE_PARTITION_KEY, OVERDUE_SORT_KEY));
    assert_eq!(index["Projection"]["ProjectionType"], "KEYS_ONLY");
    assert_eq!(table["TimeToLiveSpecification"], json!({ "AttributeName": EXPIRES, "Enabled": true }));
    let types: BTreeMap<&str, &str> = table["AttributeDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attribute| (attribute["AttributeName"].as_str().unwrap(), attribute["AttributeType"].as_str().unwrap()))
        .collect();
    let wanted = [(PARTITION_KEY, "S"), (SORT_KEY, "S"), (OVERDUE_PARTITION_KEY, "S"), (OVERDUE_SORT_KEY, "N")];
    assert_eq!(types, BTreeMap::from(wanted));
}

#[test]
fn an_executor_touches_the_keys_of_its_environments_only() {
    let keys = |template: &Template, resource: &str, sid: &str| -> Vec<String> {
        let found = template.resource(&ResourceId::new(resource)).unwrap().clone();
        let mut raw = json!({ "Resources": { resource: found } });
        let keys = &statement(&mut raw, resource, sid)["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
        keys.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    };
    let executor = Template::read_with(path("executor.yaml"), VARIANTS[3].1).unwrap();
    assert_eq!(keys(&executor, "RunReleaseRole", "OwnTargets"), ["T#*/production", "T#*/staging"]);
    let hub = Template::read_with(path("hub.yaml"), VARIANTS[1].1).unwrap();
    assert_eq!(keys(&hub, "Ledger", "Executor1Targets"), ["T#*/production", "T#*/staging"]);
    assert_eq!(keys(&hub, "Ledger", "Executor2Targets"), ["T#*/none"], "without environments it has no target");
    for (sid, wanted) in [("Shared", &["INSTALLATION", "RELEASE#*", "SCOPES"][..]), ("Brake", &["RELEASE#*", "SCOPES"])]
    {
        let (mut own, mut by_hub) =
            (keys(&executor, "RunReleaseRole", sid), keys(&hub, "Ledger", &format!("Executor3{sid}")));
        own.sort();
        by_hub.sort();
        assert_eq!(own, wanted, "{sid}: the executor asks for it");
        assert_eq!(by_hub, wanted, "{sid}: the hub lets it");
    }
}

#[test]
fn the_clock_sweeps_and_tells_every_minute() {
    let hub = template("hub.yaml");
    for function in hub.functions() {
        let wanted: &[&str] = if ["sweep", "notify"].contains(&function.as_str()) { &["rate(1 minute)"] } else { &[] };
        assert_eq!(hub.schedule(&function), wanted, "{function}");
    }
}

#[test]
fn the_two_functions_behind_http_are_the_only_ones() {
    let hub = template("hub.yaml");
    let mut routes: Vec<String> =
        hub.http_routes().iter().map(|route| format!("{} {} {}", route.method, route.path, route.function)).collect();
    routes.sort();
    assert_eq!(
        routes,
        [
            "GET /approvals/{proxy+} on-approval",
            "POST /approvals/{proxy+} on-approval",
            "POST /github/webhooks on-github-event",
            "POST /slack/interactivity on-approval",
        ]
    );
    let api = &hub.resource(&ResourceId::new("HttpApi")).unwrap()["Properties"]["DefaultRouteSettings"];
    assert_eq!(api, &json!({ "ThrottlingBurstLimit": 100, "ThrottlingRateLimit": 20 }));
}

#[test]
fn every_function_of_the_templates_is_built_here() {
    let built: BTreeSet<String> = std::fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let deployed: BTreeSet<String> =
        variants().flat_map(|template| template.functions()).map(|name| name.as_str().to_owned()).collect();
    assert_eq!(deployed, built);
}

#[test]
fn every_metric_of_ours_that_an_alarm_watches_is_told_by_somebody() {
    let mut sources = String::new();
    for entry in std::fs::read_dir(root().join("shared/lambda/src")).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            sources.push_str(&std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    for template in variants() {
        for (id, alarm) in template.resources_of("AWS::CloudWatch::Alarm") {
            let metric = alarm["Properties"]["MetricName"].as_str().unwrap_or_default();
            // The synthetic alarm is raised by its schedule, not by its metric.
            if alarm["Properties"]["Namespace"] == "Portcullis" && id != "SyntheticAlarm" {
                assert!(sources.contains(&format!("{metric:?}")), "{id} watches {metric}, which nobody tells");
            }
        }
    }
}

#[test]
fn the_synthetic_alarm_is_the_one_that_its_policy_names() {
    let file = path("synthetic/policy.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let set = portcullis_policy::load(&[(file.display().to_string(), text.clone())]).unwrap();
    assert_eq!(set.targets().map(ToString::to_string).collect::<Vec<_>>(), ["portcullis/synthetic"]);
    let named = yaml::read(&text).unwrap()["environments"]["synthetic"]["watch"]["alarms"]["roll_back"].take();
    let hub = template("hub.yaml");
    let alarm = hub.resource(&ResourceId::new("SyntheticAlarm")).unwrap();
    assert_eq!(named, json!([alarm["Properties"]["AlarmName"]]));
    let recorder = hub.environment(&FunctionName::new("on-alarm"));
    assert_eq!(recorder["SYNTHETIC_ALARM"], alarm["Properties"]["AlarmName"].as_str().unwrap());
}

/// `| name | default | words |` for each parameter, as the README has it.
fn parameters(file: &str) -> Vec<String> {
    let raw = raw(file);
    let mut rows = Vec::new();
    for (name, parameter) in raw["Parameters"].as_object().unwrap() {
        let default = match parameter.get("Default") {
            None => "**required**".to_owned(),
            Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
        };
        let words: Vec<&str> = parameter["Description"].as_str().unwrap().split_whitespace().collect();
        rows.push(format!("| `{name}` | {default} | {} |", words.join(" ")));
    }
    rows
}

#[test]
fn the_readme_has_every_parameter_as_it_is() {
    let readme = std::fs::read_to_string(path("README.md")).unwrap();
    for file in ["hub.yaml", "executor.yaml", "registry.yaml"] {
        let (_, behind) = readme.split_once(&format!("### `{file}`\n")).unwrap();
        let section = behind.split("\n#").next().unwrap();
        let written: BTreeSet<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let wanted = parameters(file);
        assert_eq!(written, wanted.iter().map(String::as_str).collect(), "{file}");
    }
}
