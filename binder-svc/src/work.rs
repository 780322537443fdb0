//! Works on one record: asks [`step::next`], does that thing, notes what it
//! learnt, asks again. Nothing here is known to this process alone that
//! another could not work out again.

mod commit;
mod database;
mod life;
pub(crate) mod method;

use std::{sync::Arc, time::Duration};

use ::work::{Fault, Next, Turn, Work};
use broker_proto::v1::Instance;
use jiff::Timestamp;
use service::telemetry::chain;
use tokio::{sync::watch, time::Instant};

use crate::{
    context::{Context, Handover},
    credentials::Issued,
    error::Error,
    ledger::Record,
    metrics::Outcome,
    mongo,
    request::Request,
    resource::{Kind, ServiceBinding},
    status,
    step::{self, Database, Hold, Observed, Seen, Step},
};

use self::method::{Goal, Method};

/// In the status of a record whose worker panicked.
const PANICKED: &str = "An internal error interrupted the work; it is tried again after a pause. \
                        See the log of binder-svc.";

/// What is done with bindings; the pool decides who does it, and when.
#[derive(Debug)]
pub(crate) struct Bindings {
    pub(crate) context: Arc<Context>,
}

/// What a job shows to those who wait for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// The record after the last outcome.
    pub(crate) record: Option<Arc<Record>>,
    /// The credentials, if this very job made them.
    pub(crate) issued: Option<Arc<Issued>>,
    /// Why a bind was abandoned.
    pub(crate) refusal: Option<broker_proto::Error>,
    /// What went wrong last; it is tried again.
    pub(crate) trouble: Option<Arc<Trouble>>,
}

/// What went wrong with an operation that goes on.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The operation's id.
    pub(crate) operation: String,
    /// The answer for a request that cannot wait longer.
    pub(crate) error: broker_proto::Error,
}

/// One record being worked on.
pub(crate) struct Job {
    context: Arc<Context>,
    turn: Turn,
    record: Record,
    method: Box<dyn Method>,
    lookup: Lookup,
    request: Option<Arc<Request>>,
    /// The instance as the request saw it just now, not held for it; taken by
    /// the first hold, or look.
    instance_seen: Option<Instance>,
    /// Why the step after the hold failed, which was done beside it.
    early_fault: Option<Error>,
    /// Of the hold.
    refusal: Option<broker_proto::Error>,
    /// The bind cannot succeed, however often it is tried.
    failed: bool,
    secrets_deleted: bool,
    reports: watch::Sender<Report>,
    forgotten: bool,
}

/// What is known of the instance.
enum Lookup {
    NotYet,
    /// Held for this bind.
    Held(Arc<Instance>),
    Found(Arc<Instance>),
    /// It takes its database along.
    Leaving,
    /// The provisioner does not know it.
    Absent,
    /// It is deleted, its database is not.
    OutOfReach,
}

impl Lookup {
    fn instance(&self) -> Option<&Arc<Instance>> {
        match self {
            Self::Held(instance) | Self::Found(instance) => Some(instance),
            Self::NotYet | Self::Leaving | Self::Absent | Self::OutOfReach => None,
        }
    }

    fn database(&self) -> Database {
        match self {
            Self::NotYet => Database::Unknown,
            Self::Held(_) | Self::Found(_) => Database::Present,
            Self::Leaving => Database::Leaving,
            Self::Absent | Self::OutOfReach => Database::Absent,
        }
    }
}

impl Work for Bindings {
    type Object = ServiceBinding;
    type Extra = Option<Handover>;
    type Report = Report;
    type Job = Job;

    fn driver<'a>(&self, object: &'a ServiceBinding) -> Option<&'a str> {
        Some(&object.spec.operation.driver)
    }

    fn needs_work(&self, object: &ServiceBinding) -> Result<bool, Fault> {
        let record = Record::read(object.clone())?;
        let step = next(&self.context, &record, Seen::default());
        Ok(!matches!(step, Step::Rest(_)))
    }

    async fn begin(
        &self,
        object: Arc<ServiceBinding>,
        handover: Option<Option<Handover>>,
        turn: Turn,
        reports: watch::Sender<Report>,
    ) -> Result<Option<Job>, Fault> {
        let record = Record::read(object.as_ref().clone())?;
        let (request, instance_seen) = match handover.flatten() {
            Some(handover) => (handover.request, Some(handover.instance)),
            None => (None, None),
        };
        Ok(Some(Job {
            context: Arc::clone(&self.context),
            turn,
            method: method::of(record.spec().method),
            record,
            lookup: Lookup::NotYet,
            request,
            instance_seen,
            early_fault: None,
            refusal: None,
            failed: false,
            secrets_deleted: false,
            reports,
            forgotten: false,
        }))
    }

    async fn step(&self, job: &mut Job) -> Next {
        job.step().await
    }

    async fn panicked(
        &self,
        object: Arc<ServiceBinding>,
        _text: &str,
        reports: &watch::Sender<Report>,
    ) {
        let trouble = Trouble {
            operation: object.spec.operation.id.clone(),
            error: broker_proto::Error::internal(),
        };
        reports.send_modify(|report| report.trouble = Some(Arc::new(trouble)));
        let Ok(record) = Record::read(object.as_ref().clone()) else {
            return;
        };
        let status = status::of(&record, Some(PANICKED), Timestamp::now());
        if let Err(error) = self.context.write_status(&record, &status).await {
            tracing::warn!(
                binding.record = record.name(),
                error = chain(&error),
                "status not written"
            );
        }
    }
}

fn next(context: &Context, record: &Record, seen: Seen) -> Step {
    step::next(&Observed {
        record,
        seen,
        holder: &context.holder,
        now: Timestamp::now(),
        keep: context.times.keep,
    })
}

impl Job {
    async fn step(&mut self) -> Next {
        let step = next(&self.context, &self.record, self.seen());
        if let Step::Rest(_) = step {
            self.publish();
            return Next::Rest;
        }
        let begun = Instant::now();
        service::failpoint::approach(step.name());
        let result = self.perform(step).await;
        let outcome = match result {
            Ok(()) => Outcome::Succeeded,
            Err(_) => Outcome::Failed,
        };
        self.context.metrics.step(step, outcome);
        match result {
            Ok(()) => {
                let duration_us = begun.elapsed().as_micros();
                tracing::debug!(step = step.name(), duration_us, "step done");
                service::failpoint::reach(step.name());
                if self.forgotten { Next::Rest } else { Next::Go }
            }
            Err(error) if error.is_lost_race() => Next::Reread,
            Err(error) if error.is_final() && self.is_binding() => {
                tracing::warn!(
                    step = step.name(),
                    error = chain(&error),
                    "bind failed permanently"
                );
                self.failed = true;
                Next::Go
            }
            Err(error) => {
                self.show(step, &error).await;
                Next::Retry(self.time_left())
            }
        }
    }

    fn is_binding(&self) -> bool {
        self.record.is_open(Kind::Bind)
    }

    fn seen(&self) -> Seen {
        let held = matches!(self.lookup, Lookup::Held(_));
        Seen {
            database: self.lookup.database(),
            hold: match &self.refusal {
                Some(_) => Hold::Refused,
                None if held => Hold::Held,
                None => Hold::NotAsked,
            },
            make: self.method.next(Goal::Made),
            revoke: self.method.next(Goal::Revoked),
            secrets_deleted: self.secrets_deleted,
            failed: self.failed,
        }
    }

    async fn request(&mut self) -> Result<Arc<Request>, Error> {
        if let Some(request) = &self.request {
            return Ok(Arc::clone(request));
        }
        let name = &self.record.spec().request;
        let request = Arc::new(self.context.store.read_request(name).await?);
        self.request = Some(Arc::clone(&request));
        Ok(request)
    }

    /// Until the deadline, when something else is to be done.
    fn time_left(&self) -> Option<Duration> {
        let open = self.record.open_operation()?;
        let left = open.deadline.duration_since(Timestamp::now());
        Duration::try_from(left).ok()
    }

    /// Shows what went wrong, to those who wait and to people.
    async fn show(&mut self, step: Step, error: &Error) {
        if let Error::Mongo(mongo::Error::Login(_) | mongo::Error::Unreachable(_))
        | Error::Unreached(_) = error
        {
            self.context
                .databases
                .forget(&self.record.spec().instance_id);
        }
        tracing::warn!(
            binding.record = self.record.name(),
            op.id = self.record.operation().id,
            step = step.name(),
            error = chain(error),
            "step failed; trying again"
        );
        let trouble = Arc::new(Trouble {
            operation: self.record.operation().id.clone(),
            error: error.answer(),
        });
        let status = status::of(&self.record, Some(&trouble.error.message), Timestamp::now());
        self.reports
            .send_modify(|report| report.trouble = Some(trouble));
        if self.record.object().status.as_ref() != Some(&status)
            && let Err(error) = self.context.write_status(&self.record, &status).await
        {
            tracing::debug!(error = chain(&error), "status not written");
        }
    }

    fn publish(&self) {
        self.reports.send_modify(|report| {
            *report = Report {
                record: Some(Arc::new(self.record.clone())),
                issued: self.issued(),
                refusal: self.refusal.clone(),
                trouble: None,
            };
        });
    }

    /// The credentials of the record's attempt, if this job made them, never
    /// those of one that was superseded.
    fn issued(&self) -> Option<Arc<Issued>> {
        let attempt = self.record.ledger.attempt.as_ref()?;
        let issue = self.method.issue()?;
        (issue.user == attempt.login.user).then(|| Arc::clone(&issue.issued))
    }

    /// What was seen and done belongs to the version of the record before.
    fn look_anew(&mut self) {
        self.method.restart();
        self.lookup = Lookup::NotYet;
        self.instance_seen = None;
        self.early_fault = None;
        self.failed = false;
        self.secrets_deleted = false;
    }

    async fn perform(&mut self, step: Step) -> Result<(), Error> {
        match step {
            // The handler's, done before there is a job.
            Step::WriteRequest | Step::WriteRecord | Step::Rest(_) => Ok(()),
            Step::AdoptRemoval => self.adopt_removal().await,
            Step::RemoveFinalizer => self.remove_finalizer().await,
            Step::StartAttempt => self.start_attempt().await,
            Step::Hold => self.hold().await,
            Step::Make(_) => self.make().await,
            Step::Revoke(_) => self.revoke().await,
            Step::CommitReady => self.commit_ready().await,
            Step::CommitFailed => self.commit_failed().await,
            Step::Abandon => self.abandon().await,
            Step::LookUpInstance => self.look_up_instance().await,
            Step::DeleteSecrets => self.delete_secrets().await,
            Step::CommitDeleted => self.commit_deleted().await,
            Step::CommitRevocationPending => self.commit_revocation_pending().await,
            Step::CommitSettled => self.commit_settled().await,
            Step::Postpone => self.postpone().await,
            Step::WriteStatus => self.write_status().await,
            Step::Forget => self.forget().await,
        }
    }

    /// The one conditional write.
    async fn write(&mut self, record: Record) -> Result<(), Error> {
        self.record = self.context.store.replace(record).await?;
        self.look_anew();
        // Before others see the record: who waits gets all that is known of its end.
        if self.record.open_operation().is_none() {
            self.publish();
        }
        self.context.cache.observe(self.record.object().clone());
        Ok(())
    }
}
