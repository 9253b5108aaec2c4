//! What is read: health, metrics, environments, releases.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use portcullis_domain::names::{ReleaseId, TargetId};
use portcullis_domain::time::Timestamp;
use serde::Deserialize;

use super::http::{App, Failure, Person, Shared};
use super::metrics;
use crate::api::{ReleaseDetail, ReleaseSummary, State as ReleaseState, StopAt, TargetSummary};

/// `GET /healthz`: 200 if the ledger can be read.
pub(crate) async fn health(State(app): Shared) -> Result<Response, Failure> {
    app.ports.ledger.next_release().await.map_err(|error| Failure::unavailable(&error))?;
    Ok((StatusCode::OK, "ok\n").into_response())
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): Shared) -> Result<Response, Failure> {
    let now = app.ports.clock.now();
    let overdue = oldest_overdue(&app, now).await?;
    let text = app.library.folds(|folds| metrics::render(&app.counters, folds.values(), overdue, now)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn oldest_overdue(app: &App, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    let failed = |error| Failure::unavailable(&error);
    let mut oldest = None;
    for target in app.ports.ledger.overdue(now).await.map_err(failed)? {
        let head = app.ports.ledger.head(&target).await.map_err(failed)?;
        oldest = oldest.into_iter().chain(head.and_then(|head| head.wake_at)).min();
    }
    Ok(oldest)
}

/// `GET /api/targets`.
pub(crate) async fn targets(State(app): Shared, _: Person) -> Result<Json<Vec<TargetSummary>>, Failure> {
    Ok(Json(app.library.targets(app.ports.clock.now()).await?))
}

/// What releases are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    target: Option<String>,
    state: Option<String>,
}

/// `GET /api/releases[?target=APP/ENV&state=STATE]`, newest first.
pub(crate) async fn releases(
    State(app): Shared,
    _: Person,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<ReleaseSummary>>, Failure> {
    let Query(wanted) = wanted.map_err(|error| Failure::malformed("query", error.body_text()))?;
    let target = wanted.target.map(|text| text.parse::<TargetId>()).transpose();
    let target = target.map_err(|error| Failure::malformed("target", error.to_string()))?;
    let state = wanted.state.map(|name| {
        ReleaseState::of_name(&name).ok_or_else(|| Failure::malformed("state", format!("{name:?} is no state")))
    });
    Ok(Json(app.library.releases(target.as_ref(), state.transpose()?).await?))
}

/// `GET /api/releases/{id}`: state, gates with their evidence, plan, ledger.
pub(crate) async fn release(
    State(app): Shared,
    _: Person,
    Path(id): Path<String>,
) -> Result<Json<ReleaseDetail>, Failure> {
    let missing = || Failure::not_found(format!("there is no release {}", crate::show::text::safe(&id)));
    let number: u64 = id.parse().map_err(|_| missing())?;
    app.library.release(ReleaseId(number)).await?.map(Json).ok_or_else(missing)
}

/// `GET /api/scopes`: the stops in force.
pub(crate) async fn scopes(State(app): Shared, _: Person) -> Result<Json<Vec<StopAt>>, Failure> {
    Ok(Json(app.library.stops(app.ports.clock.now()).await?))
}
