//! From arguments to a running service.

use std::{fmt, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use broker_proto::v1::catalog_server::CatalogServer;
use kube::Client;
use prometheus_client::registry::Registry;
use sandbox::Sandbox;
use service::{
    Admin, Readiness, Tasks, Tls,
    grpc::{Contract, Listeners},
    supervise,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    args::Args,
    discovery::{Discovery, Inputs, check::Checks, fetches::Fetches},
    events, grpc,
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

    /// Serves until `shutdown`, then drains.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            args,
            client,
            listeners,
            address: _,
            admin_address: _,
            fetcher,
        } = self;
        let (mut registry, readiness) = (Registry::default(), Readiness::default());
        let store = Store::new(client.clone(), &args.bundles_namespace());
        let (publisher, published) = watch::channel::<Option<Arc<Published>>>(None);
        let (complete, mut completed) = watch::channel(false);
        let mut cluster = Cluster::new(client.clone(), &args.namespace);
        if !args.check_rights {
            cluster.assume_rights();
        }
        let discovery = Discovery {
            namespace: args.namespace.clone(),
            // A look comes with each recheck: half of it never misses one.
            fetches: Fetches::new(fetcher, store.clone(), args.recheck / 2),
            checks: Checks::new(Sandbox::new(&args.sandbox)),
            store: store.clone(),
            cluster,
            publisher,
            metrics: Metrics::register(&mut registry),
            complete,
            recheck: args.recheck,
        };
        let mut tasks = Tasks::new(&readiness);
        let tls = Tls::load(&args.service, &mut registry)?;
        tasks.spawn("tls", tls.clone().follow(tasks.stop()));
        let events = events::follow(
            client.clone(),
            args.plans_namespace(),
            published.clone(),
            tasks.stop(),
        );
        tasks.spawn("events", events);
        let inputs = sources(&args, client, &mut tasks).await?;
        let work = discovery.run(inputs, tasks.stop());
        let opened = async move {
            // Not an error: the task beside it holds the sender.
            let _ = completed.wait_for(|complete| *complete).await;
        };
        tasks.spawn_gated("catalog", opened, work);

        let service = grpc::Service::new(published, store, shutdown.clone());
        let served = service::grpc::serve(
            &args.service,
            listeners,
            tls,
            Routes::new(CatalogServer::new(service)),
            Contract {
                descriptors: broker_proto::DESCRIPTORS,
                names: &[grpc::NAME],
                callers: broker_proto::CALLERS,
            },
            Admin::new(readiness, registry),
            shutdown.clone(),
        );
        supervise(&args.service, served, tasks, shutdown).await
    }
}

/// Follows the places that plans come from; folders have been read once by then.
async fn sources(args: &Args, client: Client, tasks: &mut Tasks) -> anyhow::Result<Inputs> {
    let mut directories = Directories::new(&args.templates.templates);
    let directories = tokio::task::spawn_blocking(move || {
        directories.refresh();
        directories
    })
    .await?;
    let (folders, from_folders) = watch::channel(directories.content());
    let (maps, from_maps) = watch::channel::<Option<Content>>(None);
    let stop = tasks.stop();
    tasks.spawn(
        "folders",
        directory::watch(directories, args.poll, folders, stop.clone()),
    );
    tasks.spawn(
        "config-maps",
        config_map::watch(client, args.plans_namespace(), maps, stop),
    );
    Ok(Inputs {
        folders: from_folders,
        maps: from_maps,
    })
}
