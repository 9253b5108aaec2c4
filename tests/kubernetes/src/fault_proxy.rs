//! A proxy in front of the API server that fails on purpose: it refuses, it does what was asked and does not say so, it
//! breaks off, it keeps a request and lets it arrive when its sender has long died. It also counts what was asked.
//!
//! Plain HTTP on a loopback port; behind it everything is asked by an administrator. Watches are not passed on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use portcullis_tests::wait::SOON;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What is done to a request instead of passing it on.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is answered so, and never reaches the API server.
    Refuse {
        /// The status.
        status: u16,
        /// Seconds to wait, as `Retry-After`.
        retry_after: Option<u64>,
    },
    /// It reaches the API server, is done there, and is never answered.
    DoneWithoutAnswer,
    /// It reaches the API server, is done there, and its answer breaks off in the middle.
    CutAnswer,
    /// Its connection is closed, and it never reaches the API server.
    CutRequest,
    /// It is passed on so much later.
    Late(Duration),
    /// It is kept until [`Held::arrive`], and then passed on even if its sender is gone.
    Hold(Held),
}

/// Requests that are on their way until they may arrive.
#[derive(Debug, Clone)]
pub struct Held(Arc<watch::Sender<(bool, usize, usize)>>);

impl Default for Held {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new((false, 0, 0))))
    }
}

impl Held {
    /// Waits until one is on its way.
    pub async fn comes(&self) {
        let mut state = self.0.subscribe();
        let came = tokio::time::timeout(2 * SOON, state.wait_for(|(_, kept, _)| *kept > 0)).await;
        assert!(matches!(came, Ok(Ok(_))), "no such request came");
    }

    /// How many were passed on, and answered by the API server with success.
    pub fn landed(&self) -> usize {
        self.0.borrow().2
    }

    /// Lets all arrive, those that are still to come too, and waits until those that are kept have their answer.
    pub async fn arrive(&self) {
        self.0.send_modify(|state| state.0 = true);
        let _ = self.0.subscribe().wait_for(|(_, kept, _)| *kept == 0).await;
    }

    async fn pass(&self) {
        self.0.send_modify(|state| state.1 += 1);
        let _ = self.0.subscribe().wait_for(|(open, ..)| *open).await;
    }

    fn answered(&self, success: bool) {
        self.0.send_modify(|state| {
            state.1 -= 1;
            state.2 += usize::from(success);
        });
    }
}

/// Which requests a fault is for.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Their method; none = any.
    pub method: Option<Method>,
    /// What their path and query hold.
    pub holds: String,
    /// What their body holds; empty = whatever.
    pub says: String,
    /// How many of them.
    pub times: u32,
    /// What is done to them.
    pub fault: Fault,
}

impl Rule {
    /// The next `times` requests of a method whose path and query hold a text.
    pub fn next(times: u32, method: Method, holds: &str, fault: Fault) -> Self {
        Self { method: Some(method), holds: holds.to_owned(), says: String::new(), times, fault }
    }

    /// Only those whose body holds a text.
    #[must_use]
    pub fn saying(self, says: &str) -> Self {
        Self { says: says.to_owned(), ..self }
    }

    fn is_for(&self, method: &Method, path: &str, body: &[u8]) -> bool {
        let says = self.says.as_bytes();
        self.times > 0
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && path.contains(&self.holds)
            && (says.is_empty() || body.windows(says.len()).any(|part| part == says))
    }
}

/// One request as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it came.
    pub at: SystemTime,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Whether something was done to it.
    pub faulty: bool,
}

impl Seen {
    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        self.method != Method::GET
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// One in so many requests is hurt by chance, with what the dice stand at.
    weather: Option<(u64, u64)>,
}

/// A running proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl FaultProxy {
    /// Starts one in front of the API server of this client, on the current runtime.
    pub async fn start(behind: Client) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, behind, state.clone()));
        Self { address, state, _tasks: tasks }
    }

    /// A client that asks through it. It repeats nothing by itself.
    pub fn client(&self) -> Client {
        let url = format!("http://{}", self.address).parse().expect("it is a URL");
        let mut config = kube::Config::new(url);
        config.default_retry = false;
        Client::try_from(config).expect("a client without TLS can be made")
    }

    /// From now on these requests fail so; the first rule that is for a request counts.
    pub fn fail(&self, rule: Rule) {
        self.state.lock().unwrap().rules.push(rule);
    }

    /// From now on one in so many requests fails by chance, the same ones for the same seed and order; 0 = none.
    pub fn weather(&self, one_in: u64, seed: u64) {
        self.state.lock().unwrap().weather = (one_in > 0).then_some((one_in, seed));
    }

    /// No more faults. What is held stays held.
    pub fn calm(&self) {
        let mut state = self.state.lock().unwrap();
        state.rules.clear();
        state.weather = None;
    }

    /// How many requests each rule still waits for, in their order.
    pub fn open(&self) -> Vec<u32> {
        self.state.lock().unwrap().rules.iter().map(|rule| rule.times).collect()
    }

    /// Everything that was asked since this was asked for last.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }
}

async fn serve(listener: TcpListener, behind: Client, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, behind.clone(), state.clone()));
                }
                Err(_) => sleep(Duration::from_millis(5)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, behind: Client, state: Arc<Mutex<State>>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(request, behind.clone(), state.clone()));
    // A connection that is cut on purpose ends with an error.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Response<BoxBody<Bytes, Cut>>;

/// The connection is closed.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose, or by the API server")
    }
}

impl std::error::Error for Cut {}

async fn answer(request: Request<Incoming>, behind: Client, state: Arc<Mutex<State>>) -> Result<Answer, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let fault = state.lock().unwrap().judge(&parts.method, &path, &body);
    let ask = Ask { method: parts.method, path, headers: parts.headers, body, behind };
    match fault {
        None => ask.send().await.map(Answered::whole),
        Some(Fault::Refuse { status, retry_after }) => Ok(refusal(status, retry_after)),
        Some(Fault::CutRequest) => Err(Cut),
        Some(Fault::DoneWithoutAnswer) => {
            // Apart from this connection: its client may have gone before it is done.
            let _ = tokio::spawn(ask.send()).await;
            std::future::pending().await
        }
        Some(Fault::CutAnswer) => ask.send().await.map(Answered::half),
        Some(Fault::Late(by)) => {
            let sent = tokio::spawn(async move {
                sleep(by).await;
                ask.send().await
            });
            sent.await.map_err(|_| Cut)?.map(Answered::whole)
        }
        Some(Fault::Hold(held)) => {
            let sent = tokio::spawn(async move {
                held.pass().await;
                let answered = ask.send().await;
                held.answered(answered.as_ref().is_ok_and(|answered| answered.status.is_success()));
                answered
            });
            sent.await.map_err(|_| Cut)?.map(Answered::whole)
        }
    }
}

impl State {
    /// What is done to a request; it is noted.
    fn judge(&mut self, method: &Method, path: &str, body: &[u8]) -> Option<Fault> {
        let ruled = self.rules.iter_mut().find(|rule| rule.is_for(method, path, body)).map(|rule| {
            rule.times -= 1;
            rule.fault.clone()
        });
        let fault = ruled.or_else(|| self.chance());
        self.seen.push(Seen {
            at: SystemTime::now(),
            method: method.clone(),
            path: path.to_owned(),
            faulty: fault.is_some(),
        });
        fault
    }

    fn chance(&mut self) -> Option<Fault> {
        let (one_in, dice) = self.weather.as_mut()?;
        let thrown = next(dice);
        if !thrown.is_multiple_of(*one_in) {
            return None;
        }
        let refuse = |status, retry_after| Fault::Refuse { status, retry_after };
        Some(match next(dice) % 9 {
            0 => refuse(409, None),
            1 => refuse(429, Some(1)),
            2 => refuse(429, None),
            3 => refuse(500, None),
            4 => refuse(503, Some(1)),
            5 => Fault::DoneWithoutAnswer,
            6 => Fault::CutAnswer,
            7 => Fault::CutRequest,
            _ => Fault::Late(Duration::from_millis(400)),
        })
    }
}

/// Numbers that look random (`SplitMix64`, Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
fn next(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*dice ^ (*dice >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// One request on its way to the API server.
struct Ask {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    behind: Client,
}

impl Ask {
    async fn send(self) -> Result<Answered, Cut> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            if !is_of_the_connection(name) {
                request = request.header(name, value);
            }
        }
        let request = request.body(Body::from(self.body)).map_err(|_| Cut)?;
        let (parts, body) = self.behind.send(request).await.map_err(|_| Cut)?.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        Ok(Answered { status: parts.status, headers: parts.headers, body })
    }
}

/// Headers of one connection, which mean nothing on the next one (RFC 9110, 7.6.1).
fn is_of_the_connection(name: &HeaderName) -> bool {
    [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING].contains(name)
}

/// What the API server answered.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn with(self, body: BoxBody<Bytes, Cut>) -> Answer {
        let length = self.body.len();
        let mut answer = Response::new(body);
        *answer.status_mut() = self.status;
        *answer.headers_mut() = self.headers;
        for name in [CONNECTION, TRANSFER_ENCODING] {
            answer.headers_mut().remove(name);
        }
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        answer
    }

    fn whole(self) -> Answer {
        let body = full(self.body.clone());
        self.with(body)
    }

    fn half(self) -> Answer {
        let half = self.body.slice(..self.body.len() / 2);
        let frames = stream::iter([Ok(Frame::data(half)), Err(Cut)]);
        self.with(BodyExt::boxed(StreamBody::new(frames)))
    }
}

fn full(body: Bytes) -> BoxBody<Bytes, Cut> {
    Full::from(body).map_err(|never| match never {}).boxed()
}

/// A refusal as the API server would say it.
fn refusal(status: u16, retry_after: Option<u64>) -> Answer {
    let reason = match status {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let details = retry_after.map_or_else(|| json!({}), |seconds| json!({ "retryAfterSeconds": seconds }));
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "reason": reason,
        "message": "failed on purpose", "details": details,
    });
    let mut answer = Response::new(full(body.to_string().into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("it is a status");
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_for_as_many_requests_as_it_says_and_for_no_others() {
        let mut state = State::default();
        let fault = Fault::Refuse { status: 409, retry_after: None };
        state.rules.push(Rule::next(1, Method::PATCH, "/services/web", fault).saying("green"));
        let hurt = |state: &mut State, method: &Method, path: &str, body: &str| {
            state.judge(method, path, body.as_bytes()).is_some()
        };
        assert!(!hurt(&mut state, &Method::GET, "/services/web", "green"));
        assert!(!hurt(&mut state, &Method::PATCH, "/services/api", "green"));
        assert!(!hurt(&mut state, &Method::PATCH, "/services/web", "blue"));
        assert!(hurt(&mut state, &Method::PATCH, "/services/web?x", "to green"));
        assert!(!hurt(&mut state, &Method::PATCH, "/services/web", "green"));
        assert_eq!(state.seen.iter().filter(|seen| seen.faulty).count(), 1);
        assert_eq!(state.seen.len(), 5);
    }

    #[test]
    fn the_weather_of_a_seed_is_always_the_same_and_has_every_fault() {
        let play = |seed| {
            let mut state = State { weather: Some((3, seed)), ..State::default() };
            let thrown = (0..600).map(|_| state.chance().map(|fault| format!("{fault:?}")));
            thrown.collect::<Vec<_>>()
        };
        assert_eq!(play(7), play(7));
        assert_ne!(play(7), play(8));
        let kinds: std::collections::BTreeSet<_> = play(7).into_iter().flatten().collect();
        assert_eq!(kinds.len(), 9, "{kinds:?}");
    }
}
