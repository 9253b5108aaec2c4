//! Tests that are a program: a Job made from a suspended CronJob, with its log as evidence.
//!
//! A Job is named by target and intention: whoever repeats the test finds the Job of the first, and adopts it. It has no
//! time to live: one that vanished before its outcome was recorded would be run a second time.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ObjectName, Seq, ServiceName, TargetId, is_bidi_control};
use portcullis_domain::policy::Colour;
use portcullis_domain::time::{Millis, Timestamp};
use portcullis_engine::ports::{PortError, PortResult, TestResult};
use serde_json::{Value as Json, json};

use crate::backup::leave::is_finished;
use crate::backup::object::{annotation, label, list, name, text};
use crate::backup::wire::{Ask, Method, Wire, answer, encoded, shown};

/// Label: a Job (and its pods) is a test of ours.
pub const TEST_LABEL: &str = "portcullis.dev/test";
/// Label: a short hash of the target, since a label's value has no `/`.
pub const TARGET_LABEL: &str = "portcullis.dev/target";
/// Annotation: the target and the intention that the Job belongs to.
pub const INTENTION: &str = "portcullis.dev/test-intention";
/// Lines of the log that are looked at, and bytes of it that are read.
const LOG: (u32, u32) = (40, 16 << 10);
/// The most characters of evidence; a failure as a whole has at most 500.
const MOST_EVIDENCE: usize = 350;
/// A finished Job of an earlier intention is kept for so long: its outcome may not be recorded yet.
const KEPT: Millis = Millis::hours(1);

/// A test that is a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTest<'a> {
    /// Whose.
    pub target: &'a TargetId,
    /// The intention that asks for it.
    pub intention: Seq,
    /// The test's name in the policy.
    pub test: &'a str,
    /// The CronJob that is its template.
    pub template: &'a ObjectName,
    /// Its time limit, by the cluster's clock.
    pub within: Millis,
    /// The services it runs against, their colour and the address of that colour inside the cluster.
    pub against: BTreeMap<ServiceName, (Colour, String)>,
}

impl JobTest<'_> {
    /// The Job's name: at most 63 characters, since pods carry it as a label.
    pub fn job_name(&self) -> String {
        let template: String = self.template.as_str().chars().take(24).collect();
        format!("pc-{}-{}-{}", template.trim_end_matches('-'), self.target_label(), self.intention)
    }

    fn target_label(&self) -> String {
        target_label(self.target)
    }

    fn belongs(&self) -> String {
        format!("{} {}", self.target, self.intention)
    }

    fn doing(&self) -> String {
        format!("test {} of {} (Job {})", shown(self.test), self.target, self.job_name())
    }
}

fn target_label(target: &TargetId) -> String {
    Digest::of(target.to_string().as_bytes()).hex()[..10].to_owned()
}

/// Starts a test, or looks at the one that runs.
///
/// # Errors
/// When the cluster cannot be reached or refuses; a test that fails is an answer.
pub async fn run(wire: &dyn Wire, namespace: &str, test: &JobTest<'_>) -> PortResult<TestResult> {
    let doing = test.doing();
    let jobs = format!("/apis/batch/v1/namespaces/{}/jobs", encoded(namespace));
    let path = format!("{jobs}/{}", encoded(&test.job_name()));
    if let Some(job) = answer(wire, Ask::get(path.clone()), &doing).await?.found(&doing)? {
        return look(wire, namespace, test, &job).await;
    }
    let template =
        format!("/apis/batch/v1/namespaces/{}/cronjobs/{}", encoded(namespace), encoded(test.template.as_str()));
    let Some(template) = answer(wire, Ask::get(template), &doing).await?.found(&doing)? else {
        return Ok(TestResult::Failed(format!("there is no CronJob {} in the namespace", test.template)));
    };
    let job = match from_template(&template, test) {
        Ok(job) => job,
        Err(why) => return Ok(TestResult::Failed(why)),
    };
    let created = format!("{jobs}?fieldManager={}", crate::objects::FIELD_MANAGER);
    let created = answer(wire, Ask::send(Method::Create, created, &job), &doing).await?;
    match created.status {
        200..=299 => Ok(TestResult::Running),
        // Somebody was faster: theirs is ours.
        409 => match answer(wire, Ask::get(path), &doing).await?.found(&doing)? {
            Some(job) => look(wire, namespace, test, &job).await,
            None => Ok(TestResult::Running),
        },
        400 | 422 => Ok(TestResult::Failed(format!("the cluster does not take the Job: {}", created.words()))),
        _ => Err(PortError::new(doing, created.words())),
    }
}

/// The Job of a test, from its template.
///
/// # Errors
/// When the template runs by itself, or has no container.
pub fn from_template(cronjob: &Json, test: &JobTest<'_>) -> Result<Json, String> {
    if cronjob.pointer("/spec/suspend") != Some(&Json::Bool(true)) {
        return Err(format!(
            "the CronJob {} is not suspended: it would run by its schedule, too. Set spec.suspend: true",
            test.template
        ));
    }
    let template = &cronjob["spec"]["jobTemplate"];
    let mut spec = template["spec"].clone();
    if list(&spec, "/template/spec/containers").is_empty() {
        return Err(format!("the CronJob {} has no container", test.template));
    }
    let labels = json!({
        "app.kubernetes.io/managed-by": "portcullis",
        TEST_LABEL: "job",
        TARGET_LABEL: test.target_label(),
    });
    let seconds = (test.within.0 / 1_000).max(1);
    let own = spec["activeDeadlineSeconds"].as_u64().unwrap_or(u64::MAX);
    if let Some(fields) = spec.as_object_mut() {
        for generated in ["selector", "manualSelector", "ttlSecondsAfterFinished", "suspend"] {
            fields.remove(generated);
        }
        fields.insert("activeDeadlineSeconds".into(), seconds.min(own).into());
        // A test that fails has failed; its author may say otherwise.
        fields.entry("backoffLimit").or_insert_with(|| 0.into());
    }
    for (key, value) in labels.as_object().into_iter().flatten() {
        spec["template"]["metadata"]["labels"][key] = value.clone();
    }
    let addresses = addresses(test);
    for containers in ["initContainers", "containers"] {
        for container in spec["template"]["spec"].get_mut(containers).and_then(Json::as_array_mut).into_iter().flatten()
        {
            let mut env = container["env"].as_array().cloned().unwrap_or_default();
            env.retain(|one| !addresses.iter().any(|(name, _)| one["name"] == name.as_str()));
            // First, so that the template's own can refer to them.
            let ours = addresses.iter().map(|(name, value)| json!({ "name": name, "value": value }));
            container["env"] = ours.chain(env).collect::<Vec<_>>().into();
        }
    }
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": test.job_name(),
            "labels": labels,
            "annotations": { INTENTION: test.belongs(), "portcullis.dev/test-name": shown(test.test) },
        },
        "spec": spec,
    }))
}

/// What a test is told: `PORTCULLIS_URL_WEB=http://web-green.shop`, `PORTCULLIS_COLOUR_WEB=green`.
fn addresses(test: &JobTest<'_>) -> Vec<(String, String)> {
    let mut all = vec![
        ("PORTCULLIS_TARGET".to_owned(), test.target.to_string()),
        ("PORTCULLIS_TEST".to_owned(), shown(test.test)),
    ];
    for (service, (colour, url)) in &test.against {
        let name = service.as_str().to_ascii_uppercase().replace('-', "_");
        all.push((format!("PORTCULLIS_COLOUR_{name}"), colour.to_string()));
        if !url.is_empty() {
            all.push((format!("PORTCULLIS_URL_{name}"), url.clone()));
        }
    }
    all
}

/// What a Job came to.
async fn look(wire: &dyn Wire, namespace: &str, test: &JobTest<'_>, job: &Json) -> PortResult<TestResult> {
    if annotation(job, INTENTION) != Some(&test.belongs()) {
        let whose = annotation(job, INTENTION).map_or_else(|| "nobody's".to_owned(), shown);
        return Ok(TestResult::Failed(format!("a Job {} is there that is {whose}, not this test's", test.job_name())));
    }
    let condition = |wanted: &str| {
        list(job, "/status/conditions")
            .iter()
            .find(|condition| text(condition, "/type") == wanted && text(condition, "/status") == "True")
    };
    if condition("Complete").is_some() {
        let (log, _) = evidence(wire, namespace, test).await;
        return Ok(TestResult::Passed(log.lines().last().map_or_else(|| "the Job succeeded".into(), str::to_owned)));
    }
    let Some(failed) = condition("Failed") else { return Ok(TestResult::Running) };
    let (log, waiting) = evidence(wire, namespace, test).await;
    let why = match text(failed, "/reason") {
        "DeadlineExceeded" => format!("not done within {}", test.within),
        "BackoffLimitExceeded" => "it failed".to_owned(),
        other => format!("it failed ({})", shown(other)),
    };
    let why = waiting.map_or(why.clone(), |waiting| format!("{why}: {waiting}"));
    // The end says what went wrong.
    let log = log.replace('\n', " | ");
    let from = log.char_indices().rev().nth(MOST_EVIDENCE - 1).map_or(0, |(at, _)| at);
    Ok(TestResult::Failed(if log.is_empty() { why } else { format!("{why}: {}", &log[from..]) }))
}

/// The end of the newest pod's log, and what its containers wait for. Best effort: a verdict never depends on it.
async fn evidence(wire: &dyn Wire, namespace: &str, test: &JobTest<'_>) -> (String, Option<String>) {
    let doing = test.doing();
    let pods = format!("/api/v1/namespaces/{}/pods", encoded(namespace));
    let of = encoded(&format!("job-name={}", test.job_name()));
    let found = answer(wire, Ask::get(format!("{pods}?labelSelector={of}&limit=50")), &doing).await;
    let Ok(Some(found)) = found.and_then(|found| found.found(&doing)) else { return (String::new(), None) };
    let newest = list(&found, "/items").iter().max_by_key(|pod| text(pod, "/metadata/creationTimestamp"));
    let Some(pod) = newest else { return (String::new(), None) };
    let statuses = list(pod, "/status/containerStatuses");
    let waiting = statuses.iter().find_map(|status| {
        let reason = text(status, "/state/waiting/reason");
        (!reason.is_empty()).then(|| format!("{} ({})", shown(reason), shown(text(status, "/image"))))
    });
    // The container that failed, else the first one.
    let failed = statuses.iter().find(|status| status["state"]["terminated"]["exitCode"].as_i64().unwrap_or(0) != 0);
    let container = failed.or(statuses.first()).map(|status| text(status, "/name")).unwrap_or_default();
    let log = format!(
        "{pods}/{}/log?container={}&tailLines={}&limitBytes={}",
        encoded(name(pod)),
        encoded(container),
        LOG.0,
        LOG.1
    );
    match answer(wire, Ask::get(log).accepting("*/*"), &doing).await {
        Ok(answer) if answer.is_success() => (lines(&answer.body), waiting),
        _ => (String::new(), waiting),
    }
}

/// A log as plain lines: no control characters, no empty lines, each at most 300 characters.
fn lines(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let plain = |c: char| if c.is_control() || is_bidi_control(c) { ' ' } else { c };
    let line = |line: &str| line.chars().map(plain).take(300).collect::<String>().trim().to_owned();
    text.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Deletes the Jobs of a target's earlier tests: those that have finished an hour ago or more, and whose intention is not
/// outstanding. Tells how many. Their pods go with them.
///
/// # Errors
/// When the cluster cannot be reached or does not let us.
pub async fn clean_up(
    wire: &dyn Wire,
    namespace: &str,
    target: &TargetId,
    outstanding: &BTreeSet<Seq>,
    now: Timestamp,
) -> PortResult<usize> {
    let doing = format!("clearing away finished tests of {target}");
    let jobs = format!("/apis/batch/v1/namespaces/{}/jobs", encoded(namespace));
    let of = encoded(&format!("{TEST_LABEL}=job,{TARGET_LABEL}={}", target_label(target)));
    let found = answer(wire, Ask::get(format!("{jobs}?labelSelector={of}&limit=500")), &doing).await?;
    let Some(found) = found.found(&doing)? else { return Ok(0) };
    let mut deleted = 0;
    for job in list(&found, "/items").iter().filter(|job| is_due(job, target, outstanding, now)) {
        // Only this very Job, should another of its name be there by now.
        let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": { "uid": job["metadata"]["uid"] } });
        let gone = Ask::send(Method::Delete, format!("{jobs}/{}", encoded(name(job))), &options);
        let gone = answer(wire, gone, &doing).await?;
        match gone.status {
            200..=299 => deleted += 1,
            404 | 409 => {}
            _ => return Err(PortError::new(doing, gone.words())),
        }
    }
    Ok(deleted)
}

/// Whether a Job may go.
fn is_due(job: &Json, target: &TargetId, outstanding: &BTreeSet<Seq>, now: Timestamp) -> bool {
    let belongs = annotation(job, INTENTION).and_then(|belongs| belongs.rsplit_once(' '));
    let Some((of, intention)) = belongs else { return false };
    let Ok(intention) = intention.parse::<u64>() else { return false };
    let ended = list(job, "/status/conditions")
        .iter()
        .filter(|condition| matches!(text(condition, "/type"), "Complete" | "Failed"))
        .filter_map(|condition| text(condition, "/lastTransitionTime").parse::<jiff::Timestamp>().ok())
        .filter_map(|at| u64::try_from(at.as_millisecond()).ok())
        .max();
    of == target.to_string()
        && label(job, TEST_LABEL) == Some("job")
        && !outstanding.contains(&Seq(intention))
        && is_finished(job)
        && ended.is_some_and(|ended| ended.saturating_add(KEPT.0) <= now.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use insta::assert_snapshot;

    use super::*;
    use crate::backup::wire::{Answer, NoAnswer};
    use crate::backup::yaml_write::yaml;

    fn cronjob(suspend: bool) -> Json {
        json!({ "metadata": { "name": "load-test" }, "spec": { "suspend": suspend, "schedule": "0 0 1 1 *", "jobTemplate": { "spec": {
            "ttlSecondsAfterFinished": 5, "backoffLimit": 1,
            "template": { "spec": { "restartPolicy": "Never", "containers": [
                { "name": "k6", "image": "grafana/k6@sha256:aa", "env": [{ "name": "BASE", "value": "$(PORTCULLIS_URL_WEB)" }] } ] } },
        } } } })
    }

    fn with<T>(go: impl FnOnce(&JobTest<'_>) -> T) -> T {
        let (target, template) = ("shop/production".parse().unwrap(), ObjectName::new("load-test").unwrap());
        let against =
            BTreeMap::from([(ServiceName::new("web").unwrap(), (Colour::Green, "http://web-green.shop".to_owned()))]);
        go(&JobTest {
            target: &target,
            intention: Seq(41),
            test: "load",
            template: &template,
            within: Millis::minutes(3),
            against,
        })
    }

    #[test]
    fn a_job_is_its_template_with_a_name_a_limit_and_where_to_ask() {
        let job = with(|test| from_template(&cronjob(true), test).unwrap());
        assert_snapshot!(yaml(&job), @r#"
        apiVersion: batch/v1
        kind: Job
        metadata:
          annotations:
            portcullis.dev/test-intention: "shop/production 41"
            portcullis.dev/test-name: load
          labels:
            app.kubernetes.io/managed-by: portcullis
            portcullis.dev/target: "903fef0d55"
            portcullis.dev/test: job
          name: pc-load-test-903fef0d55-41
        spec:
          activeDeadlineSeconds: 180
          backoffLimit: 1
          template:
            metadata:
              labels:
                app.kubernetes.io/managed-by: portcullis
                portcullis.dev/target: "903fef0d55"
                portcullis.dev/test: job
            spec:
              containers:
              - env:
                - name: PORTCULLIS_TARGET
                  value: shop/production
                - name: PORTCULLIS_TEST
                  value: load
                - name: PORTCULLIS_COLOUR_WEB
                  value: green
                - name: PORTCULLIS_URL_WEB
                  value: http://web-green.shop
                - name: BASE
                  value: "$(PORTCULLIS_URL_WEB)"
                image: grafana/k6@sha256:aa
                name: k6
              restartPolicy: Never
        "#);
    }

    #[test]
    fn a_template_that_runs_by_itself_is_refused() {
        let why = with(|test| from_template(&cronjob(false), test).unwrap_err());
        assert!(why.contains("spec.suspend: true"), "{why}");
    }

    /// A cluster with one CronJob and the Jobs that were created.
    struct Cluster {
        jobs: Mutex<BTreeMap<String, Json>>,
        log: &'static str,
        deleted: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Wire for Cluster {
        async fn ask(&self, ask: Ask) -> Result<Answer, NoAnswer> {
            let path = ask.path.split('?').next().unwrap().to_owned();
            let found = |body: &Json| Answer { status: 200, body: body.to_string().into_bytes() };
            let mut jobs = self.jobs.lock().unwrap();
            let answer = match (ask.method, path.as_str()) {
                (Method::Get, path) if path.ends_with("/cronjobs/load-test") => found(&cronjob(true)),
                (Method::Get, path) if path.ends_with("/log") => Answer { status: 200, body: self.log.into() },
                (Method::Get, path) if path.ends_with("/pods") => found(&json!({ "items": [{
                    "metadata": { "name": "p", "creationTimestamp": "2026" },
                    "status": { "containerStatuses": [{ "name": "k6", "image": "grafana/k6", "state": { "waiting": { "reason": "ErrImagePull" } } }] } }] })),
                (Method::Get, path) if path.ends_with("/jobs") => {
                    found(&json!({ "items": jobs.values().collect::<Vec<_>>() }))
                }
                (Method::Get, path) => match jobs.get(path.rsplit('/').next().unwrap()) {
                    Some(job) => found(job),
                    None => Answer { status: 404, body: Vec::new() },
                },
                (Method::Create, _) => {
                    let job: Json = serde_json::from_slice(&ask.body).unwrap();
                    jobs.insert(name(&job).to_owned(), job);
                    Answer { status: 201, body: b"{}".to_vec() }
                }
                (Method::Delete, path) => {
                    let name = path.rsplit('/').next().unwrap().to_owned();
                    jobs.remove(&name);
                    self.deleted.lock().unwrap().push(name);
                    found(&json!({}))
                }
                _ => Answer { status: 405, body: Vec::new() },
            };
            Ok(answer)
        }
    }

    fn cluster(log: &'static str) -> Cluster {
        Cluster { jobs: Mutex::default(), log, deleted: Mutex::default() }
    }

    async fn ran(cluster: &Cluster) -> TestResult {
        let (target, template) = ("shop/production".parse().unwrap(), ObjectName::new("load-test").unwrap());
        let test = JobTest {
            target: &target,
            intention: Seq(41),
            test: "load",
            template: &template,
            within: Millis::minutes(3),
            against: BTreeMap::new(),
        };
        run(cluster, "shop", &test).await.unwrap()
    }

    fn finish(cluster: &Cluster, kind: &str, reason: &str) {
        for job in cluster.jobs.lock().unwrap().values_mut() {
            job["status"]["conditions"] = json!([{ "type": kind, "status": "True", "reason": reason,
                "lastTransitionTime": "2026-11-21T08:00:00Z" }]);
        }
    }

    #[tokio::test]
    async fn a_repeat_finds_the_job_that_runs_and_its_log_is_the_evidence() {
        let cluster = cluster("\nchecks: 100%\n\u{1b}[32mall thresholds passed\n\n");
        assert_eq!(ran(&cluster).await, TestResult::Running);
        assert_eq!(ran(&cluster).await, TestResult::Running);
        assert_eq!(cluster.jobs.lock().unwrap().len(), 1, "one Job, however often it is asked for");
        finish(&cluster, "Complete", "");
        assert_eq!(ran(&cluster).await, TestResult::Passed("[32mall thresholds passed".into()));
    }

    #[tokio::test]
    async fn a_failure_tells_why_with_the_end_of_the_log() {
        let cluster = cluster("starting\nError: p95 was 912 ms\n");
        ran(&cluster).await;
        finish(&cluster, "Failed", "DeadlineExceeded");
        assert_eq!(
            ran(&cluster).await,
            TestResult::Failed(
                "not done within 3m: ErrImagePull (grafana/k6): starting | Error: p95 was 912 ms".into()
            )
        );
    }

    #[tokio::test]
    async fn a_job_of_somebody_else_is_not_taken_for_the_test() {
        let cluster = cluster("");
        ran(&cluster).await;
        for job in cluster.jobs.lock().unwrap().values_mut() {
            job["metadata"]["annotations"] = json!({});
        }
        assert!(matches!(ran(&cluster).await, TestResult::Failed(why) if why.contains("nobody's")));
    }

    #[tokio::test]
    async fn only_finished_tests_of_settled_intentions_are_cleared_away_and_not_at_once() {
        let cluster = cluster("");
        ran(&cluster).await;
        let target: TargetId = "shop/production".parse().unwrap();
        let at =
            |time: &str| Timestamp(u64::try_from(time.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap());
        let (soon, late) = (at("2026-11-21T08:30:00Z"), at("2026-11-21T09:00:00Z"));
        let none = BTreeSet::new();
        assert_eq!(clean_up(&cluster, "shop", &target, &none, late).await.unwrap(), 0, "it still runs");
        finish(&cluster, "Failed", "BackoffLimitExceeded");
        assert_eq!(
            clean_up(&cluster, "shop", &target, &none, soon).await.unwrap(),
            0,
            "its outcome may not be recorded"
        );
        let outstanding = BTreeSet::from([Seq(41)]);
        assert_eq!(clean_up(&cluster, "shop", &target, &outstanding, late).await.unwrap(), 0, "it is outstanding");
        assert_eq!(clean_up(&cluster, "shop", &target, &none, late).await.unwrap(), 1);
        assert_eq!(*cluster.deleted.lock().unwrap(), ["pc-load-test-903fef0d55-41"]);
    }

    #[test]
    fn a_name_fits_a_label_however_long_its_parts() {
        let (target, template) = (
            format!("{}/{}", "a".repeat(63), "b".repeat(63)).parse().unwrap(),
            ObjectName::new(&"c".repeat(63)).unwrap(),
        );
        let test = JobTest {
            target: &target,
            intention: Seq(u64::MAX),
            test: "t",
            template: &template,
            within: Millis::minutes(1),
            against: BTreeMap::new(),
        };
        assert!(test.job_name().len() <= 63, "{}", test.job_name());
    }
}
