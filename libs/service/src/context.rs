//! The context of a request, carried from the gateway to the last service:
//! request id and W3C trace context, in the headers `x-request-id` and
//! `traceparent` of HTTP and gRPC alike.

use std::{
    future::Future,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
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

/// What identifies a request across services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// Given by the client or made by us; for log lines, never a key.
    pub request_id: String,
    /// `00-<trace>-<span>-<flags>`.
    pub traceparent: String,
}

impl RequestContext {
    /// Takes what the headers carry; makes what is missing or malformed.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(REQUEST_ID)
            .filter(|id| !id.is_empty() && id.len() <= 256)
            .map_or_else(fresh_id, str::to_owned);
        let trace = text(TRACEPARENT)
            .and_then(trace_id)
            .map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned);
        Self {
            request_id,
            traceparent: format!("00-{trace}-{:016x}-01", rand::random::<u64>()),
        }
    }

    /// The trace id inside `traceparent`.
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
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

/// From the thread's own generator: no system call for each request.
fn fresh_id() -> String {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    id.to_string()
}

fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
    (version == "00" && hex && trace.bytes().any(|byte| byte != b'0')).then_some(trace)
}

/// Adds the current context to an outgoing gRPC call; an interceptor for clients.
pub fn inject(mut request: Request<()>) -> Result<Request<()>, Status> {
    if let Some(context) = RequestContext::current() {
        let metadata = request.metadata_mut();
        if let Ok(value) = context.request_id.parse() {
            metadata.insert(REQUEST_ID, value);
        }
        if let Ok(value) = context.traceparent.parse() {
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

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let context = RequestContext::from_headers(request.headers());
        if let Ok(value) = HeaderValue::from_str(&context.request_id) {
            request.headers_mut().insert(REQUEST_ID, value);
        }
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
            (context.request_id.as_str(), context.trace_id()),
            ("r-1", trace)
        );

        headers.insert(TRACEPARENT, HeaderValue::from_static("nonsense"));
        let context = RequestContext::from_headers(&headers);
        assert_eq!(context.trace_id().len(), 32);
        assert_ne!(context.trace_id(), trace);
    }

    #[tokio::test]
    async fn the_current_context_travels_with_calls() {
        let context = RequestContext {
            request_id: "r-2".into(),
            traceparent: "00-a-b-01".into(),
        };
        let request = context
            .scope(async { inject(Request::new(())).unwrap() })
            .await;
        assert_eq!(request.metadata().get(REQUEST_ID).unwrap(), "r-2");
        assert!(inject(Request::new(())).unwrap().metadata().is_empty());
    }
}
