//! One ready pod as the Service sees it: pooled connections, and a count of the requests it still owes an answer.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::Notify;

use super::client::Connection;
use super::held;

/// A connection to a pod on which a request may be sent.
pub(super) type Sender = Connection<Incoming>;

/// A ready pod's address with what is on its way to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    addr: SocketAddr,
    pool: Mutex<Vec<Sender>>,
    in_flight: AtomicUsize,
    draining: AtomicBool,
    idle: Notify,
}

/// Why a request has no answer.
pub(super) enum Unanswered {
    /// No byte of it was sent: it can go elsewhere.
    Unsent(Box<Request<Incoming>>),
    /// It may have been acted on.
    Lost(String),
}

impl Endpoint {
    pub(super) fn new(addr: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            addr,
            pool: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            idle: Notify::new(),
        })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Requests that still wait for the last byte of their answer.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Counts one request in, unless the pod is being drained. Either this sees the draining, or the drain sees the
    /// request: each side writes its own word before it reads the other's.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Entered> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let entered = Entered(self.clone());
        if self.draining.load(Ordering::SeqCst) { None } else { Some(entered) }
    }

    /// Lets no more requests in and waits until those inside have been answered to the last byte.
    pub(super) async fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        loop {
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.in_flight.load(Ordering::SeqCst) == 0 {
                break;
            }
            idle.await;
        }
        held(&self.pool).clear();
    }
}

/// One request's place at an endpoint; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Entered(Arc<Endpoint>);

impl Drop for Entered {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.draining.load(Ordering::SeqCst) {
            self.0.idle.notify_waiters();
        }
    }
}

impl Entered {
    /// Sends a request and waits for the head of its answer. Give the connection back when the body was read.
    pub(super) async fn send(
        &self,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, Sender), Unanswered> {
        loop {
            let pooled = held(&self.0.pool).pop();
            let (mut sender, fresh) = match pooled {
                Some(sender) => (sender, false),
                None => match Connection::to(self.0.addr).await {
                    Ok(sender) => (sender, true),
                    Err(error) => {
                        tracing::debug!(addr = %self.0.addr, %error, "a pod could not be reached");
                        return Err(Unanswered::Unsent(request.into()));
                    }
                },
            };
            match sender.send(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(failed) => match failed.unsent {
                    Some(unsent) if fresh => return Err(Unanswered::Unsent(unsent)),
                    Some(unsent) => request = *unsent,
                    None => return Err(Unanswered::Lost(failed.why)),
                },
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn give_back(&self, sender: Sender) {
        if !sender.is_closed() && !self.0.draining.load(Ordering::SeqCst) {
            held(&self.0.pool).push(sender);
        }
    }
}
