//! Working on one record: do what [`crate::step::next`] says, note what was
//! learnt, ask again.
//!
//! A worker holds nothing that another could not find out: killed at any
//! point, whoever picks the record up starts with nothing known and comes to
//! the same end.

mod apply;
mod barrier;
mod claims;
mod commit;
mod compare;
mod delete;
mod discover;
mod generate;
mod grant;
mod grow;
mod halt;
mod inputs;
mod known;
mod orphan;
mod prune;
mod status;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use cluster::{apply::Basis, inventory::Entry, kinds::Kinds, share::Term};
use jiff::Timestamp;
use kube::core::{DynamicObject, GroupVersionKind};
use serde_json::{Map, Value};
use service::telemetry::chain;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    error::Error,
    resource::Kind,
    state::Record,
    step::{Aim, Observed, Step, next},
    storage::Growth,
};

use self::{
    halt::{Done, Failure, Halt, refuse},
    inputs::Inputs,
};

pub(crate) use self::{
    discover::BundleKinds,
    grant::generated_secret,
    status::{is_outdated, lacks_namespace, rebuild},
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// An object as it was applied and as the API server answered.
#[derive(Debug)]
struct AppliedObject {
    gvk: GroupVersionKind,
    manifest: Value,
    live: DynamicObject,
}

/// One worker's knowledge of one record.
struct Job<'a> {
    context: &'a Arc<Context>,
    signals: &'a Signals,
    /// The record was read in this term of the replica's lease.
    term: Term,
    record: Record,
    observed: Observed,
    inputs: Option<Inputs>,
    generated: Map<String, Value>,
    outputs: Map<String, Value>,
    /// By file.
    applied: BTreeMap<usize, Vec<AppliedObject>>,
    inventory: Vec<Entry>,
    /// By uid: what writes are based on.
    seen: HashMap<String, Basis>,
    remaining: Vec<Entry>,
    growths: Vec<Growth>,
    failure: Option<Failure>,
    touched: bool,
    granted_at: Option<Instant>,
    message: String,
}

/// What a worker is told.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The record is no longer this replica's: end after the step.
    pub(crate) leave: CancellationToken,
    /// The record changed, or there is something to leave for.
    pub(crate) wake: Arc<Notify>,
}

/// Works until the record needs nothing more, or is no longer ours.
pub(crate) async fn work(context: Arc<Context>, name: String, signals: Signals) {
    let mut pause = FIRST_PAUSE;
    let mut tenure = context.tenure.clone();
    loop {
        let term = tokio::select! {
            () = signals.leave.cancelled() => return,
            term = tenure.begun() => term,
        };
        let Some(term) = term else { return };
        match once(&context, &name, &signals, term).await {
            Ok(true) => return,
            Ok(false) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::warn!(record = %name, error = chain(&error), "work interrupted");
                let _ = tokio::time::timeout(pause, signals.wake.notified()).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }
}

/// Reads the record and works on what it asks for. `true`: nothing is left to do.
async fn once(
    context: &Arc<Context>,
    name: &str,
    signals: &Signals,
    term: Term,
) -> Result<bool, Error> {
    let Some(record) = context.read(name).await? else {
        return Ok(true);
    };
    if record.lacks_finalizer() {
        // A restore dropped it. If somebody else was faster: look again.
        context.replace(&record.with_finalizer()).await?;
        return Ok(false);
    }
    let Some(aim) = aim(&record) else {
        if status::is_outdated(&record) {
            status::rebuild(context, &record).await?;
        }
        return Ok(true);
    };
    let own_namespace = record.resource.spec.own_namespace;
    let held = record.resource.spec.held;
    let mut observed = Observed::new(aim, own_namespace, held);
    observed.retains = !record.is_tombstone() && record.retention().is_positive();
    let mut job = Job {
        context,
        signals,
        term,
        observed,
        inventory: record
            .resource
            .status
            .as_ref()
            .map(|status| status.inventory.clone())
            .unwrap_or_default(),
        seen: HashMap::new(),
        record,
        inputs: None,
        generated: Map::new(),
        outputs: Map::new(),
        applied: BTreeMap::new(),
        remaining: Vec::new(),
        growths: Vec::new(),
        failure: None,
        touched: false,
        granted_at: None,
        message: String::new(),
    };
    job.run().await?;
    Ok(false)
}

/// What a record asks for; `None` if its newest operation has ended.
fn aim(record: &Record) -> Option<Aim> {
    if record.is_deleted_by_hand() {
        return Some(if record.is_data_to_go(Timestamp::now()) {
            Aim::Delete
        } else {
            Aim::Orphan
        });
    }
    if record.is_tombstone() {
        return record.is_purgeable(Timestamp::now()).then_some(Aim::Delete);
    }
    record
        .open_operation()
        .map(|operation| match operation.kind {
            Kind::Create => Aim::Create,
            Kind::Update => Aim::Update,
            Kind::Delete => Aim::Delete,
        })
}

impl Job<'_> {
    /// Step after step until the operation ended or the record changed.
    async fn run(&mut self) -> Result<(), Error> {
        let mut pause = FIRST_PAUSE;
        self.write_status().await?;
        loop {
            if self.is_stale()? {
                return Ok(());
            }
            self.observed.overdue = self.is_overdue();
            let step = next(&self.observed);
            tracing::debug!(record = %self.record.name(), op.id = %self.record.operation().id, ?step, "step");
            service::failpoint::approach(step.name());
            match self.perform(step).await {
                Ok(()) => {
                    service::failpoint::reach(step.name());
                    pause = FIRST_PAUSE;
                    if step.is_last() {
                        return Ok(());
                    }
                }
                Err(Halt::Stale) => return Ok(()),
                Err(Halt::Fail(failure)) => {
                    self.failure = Some(failure);
                    self.observed.failed = true;
                }
                Err(Halt::Wait(message)) => {
                    self.say(message).await;
                    self.rest(&mut pause).await;
                }
                Err(Halt::Broken(error)) => {
                    tracing::warn!(
                        record = %self.record.name(), step = step.name(), error = chain(&error),
                        "step interrupted; it is tried again"
                    );
                    self.rest(&mut pause).await;
                }
            }
        }
    }

    async fn perform(&mut self, step: Step) -> Done {
        match step {
            Step::Load => self.load().await,
            Step::MakeNamespace => self.make_namespace().await,
            Step::Grant => self.grant().await,
            Step::Generate => self.generate().await,
            Step::Discover => self.discover().await,
            Step::Compare => self.compare().await,
            Step::ClearClaims => self.clear_claims().await,
            Step::Grow => self.grow().await,
            Step::Apply(file) => self.apply(file).await,
            Step::Await(file) => self.wait_for(file).await,
            Step::Prune => self.prune().await,
            Step::DropClaims => self.drop_claims().await,
            Step::Succeed => self.succeed().await,
            Step::Fail => self.fail().await,
            Step::AwaitRelease => self.await_release().await,
            Step::FindRemaining => self.find_remaining().await,
            Step::DeleteLast => self.delete_last().await,
            Step::Retain => self.retain().await,
            Step::DeleteLeftovers => self.delete_leftovers().await,
            Step::DeleteNamespace => self.delete_namespace().await,
            Step::DeleteRevisions => self.delete_revisions().await,
            Step::Bury => self.bury().await,
            Step::MarkOrphaned => self.mark_orphaned().await,
            Step::RemoveFinalizer => self.remove_finalizer().await,
        }
    }

    fn kinds(&self) -> &Kinds {
        &self.context.kinds
    }

    fn namespace(&self) -> &str {
        &self.record.resource.spec.namespace
    }

    /// Whether the record is somebody else's to work on, or asks for something
    /// else by now, or may do so: after a gap in the lease (the process was paused, or cut off) others have worked
    /// on it, and what this replica knows may be old.
    fn is_stale(&self) -> Result<bool, Error> {
        if self.signals.leave.is_cancelled() || self.context.tenure.now() != Some(self.term) {
            return Ok(true);
        }
        let seen = self.context.seen(&self.record.name())?;
        Ok(seen.is_none_or(|seen| self.is_superseded(&seen)))
    }

    /// Goes on only if the API server still has the record ask for this: before
    /// what no precondition guards.
    async fn confirm(&self) -> Done {
        match self.context.read(&self.record.name()).await? {
            Some(current) if !self.is_superseded(&current) => Ok(()),
            Some(_) | None => Err(Halt::Stale),
        }
    }

    fn is_superseded(&self, seen: &Record) -> bool {
        aim(seen) != Some(self.observed.aim)
            || seen.operation().id != self.record.operation().id
            || seen.is_deleted_by_hand() != self.record.is_deleted_by_hand()
            || seen.resource.metadata.uid != self.record.resource.metadata.uid
    }

    fn is_overdue(&self) -> bool {
        // A deletion by hand and a purge have no operation of their own, and
        // nobody to tell of a failure.
        let told = !self.record.is_deleted_by_hand() && !self.record.is_tombstone();
        told && Timestamp::now() >= self.record.operation().deadline()
    }

    /// Pauses, at most until the record changes or the deadline.
    async fn rest(&self, pause: &mut Duration) {
        let _ = tokio::time::timeout(*pause, self.signals.wake.notified()).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
    }
}
