//! The context of a request, carried from the gateway to the last service:
//! request id and W3C trace context, in the headers `x-request-id` and
//! `traceparent` of HTTP and gRPC alike.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::HeaderMap;
use tonic::{Request, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

/// gRPC metadata and HTTP header of the request id.
pub const REQUEST_ID: &str = "x-request-id";
/// W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// What identifies a request across services. It is made for each request, and
/// most are answered without a call or a log line: what it takes to write it
/// down is left to those that do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// Given by the client or made by us; for log lines, never a key.
    pub request_id: Arc<str>,
    trace: TraceId,
    /// Of this service's part in the trace.
    span: u64,
}

/// Of W3C Trace Context: 32 hexadecimal digits, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl RequestContext {
    /// Of a request with that id, in a new trace.
    pub fn new(request_id: impl Into<Arc<str>>) -> Self {
        Self {
            request_id: request_id.into(),
            trace: TraceId::random(),
            span: rand::random(),
        }
    }

    /// Takes what the headers carry; makes what is missing or malformed.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(REQUEST_ID)
            .filter(|id| !id.is_empty() && id.len() <= 256)
            .map_or_else(fresh_id, Arc::from);
        let trace = text(TRACEPARENT).and_then(TraceId::of_traceparent);
        Self {
            request_id,
            trace: trace.unwrap_or_else(TraceId::random),
            span: rand::random(),
        }
    }

    /// The trace that the request is a part of.
    pub fn trace_id(&self) -> TraceId {
        self.trace
    }

    /// The header for calls that are made for the request.
    fn traceparent(&self) -> String {
        format!("00-{}-{:016x}-01", self.trace, self.span)
    }

    /// The context of the running task, if it serves a request.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` with this context as the current one.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }
}

impl TraceId {
    fn random() -> Self {
        Self(rand::random::<u128>().max(1))
    }

    fn of_traceparent(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        // A sign would be a number's, too.
        let hex = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(trace, 16).ok()?;
        (version == "00" && hex && number != 0).then_some(Self(number))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// From the thread's own generator: no system call for each request.
fn fresh_id() -> Arc<str> {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let mut buffer = uuid::Uuid::encode_buffer();
    Arc::from(&*id.hyphenated().encode_lower(&mut buffer))
}

/// Adds the current context to an outgoing gRPC call; an interceptor for clients.
pub fn inject(mut request: Request<()>) -> Result<Request<()>, Status> {
    if let Some(context) = RequestContext::current() {
        let metadata = request.metadata_mut();
        if let Ok(value) = context.request_id.parse() {
            metadata.insert(REQUEST_ID, value);
        }
        if let Ok(value) = context.traceparent().parse() {
            metadata.insert(TRACEPARENT, value);
        }
    }
    Ok(request)
}

/// Server side: reads the context from the headers, opens a span with it, and
/// makes it current while the request is served.
#[derive(Debug, Clone, Copy, Default)]
pub struct ContextLayer;

impl<S> Layer<S> for ContextLayer {
    type Service = ContextService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ContextService { inner }
    }
}

/// Whether a gRPC method, as a path, only reads: by its name.
fn is_read(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    let reads = ["Get", "Fetch", "Last", "List", "Watch"];
    reads.into_iter().any(|verb| method.starts_with(verb))
}

/// See [`ContextLayer`].
#[derive(Debug, Clone)]
pub struct ContextService<S> {
    inner: S,
}

impl<S, B> Service<http::Request<B>> for ContextService<S>
where
    S: Service<http::Request<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let context = RequestContext::from_headers(request.headers());
        let path = request.uri().path();
        // Of reads nothing is logged as a rule, and to write a span costs more
        // than to answer.
        let span = if is_read(path) {
            tracing::debug_span!(
                "request",
                request.id = %context.request_id,
                trace.id = %context.trace_id(),
                path,
            )
        } else {
            tracing::info_span!(
                "request",
                request.id = %context.request_id,
                trace.id = %context.trace_id(),
                path,
            )
        };
        // The clone that was polled ready serves this request (tower's contract).
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let call = async move { inner.call(request).await };
        Box::pin(context.scope(call).instrument(span))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_trace_goes_on_and_a_malformed_one_is_replaced() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("r-1"));
        headers.insert(
            TRACEPARENT,
            HeaderValue::from_str(&format!("00-{trace}-b7ad6b7169203331-01")).unwrap(),
        );
        let context = RequestContext::from_headers(&headers);
        assert_eq!(
            (&*context.request_id, &*context.trace_id().to_string()),
            ("r-1", trace)
        );

        let first = context.trace_id();
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let signed = "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for malformed in ["nonsense", zero, signed] {
            headers.insert(TRACEPARENT, HeaderValue::from_static(malformed));
            let context = RequestContext::from_headers(&headers);
            assert_eq!(context.trace_id().to_string().len(), 32);
            assert_ne!(context.trace_id(), first);
        }
    }

    #[tokio::test]
    async fn the_current_context_travels_with_calls() {
        let context = RequestContext::new("r-2");
        let trace = context.trace_id();
        let request = context
            .scope(async { inject(Request::new(())).unwrap() })
            .await;
        assert_eq!(request.metadata().get(REQUEST_ID).unwrap(), "r-2");
        let headers = request.metadata().clone().into_headers();
        assert_eq!(RequestContext::from_headers(&headers).trace_id(), trace);
        assert!(inject(Request::new(())).unwrap().metadata().is_empty());
    }
}
