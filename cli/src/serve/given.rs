//! Manifests that come with a commit, given and listed by signed-in people (a pipeline's own among them).

use axum::Json;
use axum::extract::rejection::StringRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{CommitSha, InvalidName, ServiceName, TargetId};
use portcullis_engine::bundles::{self, NotGiven};
use portcullis_kubernetes::bundle::Bundle;

use super::commands::{known, target};
use super::http::{Failure, Person, Shared};
use crate::api::GivenManifests;

/// `GET /api/targets/{app}/{env}/manifests/{commit}`: what was given with a commit, or with the one that begins so.
pub(super) async fn list(
    State(app): Shared,
    Person(_): Person,
    Path((of, env, commit)): Path<(String, String, String)>,
) -> Result<Json<Vec<GivenManifests>>, Failure> {
    let target = target(&(of, env))?;
    let commit = CommitSha::new(&commit).map_err(|error| Failure::malformed("commit", error.to_string()))?;
    let found = bundles::of_commit(&*app.ports.blobs, &target, &commit).await;
    let found = found.map_err(|error| Failure::unavailable(&error))?;
    Ok(Json(GivenManifests::of(found)))
}

/// `PUT /api/targets/{app}/{env}/manifests/{commit}/{service}`: one service's manifests, as YAML. 200 also for those
/// that were given before; 409 for others.
pub(super) async fn give(
    State(app): Shared,
    Person(who): Person,
    Path((of, env, commit, service)): Path<(String, String, String, String)>,
    text: Result<String, StringRejection>,
) -> Result<Json<GivenManifests>, Failure> {
    known(&app, &who)?;
    let target = target(&(of, env))?;
    let named = |field: &'static str| move |error: InvalidName| Failure::malformed(field, error.to_string());
    let (commit, service) =
        (CommitSha::new(&commit).map_err(named("commit"))?, ServiceName::new(&service).map_err(named("service"))?);
    is_in_policy(&app, &target, &service)?;
    let text = text.map_err(|rejected| Failure::new(rejected.status(), rejected.body_text()))?;
    Bundle::parse(&text).map_err(|error| Failure::malformed("body", error.to_string()))?;
    let new = bundles::give(&*app.ports.blobs, &target, &commit, &service, &text).await.map_err(|why| match why {
        NotGiven::Shortened(_) => Failure::malformed("commit", why.to_string()),
        NotGiven::TooLarge { .. } => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, why.to_string()),
        NotGiven::Others { .. } => Failure::new(StatusCode::CONFLICT, why.to_string()),
        NotGiven::Store(error) => Failure::unavailable(&error),
    })?;
    tracing::info!(%target, %who, %commit, %service, new, "manifests were given with a commit");
    Ok(Json(GivenManifests { hash: Digest::of(text.as_bytes()), service, new: Some(new) }))
}

fn is_in_policy(app: &super::http::App, target: &TargetId, service: &ServiceName) -> Result<(), Failure> {
    let policy = app.ports.policies.get(target).ok_or_else(|| Failure::not_found(format!("no policy has {target}")))?;
    match policy.service(service) {
        Some(_) => Ok(()),
        None => Err(Failure::not_found(format!("the policy of {target} has no service {service}"))),
    }
}
