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
mod orphan;
mod progress;
mod prune;
mod status;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ::work::{Fault, Next, Turn, Work};
use cluster::gate::Gate;
use jiff::Timestamp;
use objects::{Objects, Scope, barrier::Written, inventory::Entry, write::Place};
use serde_json::{Map, Value};
use service::telemetry::chain;
use tokio::{sync::watch, time::Instant};

use crate::{
    context::Context,
    error::Error,
    resource::{Kind, ServiceInstance},
    revision::Revision,
    state::Record,
    step::{Aim, FileState, Observed, Step, next},
    storage::Growth,
};

use self::{
    halt::{Action, Done, Failure, Halt, refuse},
    inputs::Inputs,
    progress::Progress,
};

pub(crate) use self::{
    discover::BundleKinds,
    grant::generated_secret,
    status::{is_outdated, lacks_namespace, rebuild},
};

/// In the status of a record whose worker panicked.
const PANICKED: &str = "An internal error interrupted the work; it is tried again after a pause. \
                        See the log of provisioner-svc.";

/// What is done with instances; the pool decides who does it, and when.
#[derive(Debug)]
pub(crate) struct Instances {
    pub(crate) context: Arc<Context>,
}

/// What a request knows of the operation that it began, beyond the record.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The revision that it wrote, under its name.
    pub(crate) revision: Option<(String, Revision)>,
}

/// What a job shows to those who wait for it, beyond the record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// The operation whose worker panicked; it is tried again.
    pub(crate) panicked: Option<String>,
}

/// One worker's knowledge of one record. Nothing in it is needed by another
/// worker: each finds out anew.
pub(crate) struct Job {
    context: Arc<Context>,
    turn: Turn,
    record: Record,
    aim: Aim,
    /// Steps that did what they should.
    done: Vec<Step>,
    /// What the request that began the operation had at hand.
    known: Known,
    inputs: Option<Arc<Inputs>>,
    /// When this worker saw to the broker's rights in the namespace.
    granted_at: Option<Instant>,
    namespace: Option<Gate>,
    generated: Map<String, Value>,
    outputs: Map<String, Value>,
    objects: Objects,
    /// By file.
    applied: BTreeMap<usize, Vec<Written>>,
    /// What is still to be deleted, once known.
    remaining: Option<Vec<Entry>>,
    growths: Vec<Growth>,
    failure: Option<Failure>,
    progress: Progress,
    message: String,
}

impl Work for Instances {
    type Object = ServiceInstance;
    type Extra = Known;
    type Report = Report;
    type Job = Job;

    fn driver<'a>(&self, object: &'a ServiceInstance) -> Option<&'a str> {
        object.spec.operation.driver.as_deref()
    }

    fn needs_work(&self, object: &ServiceInstance) -> Result<bool, Fault> {
        let record = Record::new(object.clone())?;
        Ok(record.lacks_finalizer() || aim(&record).is_some() || is_outdated(&record))
    }

    async fn begin(
        &self,
        object: Arc<ServiceInstance>,
        known: Option<Known>,
        turn: Turn,
        _reports: watch::Sender<Report>,
    ) -> Result<Option<Job>, Fault> {
        let context = &self.context;
        let mut record = Record::new(object.as_ref().clone())?;
        if record.lacks_finalizer() {
            // A restore dropped it. Whoever was faster is read next time.
            record = context
                .replace(&record.with_finalizer())
                .await?
                .ok_or(Error::Contended)?;
        }
        let Some(aim) = aim(&record) else {
            if is_outdated(&record) {
                rebuild(context, &record).await?;
            }
            return Ok(None);
        };
        let known = known.unwrap_or_default();
        Ok(Some(Job::new(
            Arc::clone(context),
            turn,
            record,
            aim,
            known,
        )))
    }

    async fn step(&self, job: &mut Job) -> Next {
        job.step().await
    }

    async fn panicked(
        &self,
        object: Arc<ServiceInstance>,
        _text: &str,
        reports: &watch::Sender<Report>,
    ) {
        let operation = object.spec.operation.id.clone();
        reports.send_modify(|report| report.panicked = Some(operation));
        let Ok(record) = Record::new(object.as_ref().clone()) else {
            return;
        };
        let before = record.resource.status.clone().unwrap_or_default();
        let mut status = status::of(&record, Some(PANICKED.to_owned()), before.inventory);
        status.progress = before.progress;
        let written = self.context.write_status(&record.name(), &status).await;
        if let Err(error) = written {
            tracing::warn!(record = %record.name(), error = chain(&error), "status not written");
        }
    }
}

/// The objects of an instance, as far as its record knows them.
fn objects(context: &Context, record: &Record) -> Objects {
    let spec = &record.resource.spec;
    let scope = Scope {
        namespace: spec.namespace.clone(),
        place: if spec.own_namespace {
            Place::Own
        } else {
            Place::Shared
        },
        labels: record.labels(),
        selector: record.selector(),
    };
    let status = record.resource.status.as_ref();
    let inventory = status.map(|status| status.inventory.clone());
    Objects::new(context.kinds.clone(), scope, inventory.unwrap_or_default())
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

impl Job {
    fn new(context: Arc<Context>, turn: Turn, record: Record, aim: Aim, known: Known) -> Self {
        let outputs = record.state.applied.as_ref();
        Self {
            turn,
            aim,
            done: Vec::new(),
            known,
            granted_at: None,
            progress: Progress::of(&record, Timestamp::now()),
            inputs: None,
            namespace: None,
            generated: Map::new(),
            outputs: outputs
                .map(|applied| applied.outputs.clone())
                .unwrap_or_default(),
            objects: objects(&context, &record),
            applied: BTreeMap::new(),
            remaining: None,
            growths: Vec::new(),
            failure: None,
            message: status::message_of(&record).unwrap_or_default(),
            context,
            record,
        }
    }

    /// Does the next step, unless the record asks for something else by now.
    async fn step(&mut self) -> Next {
        match self.is_stale() {
            Ok(false) => {}
            Ok(true) => return Next::Reread,
            Err(error) => {
                tracing::warn!(record = %self.record.name(), error = chain(&error), "record not read");
                return Next::Retry(None);
            }
        }
        let step = next(&self.observed());
        tracing::debug!(record = %self.record.name(), op.id = %self.record.operation().id, ?step, "step");
        service::failpoint::approach(step.name());
        match self.perform(step).await {
            Ok(()) => {
                service::failpoint::reach(step.name());
                self.done.push(step);
                if step.is_last() { Next::Rest } else { Next::Go }
            }
            Err(Halt::Stale) => Next::Reread,
            Err(halt) => self.interrupted(step, halt).await,
        }
    }

    /// What comes after a step that did not do its thing.
    async fn interrupted(&mut self, step: Step, halt: Halt) -> Next {
        self.objects.forget_reads();
        match self.settle(step, halt).await {
            Action::Fail(failure) => {
                self.failure = Some(failure);
                Next::Go
            }
            // A moment: not worth a write that nobody has the time to read.
            Action::Moment(pause) => Next::Pause(Some(pause)),
            Action::Wait(text) => {
                if let Some(text) = &text {
                    let waiting = std::slice::from_ref(text);
                    self.progress.note(waiting, Timestamp::now());
                }
                self.say(text.unwrap_or_default()).await;
                Next::Pause(self.time_left())
            }
            Action::Restart(text) => {
                self.say(text.unwrap_or_default()).await;
                Next::Retry(self.time_left())
            }
        }
    }

    /// What is known, as far as it decides what comes next.
    fn observed(&self) -> Observed {
        let spec = &self.record.resource.spec;
        let files = self.inputs.as_ref().map(|inputs| inputs.loaded.files());
        Observed {
            aim: self.aim,
            overdue: self.is_overdue(),
            failed: self.failure.is_some(),
            own_namespace: spec.own_namespace,
            loaded: self.inputs.is_some(),
            namespace: self.namespace.clone(),
            granted: self.is_done(Step::Grant),
            generated: self.is_done(Step::Generate),
            discovered: self.is_done(Step::Discover),
            compared: self.is_done(Step::Compare),
            claims_cleared: self.is_done(Step::ClearClaims),
            grows: !self.growths.is_empty(),
            files: (0..files.map_or(0, <[_]>::len))
                .map(|index| self.file_state(index))
                .collect(),
            pruned: self.is_done(Step::Prune),
            claims_dropped: self.is_done(Step::DropClaims),
            held: spec.held && !self.is_done(Step::AwaitRelease),
            remaining: self.remaining.as_ref().map(Vec::len),
            retains: self.retains(),
            leftovers_gone: self.is_done(Step::DeleteLeftovers),
            namespace_gone: self.is_done(Step::DeleteNamespace),
            revisions_gone: self.is_done(Step::DeleteRevisions),
            orphaned: self.is_done(Step::MarkOrphaned),
        }
    }

    fn is_done(&self, step: Step) -> bool {
        self.done.contains(&step)
    }

    fn file_state(&self, index: usize) -> FileState {
        if !self.applied.contains_key(&index) {
            FileState::Pending
        } else if self.is_done(Step::Await(index)) {
            FileState::Ready
        } else {
            FileState::Applied
        }
    }

    /// The data outlives the instance for a while.
    fn retains(&self) -> bool {
        !self.record.is_tombstone() && self.record.retention().is_positive()
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
            Step::WriteTombstone => self.write_tombstone().await,
            Step::MarkOrphaned => self.mark_orphaned().await,
            Step::RemoveFinalizer => self.remove_finalizer().await,
        }
    }

    fn namespace(&self) -> &str {
        &self.record.resource.spec.namespace
    }

    /// Whether the work is to be left, or the record asks for something else.
    fn is_stale(&self) -> Result<bool, Error> {
        if self.turn.is_over() {
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
        aim(seen) != Some(self.aim)
            || seen.operation().id != self.record.operation().id
            || seen.is_deleted_by_hand() != self.record.is_deleted_by_hand()
            || seen.resource.metadata.uid != self.record.resource.metadata.uid
    }

    /// A deletion by hand and a purge have no operation that could fail.
    fn has_operation(&self) -> bool {
        !self.record.is_deleted_by_hand() && !self.record.is_tombstone()
    }

    fn is_overdue(&self) -> bool {
        self.has_operation()
            && self
                .progress
                .is_overdue(self.record.operation(), Timestamp::now())
    }

    /// Until something else is to be done: the operation fails.
    fn time_left(&self) -> Option<Duration> {
        if !self.has_operation() || self.failure.is_some() {
            return None;
        }
        let now = Timestamp::now();
        let left = self.progress.left(self.record.operation(), now);
        Duration::try_from(left).ok()
    }
}
