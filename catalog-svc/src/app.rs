//! From arguments to a running service.

use std::{fmt, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use broker_proto::v1::catalog_server::CatalogServer;
use kube::Client;
use prometheus_client::registry::Registry;
use service::{Admin, Readiness, grpc::Listeners};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    args::Args,
    discovery::{Discovery, Inputs},
    grpc,
    metrics::Metrics,
    orderable::Cluster,
    published::Published,
    source::{
        Content, config_map,
        directory::{self, Directories},
        url::Fetcher,
    },
    store::Store,
};

/// The service, listening but not yet at work.
pub struct App {
    args: Args,
    client: Client,
    listeners: Listeners,
    address: SocketAddr,
    admin_address: SocketAddr,
    fetcher: Fetcher,
}

/// Serves until `shutdown`, with the cluster that the environment names.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("find the Kubernetes API server")?;
    App::bind(args, client).await?.run(shutdown).await
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Binds both listeners before any work.
    pub async fn bind(args: Args, client: Client) -> anyhow::Result<Self> {
        let fetcher = Fetcher::new(&args.url)?;
        let listeners = Listeners::bind(&args.service).await?;
        Ok(Self {
            address: listeners.service.local_addr()?,
            admin_address: listeners.admin.local_addr()?,
            args,
            client,
            listeners,
            fetcher,
        })
    }

    /// Where gRPC is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin port is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let args = self.args;
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let readiness = Readiness::default();
        let gate = readiness.gate("catalog");
        let store = Store::new(self.client.clone(), &args.namespace);

        let (publisher, published) = watch::channel::<Option<Arc<Published>>>(None);
        let mut tasks = JoinSet::new();
        let directories = {
            let mut directories = Directories::new(&args.templates.templates);
            tokio::task::spawn_blocking(move || {
                directories.refresh();
                directories
            })
            .await?
        };
        let (folders, from_folders) = watch::channel(directories.content());
        tasks.spawn(directory::watch(
            directories,
            args.poll,
            folders,
            shutdown.clone(),
        ));
        let (maps, from_maps) = watch::channel::<Option<Content>>(None);
        tasks.spawn(config_map::watch(
            self.client.clone(),
            args.namespace.clone(),
            maps,
            shutdown.clone(),
        ));
        let inputs = Inputs {
            folders: from_folders,
            maps: from_maps,
        };
        let discovery = Discovery {
            fetcher: self.fetcher,
            store: store.clone(),
            cluster: Cluster::new(self.client, &args),
            publisher,
            metrics,
            gate,
            recheck: args.recheck,
        };
        tasks.spawn(discovery.run(inputs, shutdown.clone()));

        let service = grpc::Service::new(published, store, shutdown.clone());
        let serving = service::grpc::serve(
            &args.service,
            self.listeners,
            Routes::new(CatalogServer::new(service)),
            broker_proto::DESCRIPTORS,
            &[grpc::NAME],
            Admin::new(readiness, registry),
            shutdown.clone(),
        );
        tokio::pin!(serving);
        loop {
            tokio::select! {
                outcome = &mut serving => {
                    shutdown.cancel();
                    while let Some(task) = tasks.join_next().await {
                        joined(task)?;
                    }
                    return outcome;
                }
                // A part that ends early takes the process with it: half a
                // service would serve an old catalog for ever.
                Some(task) = tasks.join_next() => joined(task)?,
            }
        }
    }
}

fn joined(task: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    task.context("join a part of the service")?
}
