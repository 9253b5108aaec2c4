//! `stack POLICY...`: the stack on this machine, until Ctrl-C. Every function of the templates is a real process on the
//! emulator of AWS, with a local cluster behind `run-release`. `cargo xtask stack` builds what it needs and starts it.
//!
//! `POST /events` is the account's default bus; every other request goes to the function that the HTTP API routes it to.

#![allow(clippy::expect_used, reason = "what cannot be started is said and ends it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use portcullis_tests_aws::host::Ended;
use portcullis_tests_aws::resources::REGION;
use portcullis_tests_aws::stack::{Options, Stack};
use serde_json::{Value, json};

/// Where the local cluster keeps what runs on it.
const CLUSTER: &str = ".portcullis-stack";

#[tokio::main]
async fn main() {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if files.is_empty() {
        eprintln!("usage: cargo xtask stack POLICY...");
        std::process::exit(2);
    }
    let policies = files.iter().map(|file| (name(file), std::fs::read_to_string(file).expect("reading a policy")));
    let cluster = std::path::absolute(CLUSTER).expect("a folder for the cluster");
    let options = Options {
        policies: policies.collect(),
        driver: vec![("LOCAL_CLUSTER".to_owned(), cluster.display().to_string())],
        ..Options::default()
    };
    let mut stack = Stack::start(options).await;
    for function in ["sweep", "notify"] {
        stack.run_clock(function);
    }
    let stack = Arc::new(stack);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port to listen on");
    let address = listener.local_addr().expect("its number");
    println!("events   curl -X POST http://{address}/events --data @events/ecr/image-action-push.json");
    println!("emulator export AWS_ENDPOINT_URL={} AWS_REGION={REGION}", stack.emulator.endpoint());
    println!("         export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing");
    println!("ledger   {}", stack.table);
    println!("policies s3://{}/policies/", stack.policies);
    println!("cluster  {}", cluster.display());
    let router = Router::new().route("/events", post(publish)).fallback(request).with_state(stack);
    let served = axum::serve(listener, router).with_graceful_shutdown(async {
        // Without signals it is ended by `kill`.
        let _ = tokio::signal::ctrl_c().await;
    });
    served.await.expect("serving");
}

fn name(file: &Path) -> String {
    file.file_name().expect("a policy is a file").to_string_lossy().into_owned()
}

/// An event on the bus: who was asked, and what they answered.
async fn publish(State(stack): State<Arc<Stack>>, body: Bytes) -> Response {
    let event: Value = match serde_json::from_slice(&body) {
        Ok(event) => event,
        Err(error) => return answer(StatusCode::BAD_REQUEST, &json!({ "error": format!("not JSON: {error}") })),
    };
    let asked = stack.publish(&event).await;
    let asked: BTreeMap<String, Value> =
        asked.into_iter().map(|(function, ended)| (function.as_str().to_owned(), told(ended))).collect();
    answer(StatusCode::OK, &json!({ "asked": asked }))
}

fn told(ended: Ended) -> Value {
    match ended {
        Ended::Answered(answer) => serde_json::from_slice(&answer).unwrap_or_default(),
        Ended::Failed(why) => json!({ "failed": why }),
        Ended::Died => json!({ "died": true }),
    }
}

/// Any other request: as the HTTP API would hand it over.
async fn request(
    State(stack): State<Arc<Stack>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if !stack.routes(method.as_str(), uri.path()) {
        return answer(StatusCode::NOT_FOUND, &json!({ "error": "no template routes this" }));
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), 6 * 1024 * 1024).await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "error": "the body is larger than 6 MB" }));
    };
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let told = stack.request(method.as_str(), uri.path(), &headers, &String::from_utf8_lossy(&body)).await;
    let status = told["statusCode"].as_u64().and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let body = told["body"].as_str().unwrap_or_default().to_owned();
    (status.unwrap_or(StatusCode::BAD_GATEWAY), body).into_response()
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, axum::Json(body.clone())).into_response()
}
