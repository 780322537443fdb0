//! What handlers, workers and background tasks have in common.

use std::{sync::Arc, time::Duration};

use broker_proto::v1::Instance;
use bundles::Bundles;
use cluster::{
    audit::Requester,
    cache::Cache,
    event::Events,
    share::{Members, Tenure, Term},
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use work::Pool;

use crate::{
    args::Args,
    databases::Databases,
    error::Error,
    ledger::Record,
    metrics::Metrics,
    mongo::UserAdmin,
    request::Request,
    reserve::Reserve,
    resource::{Kind, Operation, ServiceBinding, ServiceBindingStatus},
    store::Store,
    upstream::Instances,
    work::Bindings,
};

/// The parts of a running binder.
#[derive(Debug)]
pub(crate) struct Context {
    /// Records and Secrets.
    pub(crate) store: Store,
    /// What is known of the records without asking.
    pub(crate) cache: Cache<ServiceBinding>,
    /// The provisioner.
    pub(crate) instances: Instances,
    /// The catalog.
    pub(crate) bundles: Bundles,
    /// Where databases are.
    pub(crate) databases: Databases,
    /// Users in them.
    pub(crate) users: Arc<dyn UserAdmin>,
    /// The way to those that give no connection.
    pub(crate) reserve: Reserve,
    /// Which replicas live.
    pub(crate) members: watch::Receiver<Members>,
    /// Whether this replica's lease holds.
    pub(crate) tenure: Tenure,
    /// Counts.
    pub(crate) metrics: Metrics,
    /// For `kubectl describe`.
    pub(crate) events: Events,
    /// How long things take.
    pub(crate) times: Times,
    /// Who works on records.
    pub(crate) pool: Pool<Bindings>,
    /// This replica's name, as its lease has it.
    pub(crate) replica: String,
    /// This process: a replica that restarts under its old name is another.
    pub(crate) holder: String,
}

/// What a request tells the worker of the record that it just wrote.
pub(crate) type Seed = ::work::Seed<ServiceBinding, Option<Handover>>;

/// What the handler of a request knows beyond the record that it wrote.
#[derive(Debug)]
pub(crate) struct Handover {
    /// What was asked for, of a bind.
    pub(crate) request: Option<Arc<Request>>,
    /// The instance as the request saw it, not held for it.
    pub(crate) instance: Instance,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// A synchronous request.
    pub(crate) request: Duration,
    /// A bind, all in all.
    pub(crate) bind: SignedDuration,
    /// An unbind whose database is away.
    pub(crate) revoke: SignedDuration,
    /// Results and tombstones.
    pub(crate) keep: SignedDuration,
    /// Until the second look.
    pub(crate) second_look: SignedDuration,
    /// Between sweeps.
    pub(crate) sweep: Duration,
}

impl Times {
    /// As configured.
    pub(crate) fn new(args: &Args) -> Self {
        let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        Self {
            request: args.sync_deadline,
            bind: signed(args.bind_deadline),
            revoke: signed(args.revoke_deadline),
            keep: signed(args.keep_results),
            second_look: signed(args.second_look),
            sweep: args.sweep_interval,
        }
    }
}

impl Context {
    /// For the worker of a record that this process wrote in a term of its
    /// lease, with what is known beyond it.
    pub(crate) fn seed(term: Option<Term>, record: &Record, handover: Option<Handover>) -> Seed {
        Seed {
            term,
            object: Arc::new(record.object().clone()),
            extra: handover,
        }
    }

    /// Writes the status over whatever it is.
    pub(crate) async fn write_status(
        &self,
        record: &Record,
        status: &ServiceBindingStatus,
    ) -> Result<Record, Error> {
        let written = self.store.write_status(record.name(), status).await?;
        self.cache.observe(written.object().clone());
        Ok(written)
    }

    /// A new operation, driven by this replica.
    pub(crate) fn operation(&self, kind: Kind, seq: u64, requested_by: Requester) -> Operation {
        let now = Timestamp::now();
        let limit = match kind {
            Kind::Bind => self.times.bind,
            Kind::Unbind => self.times.revoke,
        };
        Operation {
            id: cluster::operation::OperationId::new(kind.word(), seq).to_string(),
            kind,
            started_at: now,
            deadline: now.checked_add(limit).unwrap_or(Timestamp::MAX),
            driver: self.replica.clone(),
            requested_by,
        }
    }

    /// When to look once more for what is owed.
    pub(crate) fn second_look(&self) -> Timestamp {
        Timestamp::now()
            .checked_add(self.times.second_look)
            .unwrap_or(Timestamp::MAX)
    }
}
