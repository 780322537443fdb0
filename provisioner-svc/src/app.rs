//! The process: connect, serve, drain.

use std::{net::SocketAddr, sync::Arc};

use ::work::Pool;
use anyhow::Context as _;
use broker_proto::{
    client::Target,
    v1::{provisioner_server, provisioner_server::ProvisionerServer},
};
use cluster::{
    cache::Cache,
    event::Events,
    records::Records,
    revision::Revisions,
    share::{Share, Timing},
};
use kube::Client;
use objects::kinds::Kinds;
use prometheus_client::registry::Registry;
use sandbox::Sandbox;
use service::{
    Admin, Readiness, Tasks, Tls,
    grpc::{Contract, Listeners},
    supervise,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    args::Args,
    catalog::Catalog,
    context::{Context, Decoded},
    grpc::Service,
    metrics::Metrics,
    policy_probe, sweep,
    work::Instances,
};

/// A bundle is fetched, at most.
const CATALOG_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// The service, its listeners bound.
#[derive(Debug)]
pub struct App {
    listeners: Listeners,
    tls: Tls,
    context: Arc<Context>,
    share: Share,
    admin: Admin,
}

/// Runs the service with the cluster that the environment names.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("connect to the cluster")?;
    App::bind(args, client).await?.run(shutdown).await
}

impl App {
    /// Binds the listeners and puts the parts together; works on nothing yet.
    pub async fn bind(args: Args, client: Client) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&args.service).await?;
        let mut registry = Registry::default();
        let readiness = Readiness::default();
        let tls = Tls::load(&args.service, &mut registry)?;
        let catalog = Target::new(&args.catalog, CATALOG_DEADLINE, service::context::inject)
            .with_tls(tls.client())
            .catalog()
            .context("set up the client of --catalog")?;
        let namespace = args.broker.instances_namespace();
        let timing = Timing {
            renew: args.replica.lease_renew,
            lifetime: args.replica.lease_lifetime,
        };
        let share = Share::new(
            client.clone(),
            &namespace,
            "provisioner",
            &args.replica.replica,
            timing,
        );
        let cache = Cache::default();
        let records = Records::new(client.clone(), &namespace);
        let pool = Pool::new(
            cache.clone(),
            Arc::new(records.clone()),
            share.members(),
            share.tenure(),
            // What time alone brings about: the end of retentions.
            args.work.settings(args.sweep_interval),
            ::work::Metrics::register(&mut registry, "provisioner"),
        );
        let context = Context {
            kinds: Kinds::new(client.clone()),
            records,
            cache,
            decoded: Decoded::default(),
            pool,
            revisions: Revisions::new(client.clone(), &namespace),
            catalog: Catalog::new(catalog),
            sandbox: Sandbox::new(&args.sandbox),
            events: Events::new(client, "provisioner-svc", &args.replica.replica),
            members: share.members(),
            tenure: share.tenure(),
            metrics: Metrics::register(&mut registry),
            args,
        };
        Ok(Self {
            listeners,
            tls,
            context: Arc::new(context),
            share,
            admin: Admin::new(readiness, registry),
        })
    }

    /// Where gRPC is served.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.service.local_addr()
    }

    /// Where the admin port is.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.listeners.admin.local_addr()
    }

    /// Serves and reconciles until `shutdown`, then drains.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self {
            listeners,
            tls,
            context,
            share,
            admin,
        } = self;
        let mut tasks = background(&context, share, &admin.readiness);
        tasks.spawn("tls", tls.clone().follow(tasks.stop()));
        let args = context.args.service.clone();
        let server = ProvisionerServer::new(Service {
            context,
            shutdown: shutdown.clone(),
        });
        let served = service::grpc::serve(
            &args,
            listeners,
            tls,
            Routes::new(server),
            Contract {
                descriptors: broker_proto::DESCRIPTORS,
                names: &[provisioner_server::SERVICE_NAME],
                callers: broker_proto::CALLERS,
            },
            admin,
            shutdown.clone(),
        );
        supervise(&args, served, tasks, shutdown).await
    }
}

/// What works beside the server.
fn background(context: &Arc<Context>, share: Share, readiness: &Readiness) -> Tasks {
    let mut tasks = Tasks::new(readiness);
    let stop = tasks.stop();
    let (records, cache) = (context.records.api().clone(), context.cache.clone());
    let listed = async move { cache.synced().await };
    tasks.spawn_gated(
        "records",
        listed,
        context.cache.clone().run(records, stop.clone()),
    );
    tasks.spawn_gated("lease", share.joined(), share.run(stop.clone()));
    let catalog = context.catalog.clone();
    let received = async move { catalog.received().await };
    tasks.spawn_gated(
        "catalog",
        received,
        context.catalog.clone().follow(stop.clone()),
    );
    let instances = Arc::new(Instances {
        context: Arc::clone(context),
    });
    tasks.spawn("work", context.pool.clone().run(instances, stop.clone()));
    let probed = context.args.policy_probe.clone();
    tasks.spawn("policy-probe", policy_probe::run(probed, stop.clone()));
    tasks.spawn("sweep", sweep::run(Arc::clone(context), stop));
    tasks
}
