//! Works one record: reads, asks [`step::next`], does that thing, comes back.
//! Handlers and reconcilers run the same loop; nothing here is known to this
//! process alone that another could not work out again.

mod commit;
mod make;
mod revoke;

use std::{sync::Arc, time::Duration};

use broker_proto::v1::Instance;
use cluster::share::Term;
use jiff::Timestamp;
use service::telemetry::chain;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    credentials::Issued,
    error::Error,
    ledger::Record,
    mongo,
    request::Request,
    resource::Kind,
    shared::Shared,
    status,
    step::{self, Database, Observed, Seen, Step},
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a job tells those who wait for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// The record after the last outcome.
    pub(crate) record: Option<Arc<Record>>,
    /// The credentials, if this very job made them.
    pub(crate) issued: Option<Arc<Issued>>,
    /// Why a bind was abandoned.
    pub(crate) refusal: Option<broker_proto::Error>,
    /// What went wrong last with the operation of that id; it is tried again.
    pub(crate) trouble: Option<(String, broker_proto::Error)>,
}

/// One record being worked.
pub(crate) struct Job {
    shared: Arc<Shared>,
    /// The record was read in this term of the replica's lease.
    term: Option<Term>,
    record: Record,
    seen: Seen,
    instance: Option<Instance>,
    request: Option<Arc<Request>>,
    issued: Option<Issue>,
    refusal: Option<broker_proto::Error>,
    report: watch::Sender<Report>,
    nudge: Arc<Notify>,
    stop: CancellationToken,
    forgotten: bool,
}

/// What this job wrote for an attempt of its own.
struct Issue {
    user: String,
    issued: Arc<Issued>,
}

impl Job {
    /// A job on a record as it was just read or written, and on what its maker
    /// knows of the request.
    pub(crate) fn new(
        shared: Arc<Shared>,
        record: Record,
        request: Option<Arc<Request>>,
        report: watch::Sender<Report>,
        nudge: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            term: shared.tenure.now(),
            shared,
            record,
            seen: Seen::default(),
            instance: None,
            request,
            issued: None,
            refusal: None,
            report,
            nudge,
            stop,
            forgotten: false,
        }
    }

    /// Works until there is nothing to do, or somebody else is to do it.
    pub(crate) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.stop.is_cancelled() && !self.forgotten {
            if !self.is_in_term() {
                if !self.resume().await {
                    return;
                }
                continue;
            }
            let step = self.next();
            if let Step::Rest(_) = step {
                self.publish();
                return;
            }
            let begun = Instant::now();
            service::failpoint::approach(step.name());
            let result = self.perform(step).await;
            self.shared
                .metrics
                .step(step, result.as_ref().map(drop).map_err(drop));
            let error = match result {
                Ok(()) => {
                    let took = begun.elapsed();
                    tracing::debug!(
                        step = step.name(),
                        duration_us = took.as_micros(),
                        "step done"
                    );
                    service::failpoint::reach(step.name());
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(error) => error,
            };
            if error.is_final()
                && self.record.running()
                && self.record.operation().kind == Kind::Bind
            {
                tracing::warn!(
                    step = step.name(),
                    error = chain(&error),
                    "bind is hopeless"
                );
                self.seen.hopeless = true;
                continue;
            }
            if !error.is_lost_race() {
                self.tell(step, &error).await;
                self.wait(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if !self.reread().await {
                return;
            }
        }
    }

    fn next(&self) -> Step {
        step::next(&Observed {
            record: &self.record,
            seen: &self.seen,
            holder: &self.shared.holder,
            now: Timestamp::now(),
            keep: self.shared.times.keep,
        })
    }

    async fn wait(&self, pause: Duration) {
        // Not beyond the deadline, where something else is to be done.
        let left = self
            .record
            .operation()
            .deadline
            .duration_since(Timestamp::now());
        let pause = match Duration::try_from(left) {
            Ok(left) if self.record.running() => pause.min(left),
            Ok(_) | Err(_) => pause,
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.nudge.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Whether the lease held without a gap since the record was read.
    fn is_in_term(&self) -> bool {
        self.term.is_some() && self.shared.tenure.now() == self.term
    }

    /// After a gap in the lease (the process was paused, or cut off) others may
    /// have worked on the record: nothing that was known counts. `false` if the
    /// work is somebody else's now.
    async fn resume(&mut self) -> bool {
        let mut tenure = self.shared.tenure.clone();
        let term = tokio::select! {
            () = self.stop.cancelled() => return false,
            term = tenure.begun() => term,
        };
        if term.is_none() {
            return false;
        }
        let Ok(record) = self.shared.store.read(self.record.name()).await else {
            self.wait(FIRST_PAUSE).await;
            return true;
        };
        self.term = term;
        self.take(record)
    }

    /// Reads the record anew. `false` if the work is somebody else's now.
    async fn reread(&mut self) -> bool {
        let Ok(record) = self.shared.store.read(self.record.name()).await else {
            // The API server is away: keep what we have, the next write is
            // conditional.
            self.look_anew();
            return !self.stop.is_cancelled();
        };
        self.take(record)
    }

    fn take(&mut self, record: Option<Record>) -> bool {
        let Some(record) = record else {
            return false;
        };
        let version = |record: &Record| record.object().metadata.resource_version.clone();
        if version(&record) != version(&self.record) {
            // Perhaps another life of the binding, with another request.
            self.record = record;
            self.request = None;
            self.seen = Seen::default();
        }
        self.look_anew();
        self.shared.is_responsible(&self.record)
    }

    /// The instance may have changed since something failed.
    fn look_anew(&mut self) {
        self.seen.held = false;
        self.seen.database = Database::Unknown;
        self.instance = None;
    }

    async fn tell(&mut self, step: Step, error: &Error) {
        if let Error::Mongo(mongo::Error::Login(_) | mongo::Error::Unreachable(_)) = error {
            self.shared
                .databases
                .forget(&self.record.spec().instance_id);
        }
        tracing::warn!(
            binding.record = self.record.name(),
            op.id = self.record.operation().id,
            step = step.name(),
            error = chain(error),
            "step failed, it is tried again"
        );
        let answer = error.answer();
        let trouble = Some((self.record.operation().id.clone(), answer.clone()));
        self.report.send_modify(|report| report.trouble = trouble);
        let status = status::of(&self.record, Some(&answer.message), Timestamp::now());
        if self.record.object().status.as_ref() != Some(&status)
            && let Ok(record) = self
                .shared
                .store
                .write_status(self.record.name(), &status)
                .await
            && record.ledger == self.record.ledger
            && record.spec() == self.record.spec()
        {
            self.record = record;
        }
    }

    fn publish(&self) {
        self.report.send_modify(|report| {
            *report = Report {
                record: Some(Arc::new(self.record.clone())),
                issued: self.issued(),
                refusal: self.refusal.clone(),
                trouble: None,
            };
        });
    }

    /// The credentials of the record's attempt, if this job made them: those
    /// of one that was superseded are nobody's.
    fn issued(&self) -> Option<Arc<Issued>> {
        let attempt = self.record.ledger.attempt.as_ref()?;
        let issue = self
            .issued
            .as_ref()
            .filter(|issue| issue.user == attempt.login.user)?;
        Some(Arc::clone(&issue.issued))
    }

    async fn perform(&mut self, step: Step) -> Result<(), Error> {
        match step {
            // The handler's, done before there is a job.
            Step::WriteRequest | Step::WriteRecord | Step::Rest(_) => Ok(()),
            Step::AdoptRemoval => self.adopt_removal().await,
            Step::RemoveFinalizer => self.remove_finalizer().await,
            Step::StartAttempt => self.start_attempt().await,
            Step::Hold => self.hold().await,
            Step::StorePassword => self.store_password().await,
            Step::CreateUser => self.create_user().await,
            Step::DropOwed | Step::DropUsers => self.drop_users().await,
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

    /// The one conditional write. What was seen belongs to the version before.
    async fn write(&mut self, record: Record) -> Result<(), Error> {
        self.record = self.shared.store.replace(record).await?;
        self.shared.cache.observe(self.record.object().clone());
        self.seen = Seen::default();
        Ok(())
    }
}
