//! The baseline of reads: an HTTP handler that asks a gRPC service, both with nothing in them, in a
//! process of their own, so that what they use of the processor can be told.

use std::{net::SocketAddr, process::Stdio};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A running one; ends when it is dropped.
pub(crate) struct Hop {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Hop {
    /// Starts this program as one.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .arg("--hop")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the bare hop")?;
        let output = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        let line = lines.next_line().await.context("read its address")?;
        let address = line.unwrap_or_default().parse().context("its address")?;
        Ok(Self { child, address })
    }

    /// Its process.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the bare hop has ended")
    }
}

/// Serves, and prints where, for ever.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let callee = listener.local_addr()?;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let callee_served = Server::builder()
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let channel = Endpoint::from_shared(format!("http://{callee}"))?.connect_lazy();
    let router = Router::new()
        .route("/", get(ask))
        .with_state(HealthClient::new(channel));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let caller_served = async { axum::serve(listener, router).await.context("serve HTTP") };
    let callee_served = async { callee_served.await.context("serve gRPC") };
    tokio::try_join!(callee_served, caller_served).map(drop)
}

async fn ask(State(mut client): State<HealthClient<Channel>>) -> (StatusCode, String) {
    match client.check(HealthCheckRequest::default()).await {
        Ok(answer) => (
            StatusCode::OK,
            format!("{{\"status\":{}}}", answer.get_ref().status),
        ),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    }
}
