//! The transport under every client: each call has a deadline, and where the
//! transport fails and nothing can happen twice, the call is tried again at
//! another replica.

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::future::BoxFuture;
use http::{HeaderValue, request::Parts};
use http_body_util::{BodyExt as _, Full};
use prost::bytes::Bytes;
use tokio::time::Instant;
use tonic::{Request, Status, body::Body};
use tower::{Service, ServiceExt as _};

use super::{
    fault::{Fault, Kind},
    replicas::{Replica, Replicas},
    rpc::{Answer, Repeat, Rpc},
};

/// Pauses between the tries of a call, up to twice as long by jitter: two to
/// three seconds in all.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(20))
    .with_factor(5.0)
    .with_max_delay(Duration::from_secs(1))
    .with_max_times(4)
    .with_jitter();
/// A name without an address is waited for this long, as at the start of a
/// whole cluster.
const ADDRESS_WAIT: Duration = Duration::from_secs(5);
/// The service may take this much longer than the caller waits, so that it is
/// always the caller's clock that ends a call.
const SLACK: Duration = Duration::from_millis(250);

/// How long a call may take, where it is less than the target's deadline.
#[derive(Debug, Clone, Copy)]
struct Deadline(Duration);

/// A request that is given up after `limit`, all tries and pauses included.
pub fn within<M>(limit: Duration, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Deadline(limit));
    request
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Calls {
    replicas: Arc<Replicas>,
    deadline: Duration,
}

impl Calls {
    pub(super) fn new(replicas: Replicas, deadline: Duration) -> Self {
        Self {
            replicas: Arc::new(replicas),
            deadline,
        }
    }
}

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let limit = request
            .extensions()
            .get()
            .map_or(self.deadline, |Deadline(limit)| *limit);
        let replicas = Arc::clone(&self.replicas);
        Box::pin(async move {
            let ends = Instant::now() + limit;
            tokio::time::timeout_at(ends, answer(&replicas, request, ends))
                .await
                .unwrap_or_else(|_| {
                    Err(Status::deadline_exceeded(format!(
                        "no answer within {limit:?}"
                    )))
                })
        })
    }
}

/// The first answer of a replica.
async fn answer(
    replicas: &Replicas,
    request: http::Request<Body>,
    ends: Instant,
) -> Result<http::Response<Body>, Status> {
    let (head, body) = request.into_parts();
    let rpc = Rpc::at(head.uri.path());
    // Every request of ours is one message, so that it can be sent again.
    let body = body.collect().await?.to_bytes();
    let mut pauses = PAUSES.build();
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let replica = choose(replicas, &tried).await?;
        let request = request_of(&head, &body, rpc, ends);
        let fault = match ask(&replica, request, rpc).await {
            Ok(response) => {
                replica.recovered();
                return Ok(response);
            }
            Err(fault) => fault,
        };
        match fault.kind {
            Kind::Unreachable => {
                replica.rest();
                replicas.look_up();
            }
            Kind::Unsent | Kind::Broken => {}
        }
        // Without time for another try, what went wrong says more than that
        // the time is up.
        let in_time = |pause: &Duration| Instant::now() + *pause < ends;
        let pause = pauses.next().filter(in_time);
        let Some(pause) = pause.filter(|_| may_repeat(rpc, fault.kind)) else {
            return Err(fault.into_status(replica.address));
        };
        tracing::debug!(
            rpc = head.uri.path(), replica = %replica.address, %fault, "call is tried again"
        );
        tried.push(replica.address);
        tokio::time::sleep(pause).await;
    }
}

async fn choose(replicas: &Replicas, tried: &[SocketAddr]) -> Result<Arc<Replica>, Status> {
    let chosen = tokio::time::timeout(ADDRESS_WAIT, replicas.choose(tried)).await;
    chosen
        .ok()
        .flatten()
        .ok_or_else(|| Status::unavailable("the service's name has no address"))
}

fn may_repeat(rpc: Rpc, kind: Kind) -> bool {
    match (rpc.repeat, kind) {
        (_, Kind::Unreachable | Kind::Unsent) | (Repeat::Always, Kind::Broken) => true,
        (Repeat::Unsent, Kind::Broken) => false,
    }
}

fn request_of(head: &Parts, body: &Bytes, rpc: Rpc, ends: Instant) -> http::Request<Body> {
    let mut head = head.clone();
    if rpc.answer == Answer::Message {
        let left = ends.saturating_duration_since(Instant::now()) + SLACK;
        // gRPC allows eight digits; that many milliseconds are a day.
        let millis = left.as_millis().min(99_999_999);
        if let Ok(value) = HeaderValue::try_from(format!("{millis}m")) {
            head.headers.insert("grpc-timeout", value);
        }
    }
    http::Request::from_parts(head, Body::new(Full::new(body.clone())))
}

/// One try. A single message is received here, so that a connection that
/// breaks in the middle of it is a fault like any other.
async fn ask(
    replica: &Replica,
    request: http::Request<Body>,
    rpc: Rpc,
) -> Result<http::Response<Body>, Fault> {
    let _in_flight = replica.begin();
    let mut channel = replica.channel();
    let ready = channel.ready().await.map_err(Fault::of)?;
    let response = ready.call(request).await.map_err(Fault::of)?;
    match rpc.answer {
        Answer::Stream => Ok(response),
        Answer::Message => {
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(Fault::of)?;
            Ok(http::Response::from_parts(head, Body::new(body)))
        }
    }
}
