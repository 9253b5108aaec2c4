//! The kubelet's own HTTPS API, as far as the API server asks it here: the logs of containers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Pods;
use super::logs::{Ask, Log};
use crate::certificates::Signed;

/// The port of every node.
pub(super) const PORT: u16 = 10_250;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// TLS as the nodes speak it. The API server is not asked who it is: nobody else can reach the nodes.
pub(crate) fn tls(signed: &Signed) -> TlsAcceptor {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(signed.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Answers on a node's address, for ever.
pub(super) async fn serve(at: SocketAddr, tls: TlsAcceptor, pods: Pods) {
    let listener = TcpListener::bind(at).await.unwrap_or_else(|error| panic!("listening on {at}: {error}"));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let (tls, pods) = (tls.clone(), pods.clone());
                connections.spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let answer = answer(&pods, &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    // Who broke off knows why.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    }
}

fn answer(pods: &Pods, request: &Request<Incoming>) -> Response<Body> {
    let path: Vec<_> = request.uri().path().split('/').skip(1).collect();
    let ["containerLogs", namespace, pod, container] = path[..] else {
        let said = "the test cluster's nodes serve logs only\n";
        return plain(StatusCode::NOT_IMPLEMENTED, said);
    };
    let Some(log) = pods.log(namespace, pod, container) else {
        return plain(StatusCode::NOT_FOUND, "no such container runs on this node\n");
    };
    let ask = Ask::read(request.uri().query().unwrap_or_default());
    let body = if ask.follow && !ask.previous {
        follow(log, ask)
    } else {
        Full::from(ask.render(log.lines(ask.previous, 0)).0).boxed_unsync()
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The log as it grows, until the reader leaves.
fn follow(log: Log, ask: Ask) -> Body {
    let grown = log.watch();
    let lines = stream::unfold((log, ask, grown, 0), |(log, mut ask, mut grown, after)| async move {
        loop {
            grown.borrow_and_update();
            let (bytes, last) = ask.render(log.lines(false, after));
            if !bytes.is_empty() {
                // What was asked for of the end is told; from here on it is all that comes.
                ask.tail = None;
                let frame = Ok::<_, Infallible>(Frame::data(Bytes::from(bytes)));
                return Some((frame, (log, ask, grown, last)));
            }
            if grown.changed().await.is_err() {
                return None;
            }
        }
    });
    StreamBody::new(lines).boxed_unsync()
}

fn plain(status: StatusCode, said: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::from(said).boxed_unsync());
    *response.status_mut() = status;
    response
}
