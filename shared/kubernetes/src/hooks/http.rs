//! Smoke tests over HTTP through the API server's service proxy: no network path to the pods is needed, and nothing is
//! exposed.
//!
//! Kubernetes documentation, "Access Services Running on Clusters", section "Manually constructing apiserver proxy URLs".

use std::fmt;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use portcullis_domain::names::is_bidi_control;
use portcullis_domain::time::Millis;
use portcullis_engine::ports::{PortResult, TestResult};

use crate::backup::wire::{Answer, Ask, NoAnswer, Wire, encoded};

/// The most bytes of an answer that are read: only its first ones are evidence.
const MOST_BODY: usize = 4 << 20;
/// The most characters of a body that are evidence.
const MOST_EVIDENCE: usize = 120;

/// Requests at once.
pub(super) const AT_ONCE: usize = 8;

/// A Service that is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Through {
    /// Its name, such as `web-green`.
    pub service: String,
    /// Its port, by name or number.
    pub port: String,
    /// The port's number, for who asks inside the cluster.
    pub number: u64,
    /// Whether the pods speak TLS on it.
    pub tls: bool,
}

impl Through {
    /// The path of a request through the API server.
    ///
    /// # Errors
    /// When the path would leave the Service, or is not one that can be asked for.
    pub fn path(&self, namespace: &str, path: &str) -> Result<String, String> {
        checked(path)?;
        let scheme = if self.tls { "https:" } else { "" };
        let (namespace, service, port) = (encoded(namespace), encoded(&self.service), encoded(&self.port));
        Ok(format!("/api/v1/namespaces/{namespace}/services/{scheme}{service}:{port}/proxy{path}"))
    }
}

/// A path that stays below the Service: `..` in it would reach other parts of the API, with our rights.
fn checked(path: &str) -> Result<(), String> {
    let bare = path.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let decoded = bare.replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    let climbs = decoded.split(['/', '\\']).any(|part| part == ".." || part == ".");
    let fine = path.bytes().all(|c| c.is_ascii_graphic())
        && !path.contains(['"', '\\', '#', '<', '>', '^', '`', '{', '|', '}']);
    if !path.starts_with('/') || climbs || !fine || path.len() > 1_024 {
        return Err(format!("{:?} is not a path that can be asked for", path.chars().take(60).collect::<String>()));
    }
    Ok(())
}

/// Asks every Service for every path. All must answer 200 to 299 within the time.
///
/// # Errors
/// When the API server cannot be reached; a test that fails is an answer.
pub async fn smoke(
    wire: &dyn Wire,
    namespace: &str,
    paths: &[String],
    services: &[Through],
    within: Millis,
) -> PortResult<TestResult> {
    if paths.is_empty() || services.is_empty() {
        return Ok(TestResult::Failed("there is nothing to ask: no path, or no service with traffic".into()));
    }
    let asking = async {
        let all = services.iter().flat_map(|through| paths.iter().map(move |path| (through, path)));
        let all: Vec<_> = all.map(|(through, path)| asked(wire, namespace, through, path)).collect();
        // In their order, whatever answers first: the same fault is told in the same words.
        let mut judged = stream::iter(all).buffered(AT_ONCE);
        let mut answers = 0_usize;
        while let Some(one) = judged.next().await {
            match one? {
                Judged::Fine => answers += 1,
                Judged::Empty => return Ok(TestResult::Running),
                Judged::Wrong(why) => return Ok(TestResult::Failed(why)),
            }
        }
        Ok(TestResult::Passed(format!("{answers} answers from {} services, all 2xx", services.len())))
    };
    match tokio::time::timeout(Duration::from_millis(within.0), asking).await {
        Ok(result) => result,
        Err(_) => Ok(TestResult::Failed(format!("no answer to everything within {within}"))),
    }
}

/// Asks one Service for one path.
async fn asked(wire: &dyn Wire, namespace: &str, through: &Through, path: &str) -> PortResult<Judged> {
    let wrong = |why: &dyn fmt::Display| Judged::Wrong(format!("GET {path} of {}: {why}", through.service));
    let whole = match through.path(namespace, path) {
        Ok(whole) => whole,
        Err(why) => return Ok(Judged::Wrong(why)),
    };
    match wire.ask(Ask::get(whole).accepting("*/*").at_most(MOST_BODY)).await {
        Ok(answer) => Ok(match judge(&answer) {
            Judged::Wrong(why) => wrong(&why),
            other => other,
        }),
        Err(NoAnswer::TooLarge(most)) => Ok(wrong(&format_args!("the answer has more than {most} bytes"))),
        Err(NoAnswer::Failed(error)) => Err(error),
    }
}

enum Judged {
    Fine,
    /// No pod behind it yet: the test's deadline bounds the wait.
    Empty,
    Wrong(String),
}

/// An answer of the service, or of the API server in its place.
fn judge(answer: &Answer) -> Judged {
    if answer.is_success() {
        return Judged::Fine;
    }
    // Its own refusals are `Status` objects; a service that answers with one of those is not told apart.
    if let Some(status) = answer.status_object() {
        let said = status["message"].as_str().unwrap_or_default();
        if answer.status == 503 && said.contains("no endpoints available") {
            return Judged::Empty;
        }
        let what = match answer.status {
            403 => "the role may not use services/proxy",
            404 => "there is no such Service",
            503 => "its pods can not be reached through the API server",
            _ => "the API server refused",
        };
        return Judged::Wrong(format!("{what} ({})", answer.words()));
    }
    let body = evidence(&answer.body);
    Judged::Wrong(if body.is_empty() { answer.status.to_string() } else { format!("{} {body}", answer.status) })
}

/// The beginning of a body as one line of plain text.
fn evidence(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * MOST_EVIDENCE)]);
    let plain = |c: char| if c.is_control() || is_bidi_control(c) || c == '\u{fffd}' { ' ' } else { c };
    let words: String = text.chars().map(plain).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_EVIDENCE).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use portcullis_engine::ports::PortError;

    use super::*;

    struct Said(Mutex<Vec<Result<(u16, &'static str), NoAnswer>>>, Mutex<Vec<String>>);

    #[async_trait]
    impl Wire for Said {
        async fn ask(&self, ask: Ask) -> Result<Answer, NoAnswer> {
            self.1.lock().unwrap().push(ask.path);
            let answer = self.0.lock().unwrap().remove(0);
            answer.map(|(status, body)| Answer { status, body: body.as_bytes().to_vec() })
        }
    }

    async fn run(
        answers: Vec<Result<(u16, &'static str), NoAnswer>>,
        paths: &[&str],
    ) -> (PortResult<TestResult>, Vec<String>) {
        let said = Said(Mutex::new(answers), Mutex::default());
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let services = [Through { service: "web-green".into(), port: "http".into(), number: 80, tls: false }];
        let result = smoke(&said, "shop", &paths, &services, Millis::seconds(5)).await;
        (result, said.1.into_inner().unwrap())
    }

    #[tokio::test]
    async fn every_path_is_asked_through_the_api_server() {
        let (result, asked) = run(vec![Ok((200, "")), Ok((204, ""))], &["/health", "/ready?deep=1"]).await;
        assert_eq!(result.unwrap(), TestResult::Passed("2 answers from 1 services, all 2xx".into()));
        assert_eq!(
            asked,
            [
                "/api/v1/namespaces/shop/services/web-green:http/proxy/health",
                "/api/v1/namespaces/shop/services/web-green:http/proxy/ready?deep=1",
            ]
        );
    }

    #[tokio::test]
    async fn a_bad_answer_fails_with_its_first_words_and_a_redirect_is_no_answer() {
        let (result, _) = run(vec![Ok((500, "TypeError:\n\u{1b}[31m undefined"))], &["/health"]).await;
        assert_eq!(
            result.unwrap(),
            TestResult::Failed("GET /health of web-green: 500 TypeError: [31m undefined".into())
        );
        let (result, _) = run(vec![Ok((302, ""))], &["/"]).await;
        assert_eq!(result.unwrap(), TestResult::Failed("GET / of web-green: 302".into()));
    }

    #[tokio::test]
    async fn no_pod_yet_is_still_running_and_no_right_is_a_failure() {
        let empty = r#"{"kind":"Status","message":"no endpoints available for service \"web-green\""}"#;
        assert_eq!(run(vec![Ok((503, empty))], &["/"]).await.0.unwrap(), TestResult::Running);
        let no = r#"{"kind":"Status","message":"services \"web\" is forbidden"}"#;
        let (result, _) = run(vec![Ok((403, no))], &["/"]).await;
        assert!(matches!(result.unwrap(), TestResult::Failed(why) if why.contains("services/proxy")));
        let (result, _) = run(vec![Ok((503, "our own 503"))], &["/"]).await;
        assert!(matches!(result.unwrap(), TestResult::Failed(_)), "the service's own 503 is an answer");
    }

    #[tokio::test]
    async fn an_unreachable_cluster_is_no_failed_test() {
        let down = NoAnswer::Failed(PortError::new("asking", "refused"));
        assert!(run(vec![Err(down)], &["/"]).await.0.is_err());
        let (result, _) = run(vec![Err(NoAnswer::TooLarge(9))], &["/"]).await;
        assert!(matches!(result.unwrap(), TestResult::Failed(_)));
    }

    #[tokio::test]
    async fn a_path_can_not_leave_its_service() {
        for path in ["/../../secrets", "/a/%2e%2E/b", "/a/..%2f..", "/x\\..\\y", "health", "/a b", "/a\u{7f}", "/."] {
            let (result, asked) = run(vec![], &[path]).await;
            assert!(matches!(result.unwrap(), TestResult::Failed(_)), "{path}");
            assert!(asked.is_empty(), "{path} was sent");
        }
        assert!(checked("/..well-known/x.y").is_ok());
    }

    #[tokio::test]
    async fn nothing_to_ask_is_not_passed() {
        assert!(matches!(run(vec![], &[]).await.0.unwrap(), TestResult::Failed(_)));
    }
}
