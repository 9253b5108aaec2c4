//! The HTTP API: its routes, who may call them, and how errors are answered.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use portcullis_domain::names::Subject;
use portcullis_embedded::people::People;
use portcullis_engine::bundles;
use portcullis_engine::ports::Ports;
use portcullis_engine::recorder::{RecordError, Recorder};

use super::metrics::Counters;
use super::token::{EventsTokens, bearer};
use super::{commands, events, given, reading};
use crate::api::ErrorAnswer;
use crate::view::Library;

/// A person's command is never larger than this. Bytes.
const MOST_COMMAND: usize = 16 * 1024;

/// What every handler has.
pub(crate) struct App {
    /// The ports.
    pub(crate) ports: Ports,
    /// Puts signals into ledgers.
    pub(crate) recorder: Recorder,
    /// Reads them.
    pub(crate) library: Library,
    /// Whose token is whose.
    pub(crate) people: Arc<People>,
    /// The tokens events come with.
    pub(crate) events_tokens: EventsTokens,
    /// What is counted.
    pub(crate) counters: Arc<Counters>,
}

/// Shared by all requests.
pub(crate) type Shared = axum::extract::State<Arc<App>>;

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/events", post(events::post))
        .route("/healthz", get(reading::health))
        .route("/metrics", get(reading::metrics))
        .route("/api/targets", get(reading::targets))
        .route("/api/releases", get(reading::releases))
        .route("/api/releases/{id}", get(reading::release))
        .route("/api/scopes", get(reading::scopes).post(commands::scope))
        .route("/api/targets/{app}/{env}/commands", post(commands::command))
        .route("/api/targets/{app}/{env}/manifests/{commit}", get(given::list))
        .route(
            "/api/targets/{app}/{env}/manifests/{commit}/{service}",
            // One byte more is taken, so that what is too large is refused in words.
            put(given::give).layer(DefaultBodyLimit::max(bundles::MOST_BYTES + 1)),
        )
        .fallback(|| async { Failure::not_found("there is nothing here; the API begins at /api/releases") })
        .method_not_allowed_fallback(|| async {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this address takes another method")
        })
        .layer(DefaultBodyLimit::max(MOST_COMMAND))
        .layer(axum::middleware::map_response(harden))
        .with_state(app)
}

/// Nothing here is ever to be stored or guessed at by what is between.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// The signed-in person of a request: whoever's token it carries.
pub(crate) struct Person(pub(crate) Subject);

impl FromRequestParts<Arc<App>> for Person {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let Some(token) = bearer(&parts.headers) else {
            return Err(Failure::unauthorized(
                "a person's token is wanted, as Authorization: Bearer; `portcullis person add NAME` makes one",
            ));
        };
        let people = app.people.clone();
        let who = tokio::task::spawn_blocking(move || people.who(&token)).await;
        match who {
            Ok(Ok(Some(who))) => Ok(Self(who)),
            Ok(Ok(None)) => Err(Failure::unauthorized("nobody has this token")),
            Ok(Err(error)) => Err(Failure::unavailable(&error)),
            Err(error) => Err(Failure::unavailable(&error)),
        }
    }
}

/// An answer that is an error: its status, and words.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    answer: ErrorAnswer,
}

impl Failure {
    /// With this status and these words.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, answer: ErrorAnswer { error: error.into(), field: None } }
    }
    /// 400, naming the field.
    pub(crate) fn malformed(field: impl Into<String>, error: impl Into<String>) -> Self {
        let answer = ErrorAnswer { error: error.into(), field: Some(field.into()) };
        Self { status: StatusCode::BAD_REQUEST, answer }
    }
    /// 401.
    pub(crate) fn unauthorized(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error)
    }
    /// 404.
    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }
    /// 503: nothing was acknowledged; the sender comes again.
    pub(crate) fn unavailable(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request could not be answered");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.answer)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::NoPolicy { .. } => Self::not_found(error.to_string()),
            error => Self::unavailable(&error),
        }
    }
}
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::unavailable(&format!("{error:#}"))
    }
}
