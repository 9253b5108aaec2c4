//! What pods and proxies share: accepting connections, and ending them without losing a request.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers requests on every connection until told to stop (or until the sender of `stop` is gone); then accepts no
/// more, lets requests in flight finish for at most `grace`, and closes what is left.
pub(super) async fn serve<S, F, B>(listener: TcpListener, mut stop: watch::Receiver<bool>, grace: Duration, answer: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    let told = stop.clone();
    loop {
        tokio::select! {
            biased;
            () = told_to_stop(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, told.clone(), answer.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, or a client that left already: neither ends the server.
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            },
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!("connections were cut: their requests outlasted the grace period");
    }
}

/// Waits until it is told to stop, or whoever could say so is gone.
pub(super) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn connection<S, F, B>(stream: TcpStream, mut stop: watch::Receiver<bool>, answer: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    // Without it small answers wait for acknowledgements; failing to set it costs time only.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_stop(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Listens on loopback: on this port if it is given and becomes free within a second, else on any.
pub(super) async fn listen(port: Option<u16>) -> std::io::Result<TcpListener> {
    if let Some(port) = port {
        for _ in 0..20 {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => return Ok(listener),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    TcpListener::bind(("127.0.0.1", 0)).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{Empty, Full};
    use tokio::sync::Notify;

    use super::*;
    use crate::local::client::Connection;

    #[tokio::test]
    async fn a_request_in_flight_is_answered_after_the_stop_and_no_connection_is_accepted() {
        let (listener, (stop, told)) = (listen(None).await.unwrap(), watch::channel(false));
        let addr = listener.local_addr().unwrap();
        let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (b, f) = (begun.clone(), finish.clone());
        let answer = move |_| {
            let (begun, finish) = (b.clone(), f.clone());
            async move {
                begun.notify_one();
                finish.notified().await;
                Response::new(Full::new(Bytes::from_static(b"done")))
            }
        };
        let server = tokio::spawn(serve(listener, told, Duration::from_mins(1), answer));
        let mut connection = Connection::to(addr).await.unwrap();
        let request = Request::get("/").header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
        let answered = tokio::spawn(async move { connection.send(request).await.unwrap().status() });
        begun.notified().await;
        stop.send_replace(true);
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!server.is_finished() && !answered.is_finished());
        finish.notify_one();
        assert_eq!(answered.await.unwrap(), 200);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_replaced_by_another() {
        let taken = listen(None).await.unwrap().local_addr().unwrap();
        let free = listen(Some(taken.port())).await.unwrap();
        assert_eq!(free.local_addr().unwrap(), taken, "it was given back");
        let other = listen(Some(taken.port())).await.unwrap();
        assert_ne!(other.local_addr().unwrap(), taken);
    }
}
