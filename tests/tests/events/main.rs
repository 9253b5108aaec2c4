//! Every file of `events/`, posted to a running `serve`, does what its line in `events/README.md` says; whatever is
//! mangled is refused with a reason and changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should fail")]

mod alarms;
mod images;
mod mangled;
mod readme;

use portcullis_domain::digest::Digest;
use portcullis_domain::names::TargetId;
use portcullis_embedded::local::Build;
use portcullis_tests::api::{Answer, Api};
use portcullis_tests::installation::{Installation, target};
use portcullis_tests::ledger::Ledger;
use portcullis_tests::policy::{ALARMS, PolicyText};
use portcullis_tests::samples::{self, sample};
use portcullis_tests::server::Server;
use serde_json::{Value, json};

pub(crate) const APP: &str = "volteryde";
pub(crate) const NEST: &str = "nestjs-service";
pub(crate) const SPRING: &str = "springboot-service";
pub(crate) const WORKERS: &str = "temporal-workers";
pub(crate) const SERVICES: &[(&str, bool)] = &[(NEST, false), (SPRING, false), (WORKERS, true)];

/// The commit that the samples speak of.
pub(crate) const COMMIT: &str = "8f3c2a1b6d0e4f7792c5a8e31b04d6f9a7c2e510";

/// An installation of the application that the samples speak of, and its server.
pub(crate) struct Volteryde {
    pub(crate) home: Installation,
    pub(crate) server: Server,
    pub(crate) target: TargetId,
    pub(crate) api: Api,
    pub(crate) kofi_token: String,
}

pub(crate) fn digest_of(sample_name: &str) -> Digest {
    let event = sample(sample_name);
    let image = &event["detail"]["image-digest"];
    image.as_str().unwrap_or_else(|| panic!("{sample_name} names no image")).parse().unwrap()
}

/// The images that the samples speak of.
pub(crate) fn image_of(service: &str) -> Digest {
    match service {
        NEST => digest_of("ecr/image-action-push.json"),
        SPRING => digest_of("ecr/image-scan-failed.json"),
        WORKERS => digest_of("ecr/image-action-push-untagged.json"),
        other => panic!("{other}"),
    }
}

impl Volteryde {
    pub(crate) async fn open(policy: &PolicyText) -> Self {
        let home = Installation::new(&[policy]);
        home.baseline(policy, "v1").await;
        home.alarms_are_ok().await;
        let kofi_token = home.person("kofi");
        let server = Server::start(&home).await;
        Self { home, target: target(APP), api: server.api().with(&kofi_token), server, kofi_token }
    }

    /// Puts an image of the samples' commit into the registry, scanned without findings.
    pub(crate) fn image(&self, service: &str) {
        let digest = image_of(service);
        self.home.image(APP, service, &digest, &[COMMIT]);
        self.home.scan(APP, service, &digest, &[]);
        self.home.build(&digest, &Build::new("v2"));
    }

    pub(crate) fn commit(&self) {
        self.home.commit(COMMIT, None, &["main"]);
    }

    /// Tells of all images of the samples' commit, so that a release of it is complete.
    pub(crate) async fn push_all(&self) {
        self.commit();
        for (service, _) in SERVICES {
            self.image(service);
            let push = samples::push(APP, service, &image_of(service), Some(COMMIT));
            assert_eq!(self.api.event(&push).await.status, 200);
        }
    }

    /// A release of the samples' commit that waits for an approval, and for nothing else.
    pub(crate) async fn waiting(&self) -> Value {
        self.push_all().await;
        let release = self.api.until_asked(COMMIT).await;
        self.api.until_detail("it has looked at all it asked for", &release["id"], has_looked).await;
        self.api.until_asked(COMMIT).await
    }

    /// A release of the samples' commit that serves.
    pub(crate) async fn serving(&self) -> Value {
        self.push_all().await;
        self.api.until_state(COMMIT, "watching").await
    }

    pub(crate) async fn post(&self, name: &str) -> Answer {
        self.api.try_event(samples::bytes(name)).await.unwrap()
    }

    /// Posts what must be taken for the target of these tests.
    pub(crate) async fn taken(&self, event: &Value) {
        let answer = self.api.event(event).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "targets": ["volteryde/production"] })), "{event}");
    }

    /// The ledger's end.
    pub(crate) async fn end(&self) -> u64 {
        Ledger::open(self.server.data()).ends().await.get(&self.target).map_or(0, |seq| seq.0)
    }

    /// The end of the ledger, and what the API shows of everything.
    pub(crate) async fn all(&self) -> Value {
        let releases = self.api.read("/api/releases").await;
        let details = match releases[0]["id"].as_u64() {
            Some(id) => self.api.release(&json!(id)).await,
            None => Value::Null,
        };
        json!([self.end().await, self.api.targets().await, releases, details, self.api.read("/api/scopes").await])
    }
}

/// Looked at again only on a hint, so that whatever changes, a hint did it.
pub(crate) fn policy() -> PolicyText {
    let mut policy = PolicyText::new(APP, SERVICES).looks_on_hints_only();
    policy.watch.push(ALARMS.to_owned());
    policy
}

/// Whether nothing is left to be looked at: the first look finds what is live, whose images a second one asks for.
pub(crate) fn has_looked(detail: &Value) -> bool {
    let events = detail["ledger"].as_array().map_or(&[][..], Vec::as_slice);
    let asked = events.iter().rposition(|event| event["intention"]["action"].get("look").is_some());
    asked < events.iter().rposition(|event| event["event"] == "facts_read")
}

pub(crate) fn verdict(detail: &Value, gate: &str) -> Value {
    let gates = detail["gates"]["gates"].as_array().into_iter().flatten();
    gates.into_iter().find(|one| one["gate"] == gate).map_or(Value::Null, |one| one["verdict"].clone())
}
