//! Start-up and end of the service: connect, serve, drain.

use std::{net::SocketAddr, sync::Arc};

use ::work::Pool;
use anyhow::Context as _;
use broker_proto::v1::binder_server::BinderServer;
use cluster::{
    cache::Cache,
    event::Events,
    records::Records,
    share::{Share, Timing},
};
use kube::Client;
use prometheus_client::registry::Registry;
use sandbox::Sandbox;
use service::{
    Admin, Readiness, ReplicaArgs, Tasks, Tls,
    grpc::{Contract, Listeners, serve},
    supervise,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    args::Args,
    cascade,
    context::{Context, Times},
    databases::Databases,
    expiry,
    grpc::Server,
    metrics::Metrics,
    mongo::driver::Driver,
    reserve::Reserve,
    resource::ServiceBinding,
    store::Store,
    sweep,
    upstream::{self, Instances},
    work::Bindings,
};

const NAMES: &[&str] = &["mongodb_osb.v1.Binder"];
const SERVICE: &str = "binder-svc";
/// Between looks at all records: second looks, tombstones, deadlines.
const TICK: std::time::Duration = std::time::Duration::from_secs(5);
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
        let tls = Tls::load(&args.service, &mut registry)?;
        tasks.spawn("tls", tls.clone().follow(tasks.stop()));
        let context = connect(&args, client, &tls, &mut registry, &mut tasks)?;
        background(&context, &mut tasks);
        let served = serve(
            &args.service,
            listeners,
            tls,
            Routes::new(BinderServer::new(Server::new(context))),
            Contract {
                descriptors: broker_proto::DESCRIPTORS,
                names: NAMES,
                callers: broker_proto::CALLERS,
            },
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
    tls: &Tls,
    registry: &mut Registry,
    tasks: &mut Tasks,
) -> anyhow::Result<Arc<Context>> {
    let share = share(args, &client);
    let cache = Cache::default();
    let pool = pool(args, &client, &cache, &share, registry);
    let driver = Arc::new(Driver::default());
    let replica = args.replica.replica.clone();
    let context = Arc::new(Context {
        store: Store::new(client.clone(), &args.bindings_namespace()),
        cache,
        pool,
        instances: Instances::connect(&args.provisioner, tls.client())?,
        bundles: upstream::bundles(&args.catalog, tls.client())?,
        databases: Databases::new(client.clone(), Sandbox::new(&args.sandbox)),
        users: Arc::<Driver>::clone(&driver),
        reserve: Reserve::new(client.clone()),
        members: share.members(),
        tenure: share.tenure(),
        metrics: Metrics::register(registry),
        events: Events::new(client, SERVICE, &replica),
        times: Times::new(args),
        holder: format!("{replica}/{}", cluster::names::random(5)),
        replica,
    });
    tasks.spawn_gated("lease", share.joined(), share.run(tasks.stop()));
    tasks.spawn("evict", evict(driver, Arc::clone(&context), tasks.stop()));
    Ok(context)
}

/// Its part of the records.
fn share(args: &Args, client: &Client) -> Share {
    let ReplicaArgs {
        replica,
        lease_renew: renew,
        lease_lifetime: lifetime,
    } = &args.replica;
    let timing = Timing {
        renew: *renew,
        lifetime: *lifetime,
    };
    Share::new(
        client.clone(),
        &args.bindings_namespace(),
        SERVICE,
        replica,
        timing,
    )
}

/// The workers on its part.
fn pool(
    args: &Args,
    client: &Client,
    cache: &Cache<ServiceBinding>,
    share: &Share,
    registry: &mut Registry,
) -> Pool<Bindings> {
    let records: Records<ServiceBinding> = Records::new(client.clone(), &args.bindings_namespace());
    Pool::new(
        cache.clone(),
        Arc::new(records),
        share.members(),
        share.tenure(),
        args.work.settings(TICK),
        ::work::Metrics::register(registry, "binder"),
    )
}

/// What works beside the server.
fn background(context: &Arc<Context>, tasks: &mut Tasks) {
    let stop = tasks.stop();
    let (records, cache) = (context.store.api().clone(), context.cache.clone());
    let listed = async move { cache.synced().await };
    tasks.spawn_gated(
        "records",
        listed,
        context.cache.clone().run(records, stop.clone()),
    );
    let bindings = Arc::new(Bindings {
        context: Arc::clone(context),
    });
    tasks.spawn("work", context.pool.clone().run(bindings, stop.clone()));
    tasks.spawn("cascade", cascade::run(Arc::clone(context), stop.clone()));
    tasks.spawn("sweep", sweep::run(Arc::clone(context), stop.clone()));
    tasks.spawn("expiry", expiry::run(Arc::clone(context), stop));
}

/// Runs the service with the cluster of the environment.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("find the Kubernetes cluster")?;
    Box::pin(App::bind(args, client).await?.run(shutdown)).await
}

async fn evict(driver: Arc<Driver>, context: Arc<Context>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVICT) => {
                driver.evict_idle();
                context.databases.evict_old();
            }
        }
    }
}
