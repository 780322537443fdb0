//! From arguments to a running gateway: connect, serve, drain.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use broker_proto::client::Target;
use prometheus_client::registry::Registry;
use service::{Admin, Readiness, Tasks, Tls, context, grpc::Listeners, http::Options, supervise};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    args::Args,
    auth::{Credentials, Slowdown},
    catalog::Follower,
    error,
    gateway::{Gateway, Shared},
    metrics::Metrics,
    peers::Peers,
    routes,
};

/// Bodies of the largest size that may be there at a time; smaller ones are more. What is made of
/// a body on its way to a service takes some ten times as much.
const BODIES: usize = 12;
/// From the first byte of a request's head to its last one; from when a connection is opened, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What a request may take beyond its call: reading the body, writing the answer.
const SLACK: Duration = Duration::from_secs(5);

/// A gateway with its listeners bound.
#[derive(Debug)]
pub struct App {
    args: Args,
    listeners: Listeners,
    tls: Tls,
    https: Tls,
    gateway: Shared,
    follower: Follower,
    admin: Admin,
}

/// Runs a gateway until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    App::bind(args).await?.run(shutdown).await
}

impl App {
    /// Reads the credentials, binds the listeners and starts connecting to the
    /// services; does not wait for them.
    pub async fn bind(args: Args) -> anyhow::Result<Self> {
        let credentials = Credentials::load(args.http.credentials.clone())?;
        let listeners = Listeners::bind(&args.service).await?;
        let mut registry = Registry::default();
        let tls = Tls::load(&args.service, &mut registry)?;
        let reload = args.service.tls_reload;
        let https = Tls::load_https(args.http.https.clone(), reload, &mut registry)?;
        let peers =
            Peers::connect(&args.peers, &tls).context("connect to the broker's services")?;
        let catalog = Target::new(
            args.peers.catalog.clone(),
            args.peers.read_deadline,
            context::inject,
        )
        .with_tls(tls.client())
        .catalog()
        .context("connect to catalog-svc (BROKER_CATALOG)")?;
        let metrics = Metrics::register(&mut registry);
        let readiness = Readiness::default();
        let (slot, newest) = watch::channel(None);
        let follower = Follower {
            client: catalog,
            slot,
            connected: metrics.catalog_stream.clone(),
        };
        let gateway = Gateway {
            credentials,
            catalog: newest,
            peers,
            metrics,
            slowdown: Slowdown::default(),
            in_flight: Semaphore::new(usize::try_from(args.http.max_in_flight)?),
            body_bytes: Arc::new(Semaphore::new(
                BODIES * usize::try_from(args.http.max_body)?,
            )),
            request_timeout: args.peers.write_deadline + SLACK,
            max_body: usize::try_from(args.http.max_body)?,
            poll_terminal: args.http.deprovision_poll_terminal,
        };
        Ok(Self {
            listeners,
            tls,
            https,
            gateway: Arc::new(gateway),
            follower,
            admin: Admin::new(readiness, registry),
            args,
        })
    }

    /// Where OSB is served.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.service.local_addr()
    }

    /// Where the admin port is.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.admin.local_addr()
    }

    /// The routes, for callers that need no socket.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.gateway))
    }

    /// Serves until `shutdown`, then drains.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let router = self.router();
        let Self {
            args,
            listeners,
            tls,
            https,
            gateway,
            follower,
            admin,
        } = self;
        let mut tasks = Tasks::new(&admin.readiness);
        let stop = tasks.stop();
        tasks.spawn("tls", tls.follow(stop.clone()));
        tasks.spawn("https", https.clone().follow(stop.clone()));
        let mut catalog = gateway.catalog.clone();
        let received = async move {
            // Not an error: the follower holds the sender.
            let _ = catalog.wait_for(Option::is_some).await;
        };
        tasks.spawn_gated("catalog", received, follower.run(stop.clone()));
        let credentials = gateway.credentials.clone();
        let reload = args.http.credentials_reload;
        tasks.spawn("credentials", credentials.follow(reload, stop));
        let served = service::http::serve(
            &args.service,
            Options {
                connections: usize::try_from(args.http.max_connections)?,
                head_timeout: HEAD_TIMEOUT,
                tls: https,
                unparsed: error::unparsed,
            },
            listeners,
            router,
            admin,
            shutdown.clone(),
        );
        supervise(&args.service, served, tasks, shutdown).await
    }
}
