//! Who works on what: one task for each record that needs work and is this
//! replica's.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kube::ResourceExt as _;
use service::telemetry::chain;
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    task::{self, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{context::Context, state::Record, work};

/// Steps that are under way when the process ends get this long.
const LAST_STEP: Duration = Duration::from_secs(5);

struct Task {
    id: task::Id,
    leave: CancellationToken,
    wake: Arc<Notify>,
}

impl Task {
    /// Between two steps, never in one: what a step makes sure of after its
    /// deed must not be left out.
    fn leave(&self) {
        self.leave.cancel();
        self.wake.notify_one();
    }
}

struct Reconciler {
    context: Arc<Context>,
    tasks: HashMap<String, Task>,
    running: JoinSet<()>,
}

/// Reconciles until `stop`; work that is under way ends after its step then,
/// and another replica picks it up.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut changes = context.cache.changes();
    let mut members = context.members.clone();
    tokio::select! {
        () = stop.cancelled() => return,
        () = context.cache.synced() => {}
    }
    let mut reconciler = Reconciler {
        context,
        tasks: HashMap::new(),
        running: JoinSet::new(),
    };
    reconciler.look_at_all();
    // What time alone brings about: the end of retentions.
    let mut ticks = tokio::time::interval(reconciler.context.args.sweep_interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => reconciler.look_at_all(),
            change = changes.recv() => match change {
                Ok(name) => reconciler.look_at(&name),
                Err(RecvError::Lagged(_)) => reconciler.look_at_all(),
                Err(RecvError::Closed) => return,
            },
            changed = members.changed() => match changed {
                Ok(()) => reconciler.look_at_all(),
                Err(_) => return,
            },
            Some(ended) = reconciler.running.join_next_with_id() => reconciler.took_end(&ended),
        }
        let working = i64::try_from(reconciler.tasks.len()).unwrap_or(i64::MAX);
        reconciler.context.metrics.working.set(working);
    }
    reconciler.tasks.values().for_each(Task::leave);
    let ends = async { while reconciler.running.join_next().await.is_some() {} };
    // What takes longer is dropped, as a crash would drop it.
    let _ = tokio::time::timeout(LAST_STEP, ends).await;
}

impl Reconciler {
    fn look_at_all(&mut self) {
        let mut names: Vec<String> = self
            .context
            .cache
            .all()
            .iter()
            .map(|record| record.name_any())
            .collect();
        names.extend(self.tasks.keys().cloned());
        names.sort();
        names.dedup();
        for name in names {
            self.look_at(&name);
        }
    }

    fn look_at(&mut self, name: &str) {
        let ours = self.is_ours(name);
        match self.tasks.get(name) {
            Some(task) if ours => task.wake.notify_one(),
            // If it becomes ours again, that is seen at the task's end.
            Some(task) => task.leave(),
            None if ours && self.needs_work(name) => self.start(name),
            None => {}
        }
    }

    fn is_ours(&self, name: &str) -> bool {
        let seen = self.context.cache.get(name);
        let driver = seen
            .as_ref()
            .and_then(|record| record.spec.operation.driver.as_deref());
        self.context.members.borrow().works_on(name, driver)
    }

    fn needs_work(&self, name: &str) -> bool {
        match self.context.seen(name) {
            Ok(Some(record)) => needs_work(&record),
            Ok(None) => false,
            Err(error) => {
                tracing::error!(record = name, error = chain(&error), "record left alone");
                false
            }
        }
    }

    fn start(&mut self, name: &str) {
        let (leave, wake) = (CancellationToken::new(), Arc::new(Notify::new()));
        let signals = work::Signals {
            leave: leave.clone(),
            wake: Arc::clone(&wake),
        };
        let work = work::work(Arc::clone(&self.context), name.to_owned(), signals);
        let id = self.running.spawn(work).id();
        self.tasks.insert(name.to_owned(), Task { id, leave, wake });
    }

    fn took_end(&mut self, ended: &Result<(task::Id, ()), JoinError>) {
        let (id, failure) = match ended {
            Ok((id, ())) => (*id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let name = self
            .tasks
            .iter()
            .find(|(_, task)| task.id == id)
            .map(|(name, _)| name.clone());
        if let Some(error) = failure.filter(|error| error.is_panic()) {
            tracing::error!(record = name.as_deref().unwrap_or_default(), %error, "a worker panicked");
        }
        if let Some(name) = name {
            self.tasks.remove(&name);
            // It may have changed between the worker's last look and its end.
            self.look_at(&name);
        }
    }
}

fn needs_work(record: &Record) -> bool {
    if record.is_purgeable(jiff::Timestamp::now()) {
        return true;
    }
    let open = !record.is_tombstone() && record.open_operation().is_some();
    open || record.is_deleted_by_hand() || record.lacks_finalizer() || work::is_outdated(record)
}
