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
    Admin, Gate, Readiness,
    grpc::{Listeners, serve},
};
use tokio::task::JoinSet;
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
        let mut registry = Registry::default();
        let readiness = Readiness::default();
        let share = Share::new(
            self.client.clone(),
            &self.args.namespace,
            SERVICE,
            &self.args.replica,
            Timing {
                renew: self.args.lease_renew,
                lifetime: self.args.lease_lifetime,
            },
        );
        let driver = Arc::new(Driver::default());
        let shared = Arc::new(Shared {
            store: Store::new(self.client.clone(), &self.args.namespace),
            cache: Cache::default(),
            instances: Instances::connect(&self.args.provisioner)?,
            bundles: upstream::bundles(&self.args.catalog)?,
            databases: Databases::new(self.client.clone()),
            users: Arc::<Driver>::clone(&driver),
            members: share.members(),
            tenure: share.tenure(),
            metrics: Metrics::register(&mut registry),
            events: Events::new(self.client.clone(), SERVICE, &self.args.replica),
            times: Times::new(&self.args),
            replica: self.args.replica.clone(),
            holder: format!("{}/{}", self.args.replica, cluster::names::random(5)),
        });
        let stop = CancellationToken::new();
        let workers = Workers::new(Arc::clone(&shared), stop.clone());

        let mut tasks = JoinSet::new();
        tasks.spawn(
            shared
                .cache
                .clone()
                .run(shared.store.api().clone(), stop.clone()),
        );
        tasks.spawn(share.run(stop.clone()));
        tasks.spawn(reconcile::run(
            Arc::clone(&shared),
            workers.clone(),
            stop.clone(),
        ));
        tasks.spawn(cascade::run(
            Arc::clone(&shared),
            workers.clone(),
            stop.clone(),
        ));
        tasks.spawn(sweep::run(Arc::clone(&shared), stop.clone()));
        tasks.spawn(expiry::run(Arc::clone(&shared), stop.clone()));
        tasks.spawn(evict(driver, Arc::clone(&shared), stop.clone()));
        tasks.spawn(open_when_ready(
            Arc::clone(&shared),
            readiness.gate("records listed"),
            readiness.gate("lease held"),
            stop.clone(),
        ));

        let routes = Routes::new(BinderServer::new(Server::new(
            Arc::clone(&shared),
            workers.clone(),
        )));
        let served = serve(
            &self.args.service,
            self.listeners,
            routes,
            broker_proto::DESCRIPTORS,
            NAMES,
            Admin::new(readiness, registry),
            shutdown,
        );
        let outcome = tokio::select! {
            outcome = served => outcome,
            Some(ended) = tasks.join_next() => Err(match ended {
                Ok(()) => anyhow::anyhow!("a background task ended early"),
                Err(error) => anyhow::Error::new(error).context("run a background task"),
            }),
        };
        stop.cancel();
        workers.join().await;
        while tasks.join_next().await.is_some() {}
        outcome
    }
}

/// Runs the service with the cluster of the environment.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("find the Kubernetes cluster")?;
    Box::pin(App::bind(args, client).await?.run(shutdown)).await
}

async fn open_when_ready(shared: Arc<Shared>, listed: Gate, lease: Gate, stop: CancellationToken) {
    let mut members = shared.members.clone();
    let ready = async {
        shared.cache.synced().await;
        listed.open();
        // A synchronous request names this replica as its driver, which the
        // others believe only while its lease lives.
        if members
            .wait_for(|members| members.lives(&shared.replica))
            .await
            .is_ok()
        {
            lease.open();
        }
    };
    tokio::select! {
        () = ready => {}
        () = stop.cancelled() => {}
    }
    stop.cancelled().await;
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
