//! Which caller may call which rpc: decided for every call, by the certificate
//! of its connection and the table that comes with the contracts.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use tokio::time::Sleep;
use tonic::{
    Status,
    body::Body,
    codegen::{Bytes, http},
};
use tower::{Layer, Service};

use super::incoming::Peer;
use crate::tls::Leaf;

/// For each rpc its path and its callers.
pub type Callers = &'static [(&'static str, &'static [&'static str])];

/// People's certificate: may call everything, and each call is logged.
const ADMIN: &str = "admin";
/// Open to every caller with a certificate of ours: they tell nothing of what
/// the service keeps.
const COMMON: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];

#[derive(Debug, Clone)]
pub(super) struct Access {
    table: Arc<HashMap<&'static str, &'static [&'static str]>>,
}

impl Access {
    pub(super) fn new(callers: Callers) -> Self {
        Self {
            table: Arc::new(callers.iter().copied().collect()),
        }
    }

    /// The caller's name, if it may call `path` now.
    fn decide<'l>(&self, leaf: &'l Leaf, path: &str, now: Timestamp) -> Result<&'l str, Status> {
        let caller = leaf.service().ok_or_else(|| {
            Status::unauthenticated(
                "the client's certificate names no service: it needs exactly one URI, \
                 spiffe://mongodb-osb/<service>",
            )
        })?;
        if leaf.not_after() <= now {
            return Err(expired(caller));
        }
        if COMMON.iter().any(|common| path.starts_with(common)) {
            return Ok(caller);
        }
        let rpc = path.trim_start_matches('/');
        match self.table.get(path) {
            None => Err(Status::unimplemented(format!("no rpc {rpc}"))),
            Some(callers) if caller == ADMIN || callers.contains(&caller) => Ok(caller),
            Some(callers) => Err(Status::permission_denied(format!(
                "{caller} may not call {rpc}, only {} may: see the option `callers` of its contract",
                callers.join(", ")
            ))),
        }
    }
}

fn expired(caller: &str) -> Status {
    Status::unauthenticated(format!(
        "the certificate of {caller} has expired: connect with the one that its Secret holds now"
    ))
}

impl<S> Layer<S> for Access {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            access: self.clone(),
        }
    }
}

/// A service that only its callers reach.
#[derive(Debug, Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    access: Access,
}

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        // Without TLS nobody proves anything: plaintext was asked for, and warned of.
        let Some(leaf) = peer.as_ref().and_then(|peer| peer.leaf.clone()) else {
            return Box::pin(self.inner.call(request));
        };
        let path = request.uri().path();
        match self.access.decide(&leaf, path, Timestamp::now()) {
            // With the target of what the services log of operations.
            Ok(ADMIN) => tracing::event!(
                target: "audit",
                tracing::Level::INFO,
                caller = ADMIN,
                rpc = path,
                peer = peer
                    .and_then(|peer| peer.address)
                    .map(tracing::field::display),
                "called by a person"
            ),
            Ok(_) => {}
            Err(status) => {
                tracing::warn!(
                    caller = leaf.service().unwrap_or("none"),
                    rpc = path,
                    peer = peer.and_then(|peer| peer.address).map(tracing::field::display),
                    grpc.code = ?status.code(),
                    "call refused"
                );
                return Box::pin(std::future::ready(Ok(status.into_http())));
            }
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (head, body) = answer.await?.into_parts();
            let body = Lasting {
                body,
                leaf,
                ends: None,
            };
            Ok(http::Response::from_parts(head, Body::new(body)))
        })
    }
}

/// An answer that ends with the certificate of its caller.
#[derive(Debug)]
struct Lasting {
    body: Body,
    leaf: Arc<Leaf>,
    /// Made when the answer is first waited for: most are there at once.
    ends: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Lasting {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let not_after = self.leaf.not_after();
        let ends = self.ends.get_or_insert_with(|| {
            let left = Timestamp::now().duration_until(not_after);
            let left = Duration::try_from(left).unwrap_or_default();
            Box::pin(tokio::time::sleep(left))
        });
        ready!(ends.as_mut().poll(context));
        let caller = self.leaf.service().unwrap_or_default();
        let status = expired(caller);
        self.body = Body::empty();
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(
            status
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
