//! A data directory with what a test needs in it: policies, images with their builds and scans, commits, people, and
//! a baseline that serves before Portcullis comes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_domain::digest::Digest;
use portcullis_domain::facts::{AlarmState, ImageFact, ScanFact, ScanStatus};
use portcullis_domain::names::{AlarmName, CommitSha, Identity, Repository, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Severity};
use portcullis_domain::time::Timestamp;
use portcullis_embedded::local::{Build, LocalCluster, LocalOptions};
use portcullis_embedded::registry::FileRegistry;
use portcullis_embedded::source::{FileSource, SourceCommit};
use serde_json::Value;
use tempfile::TempDir;

use crate::binary;
use crate::policy::PolicyText;
use crate::samples;

/// The registry of every policy of these tests, and of the sample events.
pub const REGISTRY: &str = "444444444444.dkr.ecr.us-east-1.amazonaws.com";
/// Replicas of a service with traffic at the baseline; a worker has one.
const REPLICAS: u32 = 2;

/// A data directory, removed at the end of a test that passed.
pub struct Installation {
    folder: TempDir,
    policies: Vec<PathBuf>,
    registry: FileRegistry,
    source: FileSource,
}

/// One commit's images.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its id.
    pub sha: String,
    /// The version its builds answer with.
    pub version: String,
    /// The application.
    pub application: String,
    /// Its images by service.
    pub images: BTreeMap<String, Digest>,
}

impl Commit {
    /// The commit that an application's version is made from; its digests are its own.
    pub fn new(application: &str, version: &str, services: &[(String, bool)]) -> Self {
        let digest = |what: &str| Digest::of(format!("{application} {version} {what}").as_bytes());
        Self {
            sha: digest("commit").hex()[..40].to_owned(),
            version: version.to_owned(),
            application: application.to_owned(),
            images: services.iter().map(|(service, _)| (service.clone(), digest(service))).collect(),
        }
    }

    /// The events that ECR sends when its images are pushed now.
    pub fn pushes(&self) -> Vec<Value> {
        let events = self.images.iter();
        events.map(|(service, digest)| samples::push(&self.application, service, digest, Some(&self.sha))).collect()
    }
}

impl Installation {
    /// A new one with these policies, one file each.
    pub fn new(policies: &[&PolicyText]) -> Self {
        let folder = tempfile::Builder::new().prefix("portcullis-test-").tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let (registry, source) =
            (FileRegistry::new(&data.join("registry")).unwrap(), FileSource::new(&data.join("source")).unwrap());
        let mut installation = Self { folder, policies: Vec::new(), registry, source };
        for policy in policies {
            let file = installation.write_policy(policy);
            installation.policies.push(file);
        }
        installation
    }

    /// Writes a policy over the one of its application.
    pub fn write_policy(&self, policy: &PolicyText) -> PathBuf {
        let file = self.folder.path().join(format!("{}.yaml", policy.application));
        fs::write(&file, policy.render()).unwrap();
        file
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The policy files.
    pub fn policies(&self) -> &[PathBuf] {
        &self.policies
    }

    /// Makes a person's token.
    pub fn person(&self, name: &str) -> String {
        binary::person(&self.data(), name)
    }

    /// Lets a version serve before Portcullis comes, as somebody else deployed it. No server may run.
    pub async fn baseline(&self, policy: &PolicyText, version: &str) -> Commit {
        let commit = Commit::new(&policy.application, version, &policy.services);
        let cluster = LocalCluster::start(LocalOptions::new(self.data().join("cluster"))).await.unwrap();
        let mut services = Vec::new();
        for (service, worker) in &policy.services {
            let digest = commit.images[service];
            cluster.push_image(&digest, &Build::new(version)).unwrap();
            // What cannot be pulled is nothing to return to.
            self.image(&policy.application, service, &digest, &[]);
            let replicas = if *worker { 1 } else { REPLICAS };
            services.push((ServiceName::new(service).unwrap(), digest, *worker, replicas));
        }
        cluster.apply_baseline(&target(&policy.application), &services).await.unwrap();
        cluster.stop().await;
        commit
    }

    /// Says what the alarms of the sample events are. No server may run.
    pub async fn alarms_are_ok(&self) {
        let cluster = LocalCluster::start(LocalOptions::new(self.data().join("cluster"))).await.unwrap();
        for alarm in ["volteryde-prod-app-5xx", "volteryde-prod-app-error-rate", "volteryde-prod-app-health"] {
            let name = AlarmName::new(alarm).unwrap();
            // Long before anything that a test says of it.
            cluster.set_alarm(&name, AlarmState::Ok, Timestamp(1_000)).await.unwrap();
        }
        cluster.stop().await;
    }

    /// Commits to `main` and pushes the images, all of them this build with these findings; nobody is told.
    pub fn push(&self, commit: &Commit, parent: Option<&str>, build: &Build, counts: &[(Severity, u32)]) {
        self.commit(&commit.sha, parent, &["main"]);
        for (service, digest) in &commit.images {
            self.image(&commit.application, service, digest, &[&commit.sha]);
            self.scan(&commit.application, service, digest, counts);
            self.build(digest, build);
        }
    }

    /// Stores a commit, written by amara.
    pub fn commit(&self, sha: &str, parent: Option<&str>, branches: &[&str]) {
        let commit = SourceCommit {
            commit: CommitSha::new(sha).unwrap(),
            title: format!("Change {}", &sha[..7]),
            parent: parent.map(|parent| CommitSha::new(parent).unwrap()),
            branches: branches.iter().map(|branch| (*branch).to_owned()).collect(),
            people: BTreeSet::from([Identity::new("github:amara-o").unwrap()]),
            files: None,
            tree: None,
            forward_only: false,
        };
        self.source.put_commit(&commit).unwrap();
    }

    /// Puts an image into the registry.
    pub fn image(&self, application: &str, service: &str, digest: &Digest, tags: &[&str]) {
        let fact = ImageFact {
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            pushed_at: now(),
            size: Some(48_200_000),
        };
        self.registry.put_image(&repository(application, service), digest, &fact).unwrap();
    }

    /// Takes an image out of the registry.
    pub fn remove_image(&self, application: &str, service: &str, digest: &Digest) {
        assert!(self.registry.remove_image(&repository(application, service), digest).unwrap());
    }

    /// Says what the scan of an image found just now.
    pub fn scan(&self, application: &str, service: &str, digest: &Digest, counts: &[(Severity, u32)]) {
        let scan = ScanFact {
            status: ScanStatus::Complete,
            completed_at: Some(now()),
            counts: counts.iter().copied().collect(),
            findings: Vec::new(),
        };
        self.registry.put_scan(&repository(application, service), digest, &scan).unwrap();
    }

    /// Says what an image does when it runs.
    pub fn build(&self, digest: &Digest, build: &Build) {
        let folder = self.data().join("cluster/images");
        fs::create_dir_all(&folder).unwrap();
        let (file, unfinished) = (folder.join(format!("{}.json", digest.hex())), self.folder.path().join("build"));
        fs::write(&unfinished, serde_json::to_vec(build).unwrap()).unwrap();
        // In one step, so that a running cluster never reads half of it.
        fs::rename(unfinished, file).unwrap();
    }

    /// Where a service's requests go; none = the cluster has not said yet.
    pub fn address(&self, application: &str, service: &str) -> Option<SocketAddr> {
        address(&self.data(), application, service)
    }

    /// The digest whose pods get a service's requests (a worker: the one with pods), as the cluster has it.
    pub fn serving(&self, application: &str, service: &str) -> Option<Digest> {
        serving(&self.data(), application, service)
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("--- its data are left in {}", self.data().display());
        }
    }
}

/// Where a service's requests go, by the cluster's own files.
pub fn address(data: &Path, application: &str, service: &str) -> Option<SocketAddr> {
    let port = object(data, application, &format!("service-{service}"))?["port"].as_u64()?;
    Some(([127, 0, 0, 1], u16::try_from(port).ok()?).into())
}

/// The digest whose pods get a service's requests (a worker: the one with pods), by the cluster's own files.
pub fn serving(data: &Path, application: &str, service: &str) -> Option<Digest> {
    let workload = |colour: Colour| {
        let object = object(data, application, &format!("deployment-{service}-{colour}"))?;
        let workload = &object["value"]["workload"];
        let digest: Digest = workload["digest"].as_str()?.parse().ok()?;
        Some((digest, workload["replicas"].as_u64()?))
    };
    let served = if let Some(traffic) = object(data, application, &format!("service-{service}")) {
        match traffic["value"]["traffic"]["green"].as_u64()? {
            0 => workload(Colour::Blue),
            10_000 => workload(Colour::Green),
            share => panic!("{service} of {application} is left at {share} of 10,000"),
        }
    } else {
        let both = [Colour::Blue, Colour::Green].into_iter().filter_map(workload);
        let mut up = both.filter(|(_, replicas)| *replicas > 0);
        let one = up.next();
        assert!(up.next().is_none(), "both colours of the worker {service} of {application} have pods");
        one
    };
    served.map(|(digest, _)| digest)
}

fn object(data: &Path, application: &str, name: &str) -> Option<Value> {
    let file = data.join(format!("cluster/objects/{application}/production/{name}.json"));
    let stored: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    Some(stored["object"].clone())
}

/// The environment of these tests.
pub fn target(application: &str) -> TargetId {
    format!("{application}/production").parse().unwrap()
}

/// The repository of a service's images.
pub fn repository(application: &str, service: &str) -> Repository {
    Repository::new(&format!("{REGISTRY}/{application}/{service}")).unwrap()
}

/// Now.
pub fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap())
}
