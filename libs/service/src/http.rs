//! The HTTP server of a service: bounded request heads, connections that age,
//! and the same drain as the gRPC server's.
//!
//! `axum::serve` has none of these, so hyper's connection is driven here.

mod error_body;

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body};
use http::{HeaderValue, Request, Response, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use self::error_body::ErrorBodyWriter;
use crate::{admin::Admin, args::ServiceArgs, grpc::Listeners};

pub use self::error_body::ErrorBody;

/// A head that is not complete by then is given up; an idle connection, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// More than the longest URI that the `http` crate takes, and room for headers.
const MAX_HEAD: usize = 256 * 1024;
/// Beyond it the parser refuses a request without a body; services set limits
/// of their own well below, with an error of theirs.
const MAX_HEADERS: usize = 1000;
/// After a failed accept (no file descriptors left, say) before the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `shutdown`, then drains: it is not ready any more;
/// for the drain delay every answer closes its connection; then no connections
/// are accepted, and requests in flight may finish. The admin port closes last.
/// `unparsed` makes the body of the answer to what is not HTTP.
pub async fn serve(
    args: &ServiceArgs,
    listeners: Listeners,
    router: Router,
    unparsed: ErrorBody,
    admin: Admin,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let draining = admin.readiness.gate("drain");
    draining.open();
    let admin = admin.serve(listeners.admin);

    let connections = TaskTracker::new();
    let life = Life {
        unparsed,
        max_age: args.max_connection_age,
        draining: CancellationToken::new(),
        stop: CancellationToken::new(),
    };
    let accepting = accept(listeners.service, &router, &life, &connections);
    let mut accepting = pin!(accepting);
    tokio::select! {
        () = &mut accepting => {}
        () = shutdown.cancelled() => {
            draining.close();
            life.draining.cancel();
            // Balancers may still send new connections; they are served.
            let _ = tokio::time::timeout(args.drain_delay, &mut accepting).await;
            life.stop.cancel();
            accepting.await;
        }
    }
    connections.close();
    let drained = tokio::time::timeout(args.drain_time(), connections.wait()).await;
    if drained.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "connections dropped, their requests did not finish in time"
        );
    }
    admin.end().await
}

/// Settings of a connection, and what ends it other than its client.
#[derive(Debug, Clone)]
struct Life {
    unparsed: ErrorBody,
    max_age: Duration,
    /// Answers say `connection: close` from here on.
    draining: CancellationToken,
    /// The answer in flight is the last one.
    stop: CancellationToken,
}

/// Accepts until `life.stop`.
async fn accept(listener: TcpListener, router: &Router, life: &Life, connections: &TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = life.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), life.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, router: Router, life: Life) {
    // Without it small answers wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let opened = Instant::now();
    let multiplexed = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let (life, multiplexed) = (life.clone(), Arc::clone(&multiplexed));
        move |request: Request<Incoming>| {
            let http1 = request.version() < Version::HTTP_2;
            multiplexed.store(!http1, Ordering::Relaxed);
            let last = opened.elapsed() > life.max_age || life.draining.is_cancelled();
            respond(router.clone(), request, http1 && last)
        }
    });
    let builder = builder();
    let stream = TokioIo::new(ErrorBodyWriter::new(stream, life.unparsed));
    let mut connection = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        // Errors here are the client's: it went away, or spoke no HTTP.
        _ = connection.as_mut() => return,
        () = life.stop.cancelled() => {}
        () = aged(life.max_age, &multiplexed) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn respond(
    mut router: Router,
    request: Request<Incoming>,
    close: bool,
) -> Result<Response<Body>, Infallible> {
    let mut response = router.call(request.map(Body::new)).await?;
    if close {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Ends when an HTTP/2 connection is old, where GOAWAY loses no request. On
/// HTTP/1 a close between two requests can lose one, so there the next answer
/// says `connection: close` instead.
async fn aged(max_age: Duration, multiplexed: &AtomicBool) {
    tokio::time::sleep(max_age).await;
    if !multiplexed.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use prometheus_client::registry::Registry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::readiness::Readiness;

    async fn start(args: ServiceArgs) -> (std::net::SocketAddr, CancellationToken, TaskTracker) {
        let listeners = Listeners::bind(&args).await.unwrap();
        let address = listeners.service.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" })).route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "late"
            }),
        );
        let shutdown = CancellationToken::new();
        let admin = Admin::new(Readiness::default(), Registry::default());
        let (tracker, stop) = (TaskTracker::new(), shutdown.clone());
        let unparsed: ErrorBody = |_| "{}".to_owned();
        tracker.spawn(async move { serve(&args, listeners, router, unparsed, admin, stop).await });
        tracker.close();
        (address, shutdown, tracker)
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        say(stream, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
    }

    async fn say(stream: &mut TcpStream, head: &str) -> String {
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_during_the_drain_and_is_the_last_one() {
        let (address, shutdown, server) = start(ServiceArgs::for_tests()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = tokio::spawn(async move { ask(&mut stream, "/slow").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        shutdown.cancel();
        assert!(answer.await.unwrap().ends_with("late"));
        server.wait().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn what_is_not_http_is_refused_with_a_body() {
        let (address, _shutdown, _server) = start(ServiceArgs::for_tests()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut stream, "/").await.ends_with("here"));
        let answer = say(&mut stream, "what\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    }

    #[tokio::test]
    async fn an_old_connection_is_closed_by_its_next_answer() {
        let args = ServiceArgs {
            max_connection_age: Duration::from_millis(50),
            ..ServiceArgs::for_tests()
        };
        let (address, _shutdown, _server) = start(args).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(!ask(&mut stream, "/").await.contains("connection: close"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(ask(&mut stream, "/").await.contains("connection: close"));
    }
}
