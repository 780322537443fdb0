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

use cluster::{gate::Gate, share::Term};
use jiff::Timestamp;
use objects::{Objects, Scope, barrier::Written, inventory::Entry, write::Place};
use serde_json::{Map, Value};
use service::telemetry::chain;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    error::Error,
    resource::Kind,
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

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// One worker's knowledge of one record. Nothing in it is needed by another
/// worker: each finds out anew.
struct Job<'a> {
    context: &'a Arc<Context>,
    signals: &'a Signals,
    /// The record was read in this term of the replica's lease.
    term: Term,
    record: Record,
    aim: Aim,
    /// Steps that did what they should.
    done: Vec<Step>,
    inputs: Option<Arc<Inputs>>,
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
    let mut job = Job {
        context,
        signals,
        term,
        aim,
        done: Vec::new(),
        progress: Progress::of(&record, Timestamp::now()),
        inputs: None,
        namespace: None,
        generated: Map::new(),
        outputs: record
            .state
            .applied
            .as_ref()
            .map(|applied| applied.outputs.clone())
            .unwrap_or_default(),
        objects: objects(context, &record),
        applied: BTreeMap::new(),
        remaining: None,
        growths: Vec::new(),
        failure: None,
        message: status::message_of(&record).unwrap_or_default(),
        record,
    };
    job.run().await?;
    Ok(false)
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

impl Job<'_> {
    /// Step after step until the operation ended or the record changed.
    async fn run(&mut self) -> Result<(), Error> {
        let mut pause = FIRST_PAUSE;
        self.write_status().await?;
        loop {
            if self.is_stale()? {
                return Ok(());
            }
            let step = next(&self.observed());
            tracing::debug!(record = %self.record.name(), op.id = %self.record.operation().id, ?step, "step");
            service::failpoint::approach(step.name());
            let halt = match self.perform(step).await {
                Ok(()) => {
                    service::failpoint::reach(step.name());
                    pause = FIRST_PAUSE;
                    self.done.push(step);
                    if step.is_last() {
                        return Ok(());
                    }
                    continue;
                }
                Err(Halt::Stale) => return Ok(()),
                Err(halt) => halt,
            };
            match self.settle(step, halt).await {
                Action::Fail(failure) => self.failure = Some(failure),
                Action::Wait(text) => {
                    if let Some(text) = &text {
                        let waiting = std::slice::from_ref(text);
                        self.progress.note(waiting, Timestamp::now());
                    }
                    self.say(text.unwrap_or_default()).await;
                    self.rest(&mut pause).await;
                }
                Action::Restart(text) => {
                    self.say(text.unwrap_or_default()).await;
                    self.rest(&mut MAX_PAUSE.clone()).await;
                    return Ok(());
                }
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
            Step::Bury => self.bury().await,
            Step::MarkOrphaned => self.mark_orphaned().await,
            Step::RemoveFinalizer => self.remove_finalizer().await,
        }
    }

    fn namespace(&self) -> &str {
        &self.record.resource.spec.namespace
    }

    /// Stop if the record is no longer this replica's, its operation changed, or
    /// the lease lapsed since it was read: after a gap (the process was paused,
    /// or cut off) others have worked on it, and what is known may be old.
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

    /// Pauses, at most until the record changes or the deadline.
    async fn rest(&self, pause: &mut Duration) {
        let _ = tokio::time::timeout(*pause, self.signals.wake.notified()).await;
        *pause = (*pause * 2).min(MAX_PAUSE);
    }
}
