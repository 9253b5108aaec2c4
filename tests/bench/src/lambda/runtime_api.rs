//! As much of the Lambda Runtime API as one process at a time needs (AWS Lambda Developer Guide, "Using the Lambda runtime
//! API for custom runtimes"): a function asks for the next invocation, and answers it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// What Lambda itself gives a function before it kills it. Nothing measured here takes so long.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Listens for one function after the other.
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    asked: Receiver<Asked>,
    stopped: Arc<AtomicBool>,
}

/// One request of a function's.
pub(crate) struct Asked {
    /// When its first line was read.
    pub(crate) at: Instant,
    /// What it is.
    pub(crate) what: What,
    answer: Sender<Vec<u8>>,
}

/// What a function may ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// For the next invocation.
    Next,
    /// It answers an invocation.
    Answer(Vec<u8>),
    /// It failed, in these words.
    Failed(String),
}

impl RuntimeApi {
    /// Listens on a free port.
    pub(crate) fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listening for functions")?;
        let address = listener.local_addr()?;
        let (sender, asked) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let is_over = stopped.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), sender) = (stream, sender.clone()) else { continue };
                // A function that was killed breaks its connection off: that ends the thread, and nothing else.
                std::thread::spawn(move || drop(serve(stream, &sender)));
            }
        });
        Ok(Self { address, asked, stopped })
    }

    /// What `AWS_LAMBDA_RUNTIME_API` is to say.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The next request; none = there was none within this time.
    pub(crate) fn asked(&self, within: Duration) -> Option<Asked> {
        self.asked.recv_timeout(within).ok()
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that listens; if nothing listens any more there is nothing to wake.
        drop(TcpStream::connect(self.address));
    }
}

impl Asked {
    /// Hands over an invocation with this body.
    pub(crate) fn invoke(self, body: &[u8]) {
        let deadline = SystemTime::now() + TIMEOUT;
        let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
             lambda-runtime-deadline-ms: {deadline}\r\n\
             lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:123456789012:function:bench\r\n\r\n",
            body.len()
        );
        self.say([head.as_bytes(), body].concat());
    }

    /// Says that what was told was taken.
    pub(crate) fn accept(self) {
        self.say(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec());
    }

    fn say(self, answer: Vec<u8>) {
        // Whoever asked may be gone meanwhile; what is waited for next then does not come, and says so.
        drop(self.answer.send(answer));
    }
}

/// Answers the requests of one connection, one after the other.
fn serve(stream: TcpStream, asked: &Sender<Asked>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone()?), stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let at = Instant::now();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(std::io::Error::other)?,
                "transfer-encoding" => return Err(std::io::Error::other("a body without a length")),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let what = what(&first, body).ok_or_else(|| std::io::Error::other(first))?;
        let (answer, answered) = channel();
        if asked.send(Asked { at, what, answer }).is_err() {
            return Ok(());
        }
        let Ok(bytes) = answered.recv() else { return Ok(()) };
        writer.write_all(&bytes)?;
    }
}

/// What a request is by its first line; none = nothing that this API has.
fn what(first: &str, body: Vec<u8>) -> Option<What> {
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?.strip_prefix("/2018-06-01/runtime/")?);
    match (method, path.rsplit('/').next()?) {
        ("GET", "next") => Some(What::Next),
        ("POST", "response") => Some(What::Answer(body)),
        ("POST", "error") => Some(What::Failed(String::from_utf8_lossy(&body).into_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn send(stream: &mut TcpStream, request: &str) {
        stream.write_all(request.as_bytes()).unwrap();
    }

    fn read(stream: &mut TcpStream, until: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(until.as_bytes()) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            read.extend(byte);
        }
        String::from_utf8(read).unwrap()
    }

    #[test]
    fn a_function_is_handed_an_invocation_and_answers_it_over_one_connection() {
        let api = RuntimeApi::listen().unwrap();
        let mut function = TcpStream::connect(api.address()).unwrap();
        send(&mut function, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n");
        let next = api.asked(SOON).unwrap();
        assert_eq!(next.what, What::Next);
        next.invoke(b"{\"a\":1}");
        let invocation = read(&mut function, "{\"a\":1}");
        assert!(invocation.starts_with("HTTP/1.1 200 OK\r\n") && invocation.contains("lambda-runtime-deadline-ms: "));
        let answer = "POST /2018-06-01/runtime/invocation/7/response HTTP/1.1\r\nContent-Length: 2\r\n\r\nok";
        send(&mut function, answer);
        let answered = api.asked(SOON).unwrap();
        assert_eq!(answered.what, What::Answer(b"ok".to_vec()));
        answered.accept();
        assert!(read(&mut function, "\r\n\r\n").starts_with("HTTP/1.1 202"));
    }

    #[test]
    fn requests_are_known_by_their_first_line() {
        let of = |line: &str| what(&format!("{line} HTTP/1.1\r\n"), b"why".to_vec());
        assert_eq!(of("POST /2018-06-01/runtime/init/error"), Some(What::Failed("why".to_owned())));
        assert_eq!(of("POST /2018-06-01/runtime/invocation/7/error"), Some(What::Failed("why".to_owned())));
        assert_eq!(of("GET /2018-06-01/runtime/invocation/7/response"), None);
        assert_eq!(of("GET /healthz"), None);
    }
}
