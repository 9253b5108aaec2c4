//! What signed-in people ask for: commands to an environment, and stops.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use portcullis_domain::names::{AppName, EnvName, Subject, TargetId};

use super::http::{Failure, Person, Shared};
use crate::acting::{self, Acted};
use crate::api::{Answered, Ask, StopAsk, StopAt};

/// `POST /api/targets/{app}/{env}/commands`: 200 with what was recorded, 409 with why it was refused.
pub(crate) async fn command(
    State(app): Shared,
    Person(who): Person,
    Path(path): Path<(String, String)>,
    ask: Result<Json<Ask>, JsonRejection>,
) -> Result<Json<Answered>, Failure> {
    let target = target(&path)?;
    let ask = body(ask)?;
    match acting::command(&app.recorder, &target, &who, ask).await? {
        Acted::Done(answered) => {
            app.counters.command("accepted");
            tracing::info!(%target, %who, recorded = ?answered.recorded, "a command was carried out");
            Ok(Json(answered))
        }
        Acted::Refused(why) => {
            app.counters.command("refused");
            tracing::info!(%target, %who, why, "a command was refused");
            Err(Failure::new(StatusCode::CONFLICT, why))
        }
        Acted::Malformed(why) => Err(Failure::malformed("reason", why)),
    }
}

/// `POST /api/scopes`: puts a stop on a scope, or lifts it.
pub(crate) async fn scope(
    State(app): Shared,
    Person(who): Person,
    ask: Result<Json<StopAsk>, JsonRejection>,
) -> Result<Json<Option<StopAt>>, Failure> {
    let ask = body(ask)?;
    known(&app, &who)?;
    let scope = ask.scope.clone();
    let now = app.ports.clock.now();
    let stop = acting::stop(&app.recorder, &who, ask, now).await?.map_err(|why| Failure::malformed("reason", why))?;
    tracing::info!(%scope, %who, stopped = stop.is_some(), "a stop was set or lifted");
    Ok(Json(stop))
}

/// Only people that some policy speaks of may stop releases, or give manifests.
pub(super) fn known(app: &super::http::App, who: &Subject) -> Result<(), Failure> {
    let speaks = acting::is_known(&app.ports.policies.all(), who);
    let words = || format!("{who} is in no policy; add them under people: or to a group");
    if speaks { Ok(()) } else { Err(Failure::new(StatusCode::CONFLICT, words())) }
}

pub(super) fn target((app, env): &(String, String)) -> Result<TargetId, Failure> {
    let wrong = |error: portcullis_domain::names::InvalidName| Failure::not_found(error.to_string());
    Ok(TargetId { app: AppName::new(app).map_err(wrong)?, env: EnvName::new(env).map_err(wrong)? })
}

fn body<T>(json: Result<Json<T>, JsonRejection>) -> Result<T, Failure> {
    match json {
        Ok(Json(body)) => Ok(body),
        Err(rejected) if rejected.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Failure::new(rejected.status(), "the command is too large"))
        }
        Err(rejected) => Err(Failure::malformed("body", rejected.body_text())),
    }
}
