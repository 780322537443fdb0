//! The HTTP server of a service: bounded request heads, connections that age,
//! and the same drain as the gRPC server's.
//!
//! `axum::serve` has none of these, so hyper's connection is driven here.

mod client;
mod error_body;
mod head;

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{io::InspectReader, sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use self::{error_body::ErrorBodyWriter, head::HeadClock};
use crate::{admin::Admin, args::ServiceArgs, grpc::Listeners, tls::Tls};

pub use self::{client::Client, error_body::ErrorBody};

/// A connection between two requests is closed after that time: longer than common clients keep one
/// that they may use again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// What is in flight when a connection is told to end may take so long: longer than any request.
const LAST_ANSWERS: Duration = Duration::from_secs(120);
/// The longest head: its URI, too, is in there.
const MAX_HEAD: usize = 80 * 1024;
/// What the kernel keeps of what a client sends before it is read; it doubles that.
const RECEIVE_BUFFER: usize = 32 * 1024;
/// What may be on its way on one HTTP/2 connection, and requests at a time on it.
const HTTP2_WINDOW: u32 = 64 * 1024;
const HTTP2_STREAMS: u32 = 16;
/// Beyond it the parser refuses a request without a body; services set limits
/// of their own well below, with an error of theirs.
const MAX_HEADERS: usize = 1000;
/// After a failed accept (no file descriptors left, say) before the next one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections that are open at a time; further ones wait to be accepted.
    pub connections: usize,
    /// A head that is not complete by then is given up; a connection's first head counts from the
    /// moment when the connection was opened, TLS handshake included. By then, too, a client must
    /// have proved who it is ([`Client::proved`]), else its connection is closed.
    pub head_timeout: Duration,
    /// The certificate, if connections are encrypted.
    pub tls: Tls,
    /// Makes the body of the answer to what is not HTTP.
    pub unparsed: ErrorBody,
}

/// Serves `router`, over TLS if there is a certificate, until `shutdown`, then drains: it is not ready any more;
/// for the drain delay every answer closes its connection; then no connections
/// are accepted, and requests in flight may finish. The admin port closes last.
///
/// A connection is closed with the first answer to a request for which `router` has not called
/// [`Client::proved`] (one without a login, say), and a client that has never proved who it is
/// keeps none for longer than `head_timeout`, even if it does not read that answer.
pub async fn serve(
    args: &ServiceArgs,
    options: Options,
    listeners: Listeners,
    router: Router,
    admin: Admin,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let draining = admin.readiness.gate("drain");
    draining.open();
    let admin = admin.serve(listeners.admin);

    let connections = TaskTracker::new();
    // Connections inherit it.
    set_socket_recv_buffer_size(&listeners.service, RECEIVE_BUFFER)?;
    let life = Life {
        places: Arc::new(Semaphore::new(options.connections)),
        head_timeout: options.head_timeout,
        tls: options.tls,
        unparsed: options.unparsed,
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
    /// One for each connection that may be open.
    places: Arc<Semaphore>,
    head_timeout: Duration,
    tls: Tls,
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
        let next = async {
            let place = Arc::clone(&life.places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = life.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = open(stream, Peer(peer.ip()), router.clone(), life.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Where a request comes from, among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Serves one connection to its end, once it is one.
async fn open(stream: TcpStream, peer: Peer, router: Router, life: Life) {
    // Without it small answers wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let opened = Instant::now();
    let Some(config) = life.tls.server() else {
        return connection(stream, opened, peer, router, life).await;
    };
    let handshake = TlsAcceptor::from(config).accept(stream);
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(life.head_timeout, handshake) => shaken,
        () = life.stop.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => connection(stream, opened, peer, router, life).await,
        // The client's: it speaks no TLS, does not believe the certificate, or is silent.
        Ok(Err(_)) | Err(_) => life.tls.refused(),
    }
}

async fn connection<S>(stream: S, opened: Instant, peer: Peer, router: Router, life: Life)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let multiplexed = Arc::new(AtomicBool::new(false));
    let (clock, unknown) = (HeadClock::start(opened), CancellationToken::new());
    let client = Client::default();
    let service = service_fn({
        let (life, multiplexed) = (life.clone(), Arc::clone(&multiplexed));
        let (clock, unknown, client) = (Arc::clone(&clock), unknown.clone(), client.clone());
        move |mut request: Request<Incoming>| {
            let client = client.of_next_request();
            let http1 = request.version() < Version::HTTP_2;
            multiplexed.store(!http1, Ordering::Relaxed);
            clock.request();
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(client.clone());
            let last = opened.elapsed() > life.max_age || life.draining.is_cancelled();
            let answer = respond(router.clone(), request, life.unparsed);
            let (clock, unknown) = (Arc::clone(&clock), unknown.clone());
            async move {
                let mut response = answer.await?;
                if http1 && (last || !client.is_known()) {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                } else if !client.is_known() {
                    unknown.cancel();
                }
                clock.answered();
                Ok::<_, Infallible>(response)
            }
        }
    });
    let builder = builder();
    let stream = InspectReader::new(ErrorBodyWriter::new(stream, life.unparsed), {
        let clock = Arc::clone(&clock);
        move |bytes: &[u8]| {
            // The end of what a client sends begins no head.
            if !bytes.is_empty() {
                clock.read();
            }
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Errors here are the client's: it went away, or spoke no HTTP.
        _ = connection.as_mut() => return,
        () = late(&clock, life.head_timeout, &multiplexed) => return,
        () = client.stays_unknown(opened, life.head_timeout) => return,
        () = life.stop.cancelled() => {}
        () = unknown.cancelled() => {}
        () = aged(life.max_age, &multiplexed) => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that does not read must not keep its place.
    tokio::select! {
        _ = tokio::time::timeout(LAST_ANSWERS, connection) => {}
        () = client.stays_unknown(opened, life.head_timeout) => {}
    }
}

async fn respond(
    mut router: Router,
    request: Request<Incoming>,
    unparsed: ErrorBody,
) -> Result<Response<Body>, Infallible> {
    // RFC 9112, section 3.2: exactly one, and nobody is to guess whom the request is for.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        let mut response = Response::new(Body::from(unparsed(StatusCode::BAD_REQUEST)));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        return Ok(response);
    }
    router.call(request.map(Body::new)).await
}

/// Ends when a head takes too long; on HTTP/2 only before the first request, since what arrives
/// later may belong to any stream.
async fn late(clock: &HeadClock, limit: Duration, multiplexed: &AtomicBool) {
    loop {
        clock.exceeded(limit).await;
        if !multiplexed.load(Ordering::Relaxed) {
            return;
        }
        clock.answered();
    }
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
        .header_read_timeout(IDLE_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .initial_connection_window_size(HTTP2_WINDOW)
        .initial_stream_window_size(HTTP2_WINDOW)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder
}

#[cfg(test)]
mod tests {
    use axum::{
        middleware::{Next, from_fn},
        routing::get,
    };
    use prometheus_client::registry::Registry;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::readiness::Readiness;

    async fn start(args: ServiceArgs) -> (std::net::SocketAddr, CancellationToken, TaskTracker) {
        start_bounded(args, 100, Duration::from_secs(10)).await
    }

    async fn start_bounded(
        args: ServiceArgs,
        connections: usize,
        head_timeout: Duration,
    ) -> (std::net::SocketAddr, CancellationToken, TaskTracker) {
        let listeners = Listeners::bind(&args).await.unwrap();
        let address = listeners.service.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/nobody", get(|| async { StatusCode::UNAUTHORIZED }))
            .route(
                "/slow",
                get(|| async {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    "late"
                }),
            )
            .layer(from_fn(|request: axum::extract::Request, next: Next| {
                if request.uri().path() != "/nobody" {
                    request.extensions().get::<Client>().unwrap().proved();
                }
                next.run(request)
            }));
        let shutdown = CancellationToken::new();
        let admin = Admin::new(Readiness::default(), Registry::default());
        let (tracker, stop) = (TaskTracker::new(), shutdown.clone());
        let options = Options {
            connections,
            head_timeout,
            tls: Tls::plaintext(),
            unparsed: |_| "{}".to_owned(),
        };
        tracker.spawn(async move { serve(&args, options, listeners, router, admin, stop).await });
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
    async fn a_request_names_its_host_once() {
        let (address, _shutdown, _server) = start(ServiceArgs::for_tests()).await;
        for (head, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 200),
            ("GET / HTTP/1.0\r\n\r\n", 200),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let answer = say(&mut stream, head).await;
            assert!(answer.contains(&format!(" {status} ")), "{head}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_client_without_a_login_keeps_no_connection() {
        let (address, _shutdown, _server) = start(ServiceArgs::for_tests()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let answer = ask(&mut stream, "/nobody").await;
        assert!(answer.contains("connection: close"), "{answer}");
    }

    /// A client of HTTP/2, the stream of answers to its requests apart.
    async fn multiplexed(
        address: std::net::SocketAddr,
        window: u32,
    ) -> (
        h2::client::SendRequest<hyper::body::Bytes>,
        tokio::task::JoinHandle<Result<(), h2::Error>>,
    ) {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        (requests, tokio::spawn(connection))
    }

    fn to(path: &str, hosts: usize) -> Request<()> {
        let mut request = Request::get(format!("http://x{path}"));
        for _ in 0..hosts {
            request = request.header(header::HOST, "x");
        }
        request.body(()).unwrap()
    }

    #[tokio::test]
    async fn on_http2_the_answer_to_one_without_a_login_is_the_last_one_whatever_it_is() {
        let (address, _shutdown, _server) = start(ServiceArgs::for_tests()).await;
        for (path, hosts, status) in [("/nobody", 0, 401), ("/", 2, 400)] {
            let (mut requests, connection) = multiplexed(address, 65_535).await;
            let (answer, _) = requests.send_request(to(path, hosts), true).unwrap();
            assert_eq!(answer.await.unwrap().status(), status);
            // Though the client keeps its half.
            let ended = tokio::time::timeout(Duration::from_secs(5), connection).await;
            assert!(ended.is_ok(), "{path}: the connection stays");
            drop(requests);
        }
    }

    #[tokio::test]
    async fn one_without_a_login_that_reads_no_answer_keeps_no_place() {
        let limit = Duration::from_millis(300);
        let (address, _shutdown, _server) = start_bounded(ServiceArgs::for_tests(), 1, limit).await;
        // Its windows let no byte of a body through.
        let (mut requests, _connection) = multiplexed(address, 0).await;
        let (answer, _) = requests.send_request(to("/", 2), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 400);
        let mut next = TcpStream::connect(address).await.unwrap();
        let served = tokio::time::timeout(Duration::from_secs(5), ask(&mut next, "/")).await;
        assert!(served.unwrap().ends_with("here"));
    }

    #[tokio::test]
    async fn one_with_a_login_outlives_the_limit_of_those_without() {
        let limit = Duration::from_millis(100);
        let (address, _shutdown, _server) = start_bounded(ServiceArgs::for_tests(), 1, limit).await;
        let (mut requests, _connection) = multiplexed(address, 65_535).await;
        // Takes longer than the limit; the second comes when it is over.
        for _ in 0..2 {
            let (answer, _) = requests.send_request(to("/slow", 0), true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 200);
        }
    }

    /// Whether the server closes the connection, within seconds.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    #[tokio::test]
    async fn a_head_that_is_not_completed_is_given_up_and_an_idle_connection_is_not() {
        let late = Duration::from_millis(200);
        let (address, _shutdown, _server) = start_bounded(ServiceArgs::for_tests(), 2, late).await;
        // Two take all places: a third one is served once one of them is given up.
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut third = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut third, "/").await.ends_with("here"));
        assert!(is_closed(&mut silent).await);
        assert!(is_closed(&mut slow).await);
        // Between two requests there is time, within one there is not.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(ask(&mut third, "/slow").await.ends_with("late"));
        assert!(ask(&mut third, "/").await.ends_with("here"));
        third.write_all(b"GET / ").await.unwrap();
        assert!(is_closed(&mut third).await);
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
