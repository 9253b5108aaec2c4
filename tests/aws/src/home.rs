//! Applications that are released in a test, and what is there before Portcullis comes: their images in the emulator's
//! ECR, an alarm each, and a first version that serves on a local cluster.
//!
//! The local cluster's pods live in the process of `run-release`: they answer while it runs, and are started again with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_cloudwatch::types::{ComparisonOperator, StateValue, Statistic};
use aws_sdk_ecr::types::ImageIdentifier;
use portcullis_domain::action::{ObjectKey, Part};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{ServiceName, TargetId};
use portcullis_domain::policy::Colour;
use portcullis_embedded::local::{Build, LocalCluster, LocalOptions};
use portcullis_tests::samples::{self, alarm_at, sample};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::emulator::Emulator;
use crate::resources::REGION;
use crate::stack::ACCOUNT;

/// The one service of every application.
pub const SERVICE: &str = "web";
/// Who may let a release go on.
pub const PERSON: &str = "kofi";
/// The tag that moves to every image that is to be released.
pub const MOVING: &str = "main-latest";
/// The version that serves before Portcullis comes.
pub const BASELINE: &str = "v1";
/// How long a release's whole life may take on a machine that has a lot else to do.
pub const LIFE: Duration = Duration::from_mins(5);

/// How an application's releases are watched and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// How long a watch is.
    pub watch: &'static str,
    /// The length of its windows.
    pub every: &'static str,
    /// How long it goes on without traffic before a person is asked.
    pub extend: &'static str,
    /// How long a live release may be rolled back by itself.
    pub window: &'static str,
    /// How long the old colour stays up after it went live.
    pub keep_old: &'static str,
}

impl Style {
    /// A release goes live soon, and may be rolled back for an hour.
    pub const OPEN: Self = Self { watch: "1s", every: "500ms", extend: "500ms", window: "1h", keep_old: "1s" };
    /// The same for seconds: what is over is soon no work for anybody.
    pub const CLOSES: Self = Self { every: "1s", window: "15s", ..Self::OPEN };
    /// It is watched on until an alarm rings.
    pub const WATCHED: Self = Self { watch: "1h", extend: "1h", ..Self::OPEN };
    /// The same, with windows that no machine is too slow for.
    pub const SLOW: Self = Self { every: "5s", ..Self::WATCHED };
}

/// One image of an application's service.
#[derive(Debug, Clone)]
pub struct Image {
    /// The application.
    pub application: String,
    /// The version it answers with.
    pub version: String,
    /// Its commit.
    pub commit: String,
    /// Its digest, as the registry says it.
    pub digest: Digest,
}

impl Image {
    /// What ECR sends when it was pushed, just now.
    pub fn push(&self) -> Value {
        let mut event = samples::push(&self.application, SERVICE, &self.digest, Some(&self.commit));
        here(&mut event);
        event
    }

    /// What ECR sends when its scan is complete: what the registry says of it too.
    pub fn scanned(&self) -> Value {
        let mut event = sample("ecr/image-scan-complete.json");
        here(&mut event);
        let (name, hex) = (repository(&self.application), self.digest.hex());
        event["id"] = json!(format!("scan-{hex}"));
        event["time"] = self.push()["time"].clone();
        event["resources"] = json!([format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}")]);
        event["detail"] = json!({
            "scan-status": "COMPLETE",
            "repository-name": name,
            "finding-severity-counts": { "HIGH": 1 },
            "image-digest": self.digest,
            "image-tags": [self.commit, MOVING],
        });
        event
    }
}

/// Applications on one local cluster.
pub struct Home {
    folder: TempDir,
    _emulator: Arc<Emulator>,
    ecr: aws_sdk_ecr::Client,
    cloudwatch: aws_sdk_cloudwatch::Client,
    applications: Vec<(String, Style)>,
    versions: std::sync::Mutex<BTreeMap<Digest, String>>,
}

impl Home {
    /// Makes these applications; each serves its first version.
    pub async fn new(applications: &[(String, Style)]) -> Self {
        let emulator = Emulator::moto();
        let clients = emulator.clients().await;
        let home = Self {
            folder: tempfile::Builder::new().prefix("portcullis-aws-test-").tempdir().unwrap(),
            ecr: aws_sdk_ecr::Client::new(clients.config()),
            cloudwatch: aws_sdk_cloudwatch::Client::new(clients.config()),
            _emulator: emulator,
            applications: applications.to_vec(),
            versions: std::sync::Mutex::default(),
        };
        let cluster = LocalCluster::start(LocalOptions::new(home.cluster())).await.unwrap();
        for (application, _) in applications {
            home.ecr.create_repository().repository_name(repository(application)).send().await.expect("a repository");
            let image = home.image(application, BASELINE).await;
            home.alarm(application, StateValue::Ok).await;
            let service = (ServiceName::new(SERVICE).unwrap(), image.digest, false, 2);
            cluster.apply_baseline(&target(application), &[service]).await.unwrap();
        }
        cluster.stop().await;
        home
    }

    /// The folder that the cluster's folder is in, as `portcullis-tests` looks into it.
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// The cluster's folder.
    pub fn cluster(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// The journal of effects that `run-release` writes if it is told to.
    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("boundaries")
    }

    /// What `run-release` needs in its environment to find the cluster, and to wait for no metrics: the emulator has
    /// them at once.
    pub fn driver(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        [("LOCAL_CLUSTER", text(self.cluster())), ("SETTLE_MILLIS", "100".to_owned())]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }

    /// The same with a journal of effects, at one of which it may be killed.
    pub fn mortal_driver(&self) -> Vec<(String, String)> {
        let mut driver = self.driver();
        driver.push(("DIE_AT_FILE".to_owned(), self.journal().to_string_lossy().into_owned()));
        driver
    }

    /// The policies of all applications, one file each.
    pub fn policies(&self) -> Vec<(String, String)> {
        let file = |(name, style): &(String, Style)| (format!("{name}.yaml"), policy(name, *style));
        self.applications.iter().map(file).collect()
    }

    /// Pushes a version, which is scanned at once; nobody is told.
    pub async fn push(&self, application: &str, version: &str) -> Image {
        let image = self.image(application, version).await;
        self.scan(&image).await;
        image
    }

    /// Pushes a version; nobody has scanned it, and nobody is told.
    pub async fn image(&self, application: &str, version: &str) -> Image {
        let commit = Digest::of(format!("{application} {version}").as_bytes()).hex()[..40].to_owned();
        let layer = Digest::of(format!("the layer of {application} {version}").as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": layer, "size": 48_200_000 },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 48_200_000 }],
        });
        for tag in [commit.as_str(), MOVING] {
            self.ecr
                .put_image()
                .repository_name(repository(application))
                .image_tag(tag)
                .image_manifest(manifest.to_string())
                .send()
                .await
                .expect("putting an image");
        }
        // The emulator's digests are not those of the manifests: what it says is what counts.
        let by_tag = ImageIdentifier::builder().image_tag(&commit).build();
        let asked = self.ecr.describe_images().repository_name(repository(application)).image_ids(by_tag);
        let told = asked.send().await.expect("reading an image");
        let digest: Digest = told.image_details()[0].image_digest().unwrap().parse().unwrap();
        self.build(&digest, &Build::new(version));
        self.versions.lock().unwrap().insert(digest, version.to_owned());
        Image { application: application.to_owned(), version: version.to_owned(), commit, digest }
    }

    /// Scans an image: the emulator finds one thing of severity high in each.
    pub async fn scan(&self, image: &Image) {
        let id = ImageIdentifier::builder().image_digest(image.digest.to_string()).build();
        let scan = self.ecr.start_image_scan().repository_name(repository(&image.application)).image_id(id);
        scan.send().await.expect("scanning an image");
    }

    /// Puts the application's alarm into a state, as CloudWatch would by itself; it sends no event.
    pub async fn alarm(&self, application: &str, state: StateValue) {
        let name = alarm(application);
        let there = self.cloudwatch.describe_alarms().alarm_names(&name).send().await.expect("looking for an alarm");
        if there.metric_alarms().is_empty() {
            self.cloudwatch
                .put_metric_alarm()
                .alarm_name(&name)
                .namespace("AWS/ApplicationELB")
                .metric_name("HTTPCode_Target_5XX_Count")
                .statistic(Statistic::Sum)
                .period(60)
                .evaluation_periods(1)
                .threshold(5.0)
                .comparison_operator(ComparisonOperator::GreaterThanThreshold)
                .send()
                .await
                .expect("making an alarm");
        }
        let set = self.cloudwatch.set_alarm_state().alarm_name(&name).state_value(state);
        set.state_reason("by the test").send().await.expect("setting an alarm");
    }

    /// The version that gets the requests of an application, by the cluster's own files.
    pub fn serving(&self, application: &str) -> Option<String> {
        let digest = portcullis_tests::installation::serving(self.data(), application, SERVICE)?;
        self.versions.lock().unwrap().get(&digest).cloned()
    }

    /// How often an object of an application was changed, its creation counted.
    pub fn changes(&self, application: &str, object: &ObjectKey) -> u64 {
        let name = match object.part {
            Part::Workload(colour) => format!("deployment-{}-{colour}", object.service),
            Part::Traffic => format!("service-{}", object.service),
        };
        let file = self.cluster().join(format!("objects/{application}/production/{name}.json"));
        let Ok(bytes) = fs::read(file) else { return 0 };
        let stored: Value = serde_json::from_slice(&bytes).unwrap();
        stored["object"]["version"].as_u64().unwrap()
    }

    /// Says what an image does when it runs.
    pub fn build(&self, digest: &Digest, build: &Build) {
        let folder = self.cluster().join("images");
        fs::create_dir_all(&folder).unwrap();
        let unfinished = self.folder.path().join(format!("build-{}", digest.hex()));
        fs::write(&unfinished, serde_json::to_vec(build).unwrap()).unwrap();
        // In one step, so that a running cluster never reads half of it.
        fs::rename(unfinished, folder.join(format!("{}.json", digest.hex()))).unwrap();
    }
}

/// The environment of an application.
pub fn target(application: &str) -> TargetId {
    format!("{application}/production").parse().unwrap()
}

/// The objects of an application, with how often each was changed before Portcullis came.
pub fn objects() -> [(ObjectKey, u64); 3] {
    let service = ServiceName::new(SERVICE).unwrap();
    [
        (ObjectKey::workload(&service, Colour::Blue), 1),
        (ObjectKey::workload(&service, Colour::Green), 0),
        (ObjectKey::traffic(&service), 1),
    ]
}

/// The alarm of an application.
pub fn alarm(application: &str) -> String {
    format!("{application}-errors")
}

/// What CloudWatch sends when the alarm of an application rings, now.
pub fn rings(application: &str) -> Value {
    let mut event = alarm_at(sample("cloudwatch/alarm-eventbridge-metric.json"), jiff::Timestamp::now());
    here(&mut event);
    let name = alarm(application);
    let id = event["id"].as_str().unwrap_or_default().to_owned();
    event["id"] = json!(format!("{id}-{name}"));
    event["resources"] = json!([format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}")]);
    event["detail"]["alarmName"] = json!(name);
    event
}

fn here(event: &mut Value) {
    event["account"] = json!(ACCOUNT);
    event["region"] = json!(REGION);
}

fn repository(application: &str) -> String {
    format!("{application}/{SERVICE}")
}

fn policy(application: &str, style: Style) -> String {
    let Style { watch, every, extend, window, keep_old } = style;
    format!(
        "\
portcullis: 1
application: {application}
registry: {ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{application}
tags: [\"{{sha}}\"]

services:
  {SERVICE}: {{}}

environments:
  production:
    mode: deploy
    account: \"{ACCOUNT}\"
    region: {REGION}
    cluster: local
    namespace: {application}
    moving_tag: {MOVING}
    strategy: blue-green
    verify: [smoke]
    backup: {{ keep: 1d }}
    gates:
      scan: {{ critical: block, settle: 0s }}
    watch:
      for: {watch}
      every: {every}
      extend: {extend}
      alarms: {{ roll_back: [{alarm}] }}
    roll_back: {{ window: {window}, keep_old: {keep_old} }}
    limits: {{ look: 1s, ready: 2m, write: 2m, backup: 2m }}

tests:
  smoke: {{ http: [GET /health], within: 2m }}

people:
  {PERSON}: {{ github: {PERSON}-m }}
",
        alarm = alarm(application),
    )
}
