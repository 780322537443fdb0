//! Start-up and end of the service: connect, serve, drain.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use broker_proto::v1::binder_server::BinderServer;
use cluster::{
    cache::Cache,
    event::Events,
    share::{Share, Timing},
};
use kube::Client;
use prometheus_client::registry::Registry;
use service::{
    Admin, Readiness, ReplicaArgs, Tasks,
    grpc::{Listeners, serve},
    supervise,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    args::Args,
    cascade,
    databases::Databases,
    expiry,
    grpc::Server,
    metrics::Metrics,
    mongo::driver::Driver,
    reconcile,
    shared::{Shared, Times},
    store::Store,
    sweep,
    upstream::{self, Instances},
    workers::Workers,
};

const NAMES: &[&str] = &["mongodb_osb.v1.Binder"];
const SERVICE: &str = "binder-svc";
/// Between looks at pools and targets that are not used any more.
const EVICT: std::time::Duration = std::time::Duration::from_secs(60);

/// A binder whose listeners are bound and that has not begun to work.
pub struct App {
    args: Args,
    client: Client,
    listeners: Listeners,
    address: SocketAddr,
    admin_address: SocketAddr,
}

impl App {
    /// Binds the listeners.
    pub async fn bind(args: Args, client: Client) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&args.service).await?;
        Ok(Self {
            address: listeners
                .service
                .local_addr()
                .context("read the service's address")?,
            admin_address: listeners
                .admin
                .local_addr()
                .context("read the admin address")?,
            args,
            client,
            listeners,
        })
    }

    /// Where it serves gRPC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin port is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Works until `shutdown`, then drains.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            args,
            client,
            listeners,
            address: _,
            admin_address: _,
        } = self;
        let (mut registry, readiness) = (Registry::default(), Readiness::default());
        let mut tasks = Tasks::new(&readiness);
        let (shared, workers) = connect(&args, client, &mut registry, &mut tasks)?;
        background(&shared, &workers, &mut tasks);
        let served = serve(
            &args.service,
            listeners,
            Routes::new(BinderServer::new(Server::new(shared, workers))),
            broker_proto::DESCRIPTORS,
            NAMES,
            Admin::new(readiness, registry),
            shutdown.clone(),
        );
        supervise(&args.service, served, tasks, shutdown).await
    }
}

/// Puts the parts together, with the tasks that own what others only see.
fn connect(
    args: &Args,
    client: Client,
    registry: &mut Registry,
    tasks: &mut Tasks,
) -> anyhow::Result<(Arc<Shared>, Workers)> {
    let ReplicaArgs {
        replica,
        lease_renew,
        lease_lifetime,
    } = args.replica.clone();
    let timing = Timing {
        renew: lease_renew,
        lifetime: lease_lifetime,
    };
    let share = Share::new(client.clone(), &args.namespace, SERVICE, &replica, timing);
    let driver = Arc::new(Driver::default());
    let shared = Arc::new(Shared {
        store: Store::new(client.clone(), &args.namespace),
        cache: Cache::default(),
        instances: Instances::connect(&args.provisioner)?,
        bundles: upstream::bundles(&args.catalog)?,
        databases: Databases::new(client.clone()),
        users: Arc::<Driver>::clone(&driver),
        members: share.members(),
        tenure: share.tenure(),
        metrics: Metrics::register(registry),
        events: Events::new(client, SERVICE, &replica),
        times: Times::new(args),
        holder: format!("{replica}/{}", cluster::names::random(5)),
        replica: replica.clone(),
    });
    let mut members = share.members();
    // A synchronous request names this replica as its driver, which the others
    // believe only while its lease lives.
    let held = async move {
        if members
            .wait_for(|members| members.lives(&replica))
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    };
    tasks.spawn_gated("lease", held, share.run(tasks.stop()));
    tasks.spawn("evict", evict(driver, Arc::clone(&shared), tasks.stop()));
    let workers = Workers::new(Arc::clone(&shared), tasks.stop());
    Ok((shared, workers))
}

/// What works beside the server.
fn background(shared: &Arc<Shared>, workers: &Workers, tasks: &mut Tasks) {
    let stop = tasks.stop();
    let (records, cache) = (shared.store.api().clone(), shared.cache.clone());
    let listed = async move { cache.synced().await };
    tasks.spawn_gated(
        "records",
        listed,
        shared.cache.clone().run(records, stop.clone()),
    );
    let parts = || (Arc::clone(shared), workers.clone(), stop.clone());
    let (context, pool, end) = parts();
    tasks.spawn("reconcile", reconcile::run(context, pool, end));
    let (context, pool, end) = parts();
    tasks.spawn("cascade", cascade::run(context, pool, end));
    tasks.spawn("sweep", sweep::run(Arc::clone(shared), stop.clone()));
    tasks.spawn("expiry", expiry::run(Arc::clone(shared), stop.clone()));
    let workers = workers.clone();
    tasks.spawn("workers", async move {
        stop.cancelled().await;
        workers.join().await;
    });
}

/// Runs the service with the cluster of the environment.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("find the Kubernetes cluster")?;
    Box::pin(App::bind(args, client).await?.run(shutdown)).await
}

async fn evict(driver: Arc<Driver>, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVICT) => {
                driver.evict_idle();
                shared.databases.evict_old();
            }
        }
    }
}
