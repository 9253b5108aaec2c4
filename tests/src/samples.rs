//! The sample events of `events/`, what its README says of each, and events made from them.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_domain::digest::Digest;
use serde_json::{Value, json};

/// One line of `events/README.md`.
#[derive(Debug, Clone)]
pub struct Line {
    /// `ecr/image-action-push.json`.
    pub file: String,
    /// `fact: …` or `ignored: …`.
    pub read_as: String,
}

impl Line {
    /// The reason why it is ignored, if it is.
    pub fn ignored(&self) -> Option<&str> {
        self.read_as.strip_prefix("ignored: ")
    }
}

/// The folder of sample events.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// The bytes of a sample.
pub fn bytes(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A sample.
pub fn sample(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

/// The names of all samples, sorted.
pub fn names() -> Vec<String> {
    let folders = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let mut names: Vec<String> =
        files.map(|file| file.strip_prefix(folder()).unwrap().to_string_lossy().replace('\\', "/")).collect();
    names.sort();
    names
}

/// The lines of the README's table.
pub fn lines() -> Vec<Line> {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).trim_matches('`')).collect();
        Line { file: cells[0].to_owned(), read_as: cells[2].to_owned() }
    })
    .collect()
}

/// A push as ECR tells it now: the sample with another repository, digest, tag, moment and delivery.
pub fn push(application: &str, service: &str, digest: &Digest, tag: Option<&str>) -> Value {
    let mut event = sample("ecr/image-action-push.json");
    event["id"] = json!(format!("push-{application}-{service}-{}", digest.hex()));
    event["time"] = json!(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let detail = event["detail"].as_object_mut().unwrap();
    detail["repository-name"] = json!(format!("{application}/{service}"));
    detail["image-digest"] = json!(digest);
    match tag {
        Some(tag) => detail["image-tag"] = json!(tag),
        None => drop(detail.remove("image-tag")),
    }
    event
}

/// The same alarm, in whichever wrapping, as if it had changed at this moment.
#[must_use]
pub fn alarm_at(mut event: Value, at: jiff::Timestamp) -> Value {
    let moment = json!(at.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string());
    if event["Message"].is_string() {
        let mut message: Value = serde_json::from_str(event["Message"].as_str().unwrap()).unwrap();
        message["StateChangeTime"] = moment;
        event["Message"] = json!(message.to_string());
    } else if event["alarmData"].is_object() {
        event["alarmData"]["state"]["timestamp"] = moment.clone();
        event["time"] = moment;
    } else {
        event["detail"]["state"]["timestamp"] = moment;
        event["time"] = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        event["id"] = json!(format!("alarm-{}", at.as_millisecond()));
    }
    event
}
