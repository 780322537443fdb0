//! Around everything: request context, time limit, panics, the echo of the
//! platform's request identity, the metrics, and a log line unless it is a read
//! that was answered.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, Uri},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use service::{context::RequestContext, http::Peer};
use tracing::Instrument as _;

use super::admit::admit;
use crate::{
    error::{Error, Note},
    extract::BodyPermit,
    gateway::{Gateway, Shared},
    metrics::RouteLabels,
    paths,
};

/// Echoed in every answer (H-08). Not a key: it may repeat.
const REQUEST_IDENTITY: &str = "x-broker-api-request-identity";
/// Longer paths are cut in log lines.
const MAX_LOGGED: usize = 512;
/// In metrics and log where the client left before the answer.
const CLIENT_LEFT: u16 = 499;

/// See the module.
pub(super) async fn observe(
    State(gateway): State<Shared>,
    mut request: Request,
    next: Next,
) -> Response {
    let context = context(request.headers());
    let span = if is_read(&request) {
        tracing::debug_span!(
            "request",
            request.id = %context.request_id,
            trace.id = %context.trace_id(),
        )
    } else {
        tracing::info_span!(
            "request",
            request.id = %context.request_id,
            trace.id = %context.trace_id(),
        )
    };
    let request_id = Arc::clone(&context.request_id);
    let answered = async {
        let observation = Observation::begin(&gateway, &request, request_id);
        let identity = request
            .headers()
            .get(REQUEST_IDENTITY)
            .filter(|value| !value.is_empty())
            .cloned();
        let peer = request.extensions().get::<Peer>().copied();
        // Held until the answer is made.
        let body = (!is_read(&request)).then(BodyPermit::default);
        if let Some(body) = &body {
            request.extensions_mut().insert(body.clone());
        }
        let answer = async {
            match admit(&gateway, &mut request) {
                Ok(_permit) => next.run(request).await,
                Err(error) => {
                    // It may be large, and the answer may take a while.
                    drop(request);
                    if let (Error::Unauthorized, Some(Peer(from))) = (&error, peer) {
                        let wait = gateway.slowdown.wrong(from, Instant::now());
                        tracing::warn!(peer = %from, "wrong user name or password");
                        tokio::time::sleep(wait).await;
                    }
                    error.into_response()
                }
            }
        };
        let mut response = guarded(gateway.request_timeout, answer).await;
        if let Some(identity) = identity {
            response.headers_mut().insert(REQUEST_IDENTITY, identity);
        }
        observation.end(&response);
        response
    };
    context.scope(answered.instrument(span)).await
}

/// Polls and the like are many, and tell nothing: metrics count them, and only
/// those that fail are in the log. Writing a span, too, costs more than the
/// answer.
fn is_read(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The platform's request identity is the request id where it can be one.
fn context(headers: &HeaderMap) -> RequestContext {
    let mut context = RequestContext::from_headers(headers);
    let identity = headers
        .get(REQUEST_IDENTITY)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty() && text.len() <= 256);
    if let Some(identity) = identity {
        context.request_id = Arc::from(identity);
    }
    context
}

/// An answer in any case: 504 past the limit (408 would tell platforms that
/// nothing was begun), 500 after a panic.
async fn guarded(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    let caught = AssertUnwindSafe(answer).catch_unwind();
    match tokio::time::timeout(limit, caught).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // The panic hook has already written where and why.
            tracing::error!("handler panicked");
            Error::Internal.into_response()
        }
        Err(_) => Error::TimedOut.into_response(),
    }
}

/// One request's log line and metrics; made also when the client leaves and
/// the request is dropped.
struct Observation<'g> {
    gateway: &'g Gateway,
    labels: RouteLabels,
    uri: Uri,
    request_id: Arc<str>,
    is_read: bool,
    began: Instant,
    ended: bool,
}

impl<'g> Observation<'g> {
    fn begin(gateway: &'g Gateway, request: &Request, request_id: Arc<str>) -> Self {
        gateway.metrics.began();
        Self {
            gateway,
            labels: labels(request),
            uri: request.uri().clone(),
            request_id,
            is_read: is_read(request),
            began: Instant::now(),
            ended: false,
        }
    }

    fn end(mut self, response: &Response) {
        self.ended = true;
        self.record(response.status().as_u16(), response.extensions().get());
    }

    fn record(&self, status: u16, note: Option<&Note>) {
        let took = self.began.elapsed();
        self.gateway.metrics.ended(&self.labels, status, took);
        let RouteLabels { route, method } = self.labels;
        let path = logged(self.uri.path());
        let duration_ms = took.as_secs_f64() * 1000.0;
        let request_id = self.is_read.then_some(&*self.request_id);
        match note {
            Some(note) if status >= 500 => tracing::warn!(
                request.id = request_id,
                method, route, path, status, duration_ms,
                error = note.code,
                description = %note.description,
                "request failed"
            ),
            Some(note) => tracing::info!(
                request.id = request_id,
                method,
                route,
                path,
                status,
                duration_ms,
                error = note.code,
                "request refused"
            ),
            None if self.is_read => {
                tracing::debug!(method, route, path, status, duration_ms, "request answered");
            }
            None => tracing::info!(method, route, path, status, duration_ms, "request answered"),
        }
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.record(CLIENT_LEFT, None);
        }
    }
}

/// The path, still percent-encoded: it holds the ids and nothing else.
fn logged(path: &str) -> &str {
    let end = path.char_indices().nth(MAX_LOGGED);
    end.map_or(path, |(end, _)| &path[..end])
}

fn labels(request: &Request) -> RouteLabels {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched
        .and_then(|matched| {
            paths::ALL
                .into_iter()
                .find(|path| *path == matched.as_str())
        })
        .unwrap_or("unknown");
    let method = match *request.method() {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "OTHER",
    };
    RouteLabels { route, method }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_500_and_a_late_answer_504() {
        let response = guarded(Duration::from_secs(5), async { panic!("at the disco") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let response = guarded(Duration::from_millis(5), std::future::pending()).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
