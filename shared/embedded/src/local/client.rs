//! One HTTP/1.1 connection as its client has it.
//!
//! hyper's own handle may wait for ever: a request that is given to a connection in the moment in which it ends can be
//! left in the channel between the two, and neither an answer nor an error comes
//! (<https://github.com/hyperium/hyper/issues/4122>). Here the connection's end is seen, too.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

type AnyError = Box<dyn Error + Send + Sync>;

/// A connection that takes one request after the other.
#[derive(Debug)]
pub struct Connection<B> {
    /// None = it is known to have ended.
    sender: Option<SendRequest<B>>,
    /// Ends with the connection.
    driver: JoinHandle<hyper::Result<()>>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub struct Unanswered<B> {
    /// The request, if no byte of it was sent: it can be sent on another connection.
    pub unsent: Option<Box<Request<B>>>,
    /// What happened.
    pub why: String,
}

impl<B> Connection<B>
where
    B: Body<Data: Send, Error: Into<AnyError>> + Send + 'static,
{
    /// Connects. Needs a tokio runtime.
    ///
    /// # Errors
    /// When nobody accepts it.
    pub async fn to(address: SocketAddr) -> Result<Self, AnyError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender: Some(sender), driver: tokio::spawn(connection) })
    }

    /// Whether it is known to have ended.
    pub fn is_closed(&self) -> bool {
        self.sender.as_ref().is_none_or(SendRequest::is_closed)
    }

    /// Sends a request, when the answer before it was read to its end, and waits for the head of its answer. Dropping
    /// the future closes the connection.
    ///
    /// # Errors
    /// When the connection ends before the answer.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, Unanswered<B>> {
        let closed = |request| Unanswered { unsent: Some(Box::new(request)), why: "connection closed".to_owned() };
        let Some(mut sender) = self.sender.take() else { return Err(closed(request)) };
        if sender.ready().await.is_err() {
            return Err(closed(request));
        }
        let mut answered = pin!(sender.try_send_request(request));
        let answered = tokio::select! {
            biased;
            answered = answered.as_mut() => {
                self.sender = Some(sender);
                answered
            }
            _ = &mut self.driver => {
                // What is still in the channel comes back when its last handle goes.
                drop(sender);
                answered.await
            }
        };
        answered.map_err(|mut failed| Unanswered {
            unsent: failed.take_message().map(Box::new),
            why: failed.into_error().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Empty};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    fn request() -> Request<Empty<Bytes>> {
        Request::get("/").header("host", "localhost").body(Empty::new()).unwrap()
    }

    /// Closes every connection after so many answers.
    async fn server(answers: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                for _ in 0..answers {
                    let mut asked = [0; 1024];
                    assert!(stream.read(&mut asked).await.unwrap() > 0);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn what_was_not_sent_on_a_closed_connection_comes_back() {
        let mut connection = Connection::to(server(2).await).await.unwrap();
        for _ in 0..2 {
            let answer = connection.send(request()).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
        }
        while !connection.is_closed() {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            let unanswered = connection.send(request()).await.unwrap_err();
            assert_eq!(unanswered.unsent.expect("no byte of it was sent").uri(), "/");
        }
    }

    /// The race needs that a thread is stopped between two instructions: of so many requests some meet it, in every
    /// other run. They are fewer than a system has ports for connections (28,232 by default), whichever end keeps its
    /// own for a while.
    #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
    async fn a_request_on_a_connection_that_ends_in_this_moment_is_never_without_an_end() {
        let address = server(0).await;
        let mut senders = JoinSet::new();
        for _ in 0..16 {
            senders.spawn(async move {
                for _ in 0..1_500 {
                    let mut connection = Connection::to(address).await.unwrap();
                    let sent = timeout(Duration::from_secs(10), connection.send(request())).await;
                    assert!(sent.expect("it waits for ever").is_err());
                }
            });
        }
        senders.join_all().await;
    }
}
