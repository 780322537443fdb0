//! At most one [`Job`] a record in this process, and a way to wait for what it
//! comes to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cluster::operation::Ended;
use jiff::Timestamp;
use service::context::RequestContext;
use service::telemetry::chain;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    credentials::Issued,
    error::Error,
    job::{Job, Report},
    ledger::Record,
    request::Request,
    resource::ServiceBinding,
    shared::Shared,
    step::{self, Observed, Seen, Step},
};

/// How often the record of another replica's job is read by who waits for it.
const POLL: Duration = Duration::from_millis(200);
/// The same, where our own job tells by itself.
const POLL_OWN: Duration = Duration::from_secs(1);

/// The jobs of this process; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Slot {
    report: watch::Sender<Report>,
    nudge: Arc<Notify>,
    /// Something happened that the job may have missed.
    dirty: bool,
}

/// What a request knows of the record that it just wrote.
#[derive(Debug)]
pub(crate) struct Seed {
    /// As written.
    pub(crate) record: Record,
    /// What was asked, where it is at hand.
    pub(crate) request: Option<Arc<Request>>,
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The record then.
    pub(crate) record: Arc<Record>,
    /// The outcome.
    pub(crate) ended: Ended,
    /// The credentials, if a job of this process made them.
    pub(crate) issued: Option<Arc<Issued>>,
    /// Why it was abandoned, if it was.
    pub(crate) refusal: Option<broker_proto::Error>,
}

impl Workers {
    /// Without jobs. They stop between two steps once `stop` is cancelled.
    pub(crate) fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self {
            shared,
            slots: Arc::default(),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    /// Resolves when every job has stopped.
    pub(crate) async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Sees to it that the record is worked, at once.
    pub(crate) fn ensure(&self, name: &str, seed: Option<Seed>) -> watch::Receiver<Report> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get_mut(name) {
            slot.dirty = true;
            slot.nudge.notify_one();
            return slot.report.subscribe();
        }
        let slot = Slot {
            report: watch::Sender::new(Report::default()),
            nudge: Arc::default(),
            dirty: false,
        };
        let receiver = slot.report.subscribe();
        let run = self.clone().run(
            name.to_owned(),
            seed,
            slot.report.clone(),
            Arc::clone(&slot.nudge),
        );
        slots.insert(name.to_owned(), slot);
        drop(slots);
        // The work stays part of the request that caused it: its span, its
        // request id and trace, down to the database.
        let run = run.in_current_span();
        match RequestContext::current() {
            Some(context) => self.tasks.spawn(context.scope(run)),
            None => self.tasks.spawn(run),
        };
        receiver
    }

    /// The record changed: if it needs work that is ours, and no job has it,
    /// one begins.
    pub(crate) fn consider(&self, object: &ServiceBinding) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        {
            let mut slots = self.slots();
            if let Some(slot) = slots.get_mut(name) {
                slot.dirty = true;
                return;
            }
        }
        if self.needs_work(object) {
            drop(self.ensure(name, None));
        }
    }

    fn needs_work(&self, object: &ServiceBinding) -> bool {
        let record = match Record::read(object.clone()) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(error = chain(&error), "a record needs a person");
                return false;
            }
        };
        let step = step::next(&Observed {
            record: &record,
            seen: &Seen::default(),
            holder: &self.shared.holder,
            now: Timestamp::now(),
            keep: self.shared.times.keep,
        });
        !matches!(step, Step::Rest(_)) && self.shared.is_responsible(&record)
    }

    async fn run(
        self,
        name: String,
        mut seed: Option<Seed>,
        report: watch::Sender<Report>,
        nudge: Arc<Notify>,
    ) {
        let guard = SlotGuard {
            slots: Arc::clone(&self.slots),
            name: name.clone(),
        };
        while !self.stop.is_cancelled() {
            let (record, request) = match seed.take() {
                Some(seed) => (Some(seed.record), seed.request),
                None => (self.read(&name).await, None),
            };
            if let Some(record) = record {
                let (report, nudge) = (report.clone(), Arc::clone(&nudge));
                let shared = Arc::clone(&self.shared);
                Job::new(shared, record, request, report, nudge, self.stop.clone())
                    .run()
                    .await;
            }
            let mut slots = self.slots();
            let dirty = slots
                .get_mut(&name)
                .is_some_and(|slot| std::mem::take(&mut slot.dirty));
            let again = dirty
                && self
                    .shared
                    .cache
                    .get(&name)
                    .is_some_and(|object| self.needs_work(&object));
            if !again {
                slots.remove(&name);
                break;
            }
        }
        drop(guard);
    }

    async fn read(&self, name: &str) -> Option<Record> {
        match self.shared.store.read(name).await {
            Ok(record) => record.filter(|record| self.shared.is_responsible(record)),
            Err(error) => {
                // The reconciler comes back to it.
                tracing::warn!(
                    binding.record = name,
                    error = chain(&error),
                    "record not read"
                );
                None
            }
        }
    }

    /// Waits for the end of an operation. A failure of its own job is told at
    /// once, though the job goes on; another replica's is waited for.
    pub(crate) async fn settled(
        &self,
        name: &str,
        operation: &str,
        mut reports: watch::Receiver<Report>,
        deadline: Instant,
    ) -> Result<Settled, Error> {
        let mut known = reports.borrow().clone();
        if !reports.has_changed().unwrap_or(true) {
            // Of before this request, which had the job try again.
            known.trouble = None;
        }
        let mut open = true;
        loop {
            if let Some(settled) = ended(&known, operation) {
                return Ok(settled);
            }
            if let Some((_, trouble)) = known.trouble.filter(|(id, _)| id == operation) {
                return Err(Error::Refused(trouble));
            }
            let poll = if open { POLL_OWN } else { POLL };
            known = tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Err(Error::TimedOut),
                changed = reports.changed(), if open => {
                    open = changed.is_ok();
                    reports.borrow_and_update().clone()
                }
                () = tokio::time::sleep(poll) => self.report_of(name).await?,
            };
        }
    }

    async fn report_of(&self, name: &str) -> Result<Report, Error> {
        let record = self.shared.store.read(name).await?;
        Ok(Report {
            record: record.map(Arc::new),
            ..Report::default()
        })
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job that panics must not keep its record from being worked.
struct SlotGuard {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    name: String,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.slots
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&self.name);
        }
    }
}

fn ended(report: &Report, operation: &str) -> Option<Settled> {
    let record = report.record.as_ref()?;
    let ended = record.ledger.history.get(operation)?.clone();
    Some(Settled {
        record: Arc::clone(record),
        ended,
        issued: report.issued.clone(),
        refusal: report.refusal.clone(),
    })
}
