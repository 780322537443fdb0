//! The process: look, take one step, look again.

use std::{fmt, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use service::{Admin, Readiness, Tasks, supervise, telemetry::chain};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    args::Args,
    step::{self, Step},
    store::{Error, Store},
};

/// After a step that was not taken.
const PAUSE: Duration = Duration::from_secs(1);

/// The process, its admin port bound.
pub struct App {
    args: Args,
    client: Client,
    admin: TcpListener,
}

/// Works until `shutdown`, with the cluster that the environment names.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("find the Kubernetes API server")?;
    App::bind(args, client).await?.run(shutdown).await
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl App {
    /// Checks the arguments and binds the admin port.
    pub async fn bind(args: Args, client: Client) -> anyhow::Result<Self> {
        args.lives.check()?;
        let admin = service::admin::bind(args.service.admin_listen, "--admin-listen").await?;
        Ok(Self {
            args,
            client,
            admin,
        })
    }

    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (mut registry, readiness) = (Registry::default(), Readiness::default());
        let behind = Gauge::default();
        registry.register(
            "identity_behind",
            "1 while what is due cannot be written, or a Secret is missing",
            behind.clone(),
        );
        let mut tasks = Tasks::new(&readiness);
        let work = Work {
            store: Store::new(self.client, &self.args),
            args: self.args.clone(),
            behind,
            reported: None,
        };
        tasks.spawn("certificates", work.run(tasks.stop()));
        let admin = Admin::new(readiness, registry);
        let served = service::admin::serve(self.admin, admin, shutdown.clone());
        supervise(&self.args.service, served, tasks, shutdown).await
    }
}

struct Work {
    store: Store,
    args: Args,
    behind: Gauge,
    /// What was last said of a fault.
    reported: Option<String>,
}

impl Work {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let pause = match self.step().await {
                Ok(pause) => pause,
                Err(error) if error.is_conflict() => PAUSE,
                Err(error) => {
                    self.report(Some(chain(&error)));
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One step; how long until the next.
    async fn step(&mut self) -> Result<Duration, Error> {
        let seen = self.store.observe().await?;
        let now = Timestamp::now();
        let step = step::next(&seen.observed, &self.args.lives, now);
        let missing = (!seen.missing.is_empty()).then(|| {
            let names = seen
                .missing
                .iter()
                .map(|caller| crate::names::secret(caller));
            format!(
                "Secrets missing in {}: {}; apply k8s/base again",
                self.args.namespace,
                names.collect::<Vec<_>>().join(", ")
            )
        });
        self.report(missing);
        if let Step::Wait(until) = step {
            let left = Duration::try_from(now.duration_until(until)).unwrap_or_default();
            return Ok(left.min(self.args.recheck));
        }
        self.store.take(&step, seen, now).await?;
        tracing::info!(?step, "done");
        Ok(Duration::ZERO)
    }

    /// Once for each fault.
    fn report(&mut self, fault: Option<String>) {
        self.behind.set(i64::from(fault.is_some()));
        if let Some(text) = &fault
            && self.reported != fault
        {
            tracing::error!(error = %text, "certificates are not kept up");
        }
        self.reported = fault;
    }
}
