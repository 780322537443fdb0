//! The baseline of the catalog: a server with nothing but a handler.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    http::{StatusCode, header},
    routing::get,
};
use tokio::{net::TcpListener, sync::oneshot};

/// Starts one on threads of its own; returns where it listens.
pub(crate) async fn start(bytes: Bytes) -> anyhow::Result<SocketAddr> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let tell = |address| {
            let _ = sender.send(address);
        };
        tokio::runtime::Runtime::new()?.block_on(serve("127.0.0.1:0", bytes, tell))
    });
    receiver.await.context("start the bare handler")
}

/// Answers `/200` with the bytes and `/304` with nothing, for ever.
pub(crate) async fn serve(
    listen: &str,
    bytes: Bytes,
    listens: impl FnOnce(SocketAddr),
) -> anyhow::Result<()> {
    let whole = get(async move || ([(header::CONTENT_TYPE, "application/json")], bytes));
    let same = get(async || StatusCode::NOT_MODIFIED);
    let router = Router::new().route("/200", whole).route("/304", same);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen at {listen}"))?;
    listens(listener.local_addr()?);
    axum::serve(listener, router).await.context("serve")
}
