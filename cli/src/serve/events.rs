//! `POST /events`: authenticated first, then read, then in the ledger, and only then acknowledged.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use portcullis_domain::names::TargetId;
use portcullis_domain::route;
use portcullis_domain::signal::{Fact, FactKind};
use portcullis_ingest::Read;

use super::http::{App, Failure, Shared};
use super::token::bearer;
use crate::api::EventAnswer;

/// A body that is too large is still read so far, and thrown away: a sender that is cut off while it sends never reads
/// why. Bytes.
const MOST_DRAINED: usize = 64 * portcullis_ingest::MAX_BODY;

/// Takes one event.
pub(crate) async fn post(State(app): Shared, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    if !bearer(&headers).is_some_and(|token| app.events_tokens.accepts(&token)) {
        app.counters.event("unknown", "unauthorized");
        return Err(Failure::unauthorized("this is not the events' token"));
    }
    let body = whole(body).await.inspect_err(|_| app.counters.event("unknown", "malformed"))?;
    let facts = match portcullis_ingest::read(&body) {
        Err(malformed) => {
            app.counters.event("unknown", "malformed");
            tracing::warn!(field = malformed.field, why = malformed.why, "an event was malformed");
            return Err(Failure::malformed(malformed.field, malformed.why));
        }
        Ok(Read::Ignored { kind, reason }) => {
            app.counters.event(&kind, "ignored");
            tracing::info!(kind, reason, "an event was ignored");
            return Ok(ignored(reason));
        }
        Ok(Read::Facts(facts)) => facts,
    };
    // All of it is checked before any of it is recorded.
    for fact in &facts {
        is_ours(&app, fact)?;
    }
    let mut targets: Vec<TargetId> = Vec::new();
    for fact in &facts {
        targets.extend(record(&app, fact).await?);
    }
    targets.sort();
    targets.dedup();
    if targets.is_empty() {
        return Ok(ignored("it concerns no environment of any policy".to_owned()));
    }
    Ok((StatusCode::OK, Json(EventAnswer::Targets(targets))).into_response())
}

/// The whole body, unless it is larger than an event may be.
async fn whole(mut body: Body) -> Result<BytesMut, Failure> {
    let mut whole = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Failure::new(StatusCode::BAD_REQUEST, "the body could not be read to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size <= portcullis_ingest::MAX_BODY {
            whole.extend_from_slice(&data);
        } else if size > MOST_DRAINED {
            break;
        }
    }
    if size > portcullis_ingest::MAX_BODY {
        let words = format!("the event is larger than {} bytes", portcullis_ingest::MAX_BODY);
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, words));
    }
    Ok(whole)
}

/// The environments in whose ledgers the fact is.
async fn record(app: &App, fact: &Fact) -> Result<Vec<TargetId>, Failure> {
    let kind = kind(fact);
    match app.recorder.ingest(fact).await {
        Ok(ingested) => {
            let result = match (ingested.targets.is_empty(), ingested.already_done) {
                (true, _) => "ignored",
                (_, true) => "repeated",
                _ => "recorded",
            };
            app.counters.event(kind, result);
            let events: usize = ingested.targets.iter().map(|(_, events)| events).sum();
            tracing::info!(kind, delivery = %fact.delivery, result, events, "an event was taken");
            Ok(ingested.targets.into_iter().map(|(target, _)| target).collect())
        }
        Err(error) => {
            app.counters.event(kind, "failed");
            tracing::error!(kind, delivery = %fact.delivery, %error, "an event could not be recorded");
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, format!("not recorded, send it again: {error}")))
        }
    }
}

fn ignored(reason: String) -> Response {
    (StatusCode::ACCEPTED, Json(EventAnswer::Ignored(reason))).into_response()
}

/// Whether the policies know the account and region that the fact came from.
fn is_ours(app: &App, fact: &Fact) -> Result<(), Failure> {
    let Some(account) = &fact.account else { return Ok(()) };
    let region = fact.region.as_deref();
    if route::knows_account(&app.ports.policies.all(), account, region) {
        return Ok(());
    }
    app.counters.event(kind(fact), "foreign");
    let place = region.map_or_else(|| account.clone(), |region| format!("{account} in {region}"));
    tracing::warn!(account, region, kind = kind(fact), "an event came from an account that no policy knows");
    Err(Failure::new(StatusCode::FORBIDDEN, format!("no policy knows the account {place}; nothing was recorded")))
}

fn kind(fact: &Fact) -> &'static str {
    match &fact.kind {
        FactKind::ImagePushed { .. } => "image pushed",
        FactKind::ImageDeleted { .. } => "image deleted",
        FactKind::ScanReported { .. } => "scan reported",
        FactKind::ScanFrequencyChanged { .. } => "scan frequency changed",
        FactKind::AlarmChanged { .. } => "alarm changed",
    }
}
