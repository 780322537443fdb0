//! Deletion of instances with live bindings: removes them, and releases the
//! hold once the API server (not the cache) lists none. No database is
//! contacted: it goes with its instance.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use broker_proto::{
    client::Event,
    v1::{InstancePhase, InstanceState},
};
use cluster::{audit::Requester, names};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use service::telemetry::chain;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    error::Error,
    ledger::{Record, State},
    requests::wait,
    resource::{Kind, Operation, Server},
};

/// Between tries of what failed, and looks at whose an instance is.
const TICK: Duration = Duration::from_secs(2);
/// Bindings of one instance that are removed at the same time.
const AT_ONCE: usize = 16;

/// Runs until `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut cascade = Cascade {
        context,
        leaving: HashMap::new(),
        at_work: HashSet::new(),
        tasks: JoinSet::new(),
    };
    cascade.follow(&stop).await;
    cascade.tasks.shutdown().await;
}

struct Cascade {
    context: Arc<Context>,
    leaving: HashMap<String, InstanceState>,
    at_work: HashSet<String>,
    tasks: JoinSet<(InstanceState, Result<(), Error>)>,
}

impl Cascade {
    async fn follow(&mut self, stop: &CancellationToken) {
        let instances = self.context.instances.clone();
        let mut states = pin!(instances.follow());
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(event) = states.next() => match event {
                    Event::Message(state) => self.take(state),
                    // A new stream begins with every instance.
                    Event::Lost => {}
                },
                Some(done) = self.tasks.join_next() => self.finish(done),
                _ = ticks.tick() => {}
            }
            self.start();
        }
    }

    fn take(&mut self, state: InstanceState) {
        if needs_removal(&state) {
            self.leaving.insert(state.instance_id.clone(), state);
        } else {
            self.leaving.remove(&state.instance_id);
        }
    }

    fn start(&mut self) {
        let members = self.context.members.borrow().clone();
        for (id, state) in &self.leaving {
            if members.owns(&names::instance_record(id)) && self.at_work.insert(id.clone()) {
                let (context, state) = (Arc::clone(&self.context), state.clone());
                self.tasks.spawn(async move {
                    let result = remove_all(&context, &state).await;
                    (state, result)
                });
            }
        }
    }

    fn finish(&mut self, done: Result<(InstanceState, Result<(), Error>), tokio::task::JoinError>) {
        let (state, result) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "removing an instance's bindings ended abruptly");
                // Which one is not known; all are tried again.
                self.at_work.clear();
                return;
            }
        };
        self.at_work.remove(&state.instance_id);
        match result {
            Ok(()) => {
                let same = |known: &InstanceState| known.incarnation == state.incarnation;
                if self.leaving.get(&state.instance_id).is_some_and(same) {
                    self.leaving.remove(&state.instance_id);
                }
            }
            Err(error) => tracing::warn!(
                instance.id = state.instance_id,
                error = chain(&error),
                "not all bindings removed; trying again"
            ),
        }
    }
}

fn needs_removal(state: &InstanceState) -> bool {
    match state.phase() {
        InstancePhase::Deprovisioning | InstancePhase::DeprovisionFailed => state.held,
        InstancePhase::Unspecified
        | InstancePhase::Provisioning
        | InstancePhase::Ready
        | InstancePhase::ProvisionFailed
        | InstancePhase::Updating
        | InstancePhase::UpdateFailed
        | InstancePhase::Deleted => false,
    }
}

async fn remove_all(context: &Context, state: &InstanceState) -> Result<(), Error> {
    let removals = stream::iter(live(context, state).await?)
        .map(|record| remove(context, record))
        .buffer_unordered(AT_ONCE);
    removals.try_collect::<Vec<()>>().await?;
    // Whoever writes a record after this list is refused its hold.
    let left = live(context, state).await?;
    if let Some(record) = left.first() {
        return Err(Error::StillBound(record.name().to_owned()));
    }
    context
        .instances
        .release(&state.instance_id, &state.incarnation)
        .await?;
    tracing::info!(
        instance.id = state.instance_id,
        "no bindings left, hold released"
    );
    Ok(())
}

async fn live(context: &Context, state: &InstanceState) -> Result<Vec<Record>, Error> {
    let mut records = context
        .store
        .of_instance(&names::instance_record(&state.instance_id))
        .await?;
    records.retain(|record| {
        record.spec().instance_incarnation == state.incarnation && is_live(record)
    });
    Ok(records)
}

/// Whether a binding keeps its instance. One on a server that outlives the
/// instance does not once its revocation was tried for its time: that stays
/// pending, and people see it.
fn is_live(record: &Record) -> bool {
    let pending = record.ledger.state == State::RevocationPending;
    record.open_operation().is_some()
        || match record.spec().server {
            Server::Own => record.ledger.state != State::Deleted,
            Server::Shared => record.ledger.state != State::Deleted && !pending,
        }
}

/// An unbind of our own, driven here, whichever request began one before. A
/// database that leaves with its instance is not contacted for it.
async fn remove(context: &Context, mut record: Record) -> Result<(), Error> {
    let operation = match record.open_operation() {
        Some(open) if open.kind == Kind::Unbind => Operation {
            driver: context.replica.clone(),
            ..open.clone()
        },
        Some(_) | None => context.operation(Kind::Unbind, record.next_seq(), Requester::default()),
    };
    let before = record.clone();
    record.begin_unbind(operation);
    let term = context.tenure.now();
    let record = context.store.replace(record).await?;
    record.tell_unbind(&before);
    let (name, operation) = (record.name().to_owned(), record.operation().id.clone());
    let seed = Context::seed(term, &record, None);
    let reports = context.pool.ensure(&name, Some(seed));
    let deadline = Instant::now() + context.times.request;
    wait::settled(context, &name, &operation, reports, deadline)
        .await
        .map(drop)
}
