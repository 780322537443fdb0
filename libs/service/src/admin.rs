//! The admin port: `/live`, `/ready`, `/metrics`. It is the last to close, so
//! that a drain can be watched.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// How long connections to the admin port may keep it open at the end.
const CLOSING: Duration = Duration::from_secs(1);

/// What the admin port shows.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Behind `/ready`.
    pub readiness: Readiness,
    /// Behind `/metrics`.
    pub registry: Arc<Registry>,
}

impl Admin {
    /// Shows `readiness` and the metrics of `registry`.
    pub fn new(readiness: Readiness, registry: Registry) -> Self {
        Self {
            readiness,
            registry: Arc::new(registry),
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/live", get(|| async { "alive\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }

    /// Starts to serve on `listener`, until [`Serving::end`].
    pub(crate) fn serve(self, listener: TcpListener) -> Serving {
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            axum::serve(listener, self.router())
                .with_graceful_shutdown(stopped)
                .await
        });
        Serving { stop, task }
    }
}

/// An admin port that is being served.
#[derive(Debug)]
pub(crate) struct Serving {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Serving {
    /// Closes the port; connections get a moment to end.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let Ok(joined) = tokio::time::timeout(CLOSING, self.task).await else {
            tracing::warn!("admin port closed with connections open");
            return Ok(());
        };
        joined
            .context("join the admin port")?
            .context("serve the admin port")
    }
}

/// Serves the admin port alone until `shutdown`: for a process without another.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let serving = admin.serve(listener);
    shutdown.cancelled().await;
    serving.end().await
}

/// Binds a listener; the error names the address and the argument.
pub async fn bind(address: SocketAddr, argument: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {address} ({argument})"))
}

async fn ready(State(admin): State<Admin>) -> Response {
    let closed = admin.readiness.closed();
    if closed.is_empty() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        let text = format!("waiting for: {}\n", closed.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &admin.registry) {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics not encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
