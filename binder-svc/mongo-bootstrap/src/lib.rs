//! mongo-bootstrap: runs beside mongod in every pod of a replica set, and owns who is a member.
//!
//! It initiates the set once in its life, creates the admin user through the localhost exception,
//! adds and removes members as the ConfigMap `mdb-topology` asks, raises the feature compatibility
//! version as `mdb-compatibility` asks, reports the state of the set on these objects, keeps a
//! connection in reserve over which it revokes logins as `mdb-revocations` asks, and answers the pod's
//! probes. What to do is decided by [`next::next`], a pure function of what was observed;
//! everything around it only reads and acts. The order of the steps is such that the process may be
//! killed between any two instructions, and a later one finishes the work.

pub mod args;
pub mod member;

pub mod answer;
pub mod version;

pub mod compatibility;
pub mod revocations;
pub mod topology;

pub mod observed;
pub mod step;

pub mod next;

pub mod replica_set;

pub mod mongod;

mod cluster;
mod init;
mod observe;
mod probes;
mod reserve;
mod revoker;
mod worker;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use args::{Args, Command, RunArgs};

/// Runs the subcommand, until it is done or `shutdown` is cancelled.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    match args.command {
        Command::Init(init) => init::copy_all(&init.copy).context("prepare mongod's files"),
        Command::Run(run) => {
            let listener =
                service::admin::bind(args.service.admin_listen, "BROKER_ADMIN_LISTEN").await?;
            let client = kube::Client::try_default()
                .await
                .context("find the API server and the pod's token")?;
            supervise(*run, listener, client, shutdown).await
        }
    }
}

/// Serves the probes, works on the membership, and revokes logins. All end with `shutdown`.
pub async fn supervise(
    args: RunArgs,
    listener: tokio::net::TcpListener,
    client: kube::Client,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("read the address of the probes")?;
    let mongod = mongod::Mongod::new(&args).context("set up the connection to mongod")?;
    let reserve = reserve::Reserve::new(mongod.clone());
    let probes = probes::Probes::new(mongod.clone(), args.dead_after, reserve.state());
    tracing::info!(%address, member = args.member()?.1, "started");

    let objects = worker::Objects {
        topology: cluster::TopologyObject::new(client.clone(), &args.namespace, &args.topology),
        compatibility: cluster::CompatibilityObject::new(
            client.clone(),
            &args.namespace,
            &args.compatibility,
        ),
    };
    let revocations = cluster::RevocationsObject::new(client, &args.namespace, &args.revocations);
    let revoker = revoker::Revoker::new(reserve, revocations);
    let worker = worker::Worker::new(&args, mongod, objects, probes.clone())?;
    tokio::try_join!(
        async {
            probes
                .serve(listener, shutdown.clone())
                .await
                .context("serve the probes")
        },
        async {
            worker.run(shutdown.clone()).await;
            Ok(())
        },
        async {
            revoker.run(shutdown.clone()).await;
            Ok(())
        },
    )?;
    Ok(())
}
