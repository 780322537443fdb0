//! Works one record: reads, asks [`step::next`], does that thing, comes back.
//! Handlers and reconcilers run the same loop; nothing here is known to this
//! process alone that another could not work out again.

use std::{sync::Arc, time::Duration};

use broker_proto::v1::{Instance, InstancePhase};
use cluster::operation::Ended;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    credentials::Issued,
    error,
    error::Error,
    failpoint,
    ledger::{Login, Record, State},
    login,
    mongo::{self, Mark, NewUser, Target},
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
            let step = self.next();
            if let Step::Rest(_) = step {
                self.publish();
                return;
            }
            let result = self.perform(step).await;
            self.shared
                .metrics
                .step(step, result.as_ref().map(drop).map_err(drop));
            let error = match result {
                Ok(()) => {
                    tracing::debug!(step = step.name(), "step done");
                    failpoint::after(step);
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
                    error = error::chain(&error),
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
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.nudge.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Reads the record anew. `false` if the work is somebody else's now.
    async fn reread(&mut self) -> bool {
        let record = match self.shared.store.read(self.record.name()).await {
            Ok(Some(record)) => record,
            Ok(None) => return false,
            // The API server is away: keep what we have, the next write is
            // conditional.
            Err(_) => {
                self.look_anew();
                return !self.stop.is_cancelled();
            }
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
            error = error::chain(error),
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

    async fn adopt_removal(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        let operation = self
            .shared
            .operation(Kind::Unbind, record.next_seq(), String::new());
        record.begin_unbind(operation, self.shared.times.keep);
        self.write(record).await
    }

    async fn start_attempt(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.attempts += 1;
        record.ledger.attempt = Some(login::attempt(
            record.name(),
            record.ledger.attempts,
            &self.shared.holder,
            &record.spec().instance_incarnation,
        ));
        self.write(record).await
    }

    async fn hold(&mut self) -> Result<(), Error> {
        let spec = self.record.spec();
        match self
            .shared
            .instances
            .hold(&spec.instance_id, &spec.instance_incarnation)
            .await
        {
            Ok(instance) => {
                self.instance = Some(instance);
                self.seen.held = true;
                self.seen.database = Database::Present;
            }
            Err(Error::Refused(refusal)) => {
                self.refusal = Some(refusal);
                self.seen.refused = true;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn look_up_instance(&mut self) -> Result<(), Error> {
        let spec = self.record.spec();
        let found = self.shared.instances.get(&spec.instance_id).await?;
        let present = found.filter(|instance| {
            instance.incarnation == spec.instance_incarnation && !is_leaving(instance.phase())
        });
        self.seen.database = match present {
            Some(_) => Database::Present,
            None => Database::Leaving,
        };
        self.instance = present;
        Ok(())
    }

    async fn target(&self) -> Result<Arc<Target>, Error> {
        let missing = || Error::Plan("the instance was not looked up".to_owned());
        let instance = self.instance.as_ref().ok_or_else(missing)?;
        let plan = self.shared.bundles.get(&instance.bundle_digest).await?;
        self.shared.databases.of(instance, &plan).await
    }

    async fn request(&mut self) -> Result<Arc<Request>, Error> {
        if let Some(request) = &self.request {
            return Ok(Arc::clone(request));
        }
        let name = &self.record.spec().request;
        let request = Arc::new(self.shared.store.read_request(name).await?);
        self.request = Some(Arc::clone(&request));
        Ok(request)
    }

    fn login(&self) -> Result<(Login, u32), Error> {
        let attempt = self.record.ledger.attempt.as_ref();
        attempt
            .map(|attempt| (attempt.login.clone(), attempt.number))
            .ok_or_else(|| Error::Plan("there is no attempt".to_owned()))
    }

    async fn store_password(&mut self) -> Result<(), Error> {
        let target = self.target().await?;
        let request = self.request().await?;
        let (login, _) = self.login()?;
        let password = login::password();
        let issued = Issued::new(
            &target.database,
            &request.grant.database,
            &login.user,
            &password,
        );
        let issued = self
            .shared
            .store
            .write_login(&login.secret, &self.record, issued)
            .await?;
        self.issued = Some(Issue {
            user: login.user,
            issued: Arc::new(issued),
        });
        self.seen.stored = true;
        Ok(())
    }

    async fn create_user(&mut self) -> Result<(), Error> {
        let target = self.target().await?;
        let request = self.request().await?;
        let (login, number) = self.login()?;
        let password = self.issued().and_then(|issued| issued.password());
        let password = password.ok_or_else(|| Error::Secret(login.secret.clone()))?;
        let user = NewUser {
            name: &login.user,
            password: &password,
            grant: &request.grant,
            mark: &Mark {
                instance: cluster::names::instance_record(&self.record.spec().instance_id),
                binding: self.record.name().to_owned(),
                incarnation: self.record.spec().incarnation.clone(),
                attempt: number,
            },
        };
        self.shared.users.create_user(&target, &user).await?;
        self.seen.created = true;
        Ok(())
    }

    /// Drops what the ledger names and what the database knows to be of this
    /// binding, up to the newest attempt that must go. A later attempt, of a
    /// replica that took over meanwhile, is not ours to judge.
    async fn drop_users(&mut self) -> Result<(), Error> {
        let target = self.target().await?;
        let kept = self.kept_attempt();
        let ledger = &self.record.ledger;
        let limit = kept.unwrap_or(ledger.attempts + 1);
        let incarnation = &self.record.spec().instance_incarnation;
        let given_up = ledger.attempt.as_ref().filter(|_| kept.is_none());
        let mut names: Vec<String> = ledger
            .owed
            .iter()
            .chain(given_up.map(|attempt| &attempt.login))
            // An earlier life of the instance took its users along.
            .filter(|login| login.instance_incarnation == *incarnation)
            .map(|login| login.user.clone())
            .collect();
        let found = self
            .shared
            .users
            .find_users(&target, Some(self.record.name()))
            .await?;
        names.extend(
            found
                .into_iter()
                .filter(|user| user.mark.attempt < limit)
                .map(|user| user.name),
        );
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.shared.users.drop_user(&target, &name).await?;
        }
        self.seen.dropped = true;
        Ok(())
    }

    /// The attempt whose user must stay, if one must.
    fn kept_attempt(&self) -> Option<u32> {
        let kept = match (self.record.running(), self.record.operation().kind) {
            (true, Kind::Bind) => true,
            (true, Kind::Unbind) => false,
            (false, _) => self.record.ledger.state == State::Ready,
        };
        self.record
            .ledger
            .attempt
            .as_ref()
            .filter(|_| kept)
            .map(|attempt| attempt.number)
    }

    async fn delete_secrets(&mut self) -> Result<(), Error> {
        let unbinding = self.record.running();
        let ledger = &self.record.ledger;
        let given_up = ledger.attempt.as_ref().filter(|_| unbinding);
        let mut names: Vec<&str> = ledger
            .owed
            .iter()
            .chain(given_up.map(|attempt| &attempt.login))
            .map(|login| login.secret.as_str())
            .collect();
        if unbinding || self.record.is_gone() {
            names.push(&self.record.spec().request);
        }
        for name in names {
            self.shared.store.delete_secret(name).await?;
        }
        self.seen.secrets_deleted = true;
        Ok(())
    }

    async fn commit_ready(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        if !record.ledger.owed.is_empty() {
            record.ledger.look_at = Some(self.shared.second_look());
        }
        self.commit(record, State::Ready, None).await
    }

    async fn commit_failed(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.look_at = Some(self.shared.second_look());
        let why = match (self.seen.hopeless, &self.report.borrow().trouble) {
            (true, _) => "The database refused to make the login.".to_owned(),
            (false, Some((id, trouble))) if *id == record.operation().id => trouble.message.clone(),
            (false, _) => "The login could not be made in time.".to_owned(),
        };
        self.commit(record, State::Failed, Some(why)).await
    }

    async fn abandon(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.look_at = Some(self.shared.second_look());
        let why = self.refusal.as_ref().map(|refusal| refusal.message.clone());
        let why = why.unwrap_or_else(|| "The instance takes no bindings any more.".to_owned());
        self.commit(record, State::Deleted, Some(why)).await
    }

    async fn commit_deleted(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        if self.seen.database == Database::Leaving {
            record.ledger.owed.clear();
            record.ledger.look_at = None;
        } else {
            record.ledger.look_at = Some(self.shared.second_look());
        }
        self.commit(record, State::Deleted, None).await
    }

    async fn commit_revocation_pending(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.look_at = None;
        self.commit(record, State::RevocationPending, None).await
    }

    async fn commit(
        &mut self,
        mut record: Record,
        state: State,
        failure: Option<String>,
    ) -> Result<(), Error> {
        let operation = record.operation().clone();
        let now = Timestamp::now();
        let succeeded = if failure.is_none() { Ok(()) } else { Err(()) };
        let ended = match &failure {
            None => Ended::succeeded(&operation.id, now),
            Some(why) => Ended::failed(&operation.id, why.clone(), now),
        };
        record.end(state, ended, self.shared.times.keep);
        self.write(record).await?;
        self.publish();
        let took = now.duration_since(operation.started_at).unsigned_abs();
        self.shared
            .metrics
            .operation(operation.kind, succeeded, took);
        tracing::info!(
            instance.id = self.record.spec().instance_id,
            binding.id = self.record.spec().binding_id,
            op.id = operation.id,
            duration_ms = took.as_millis(),
            failure,
            "operation ended: {}",
            status::reason(self.record.phase())
        );
        Ok(())
    }

    async fn commit_settled(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.ledger.owed.clear();
        record.ledger.look_at = None;
        if record.ledger.state == State::RevocationPending {
            record.ledger.state = State::Deleted;
        }
        self.write(record).await
    }

    async fn write_status(&mut self) -> Result<(), Error> {
        let status = status::of(&self.record, None, Timestamp::now());
        let record = self
            .shared
            .store
            .write_status(self.record.name(), &status)
            .await?;
        let phase = record.phase();
        let message = status
            .conditions
            .first()
            .map(|ready| ready.message.clone())
            .unwrap_or_default();
        if phase == crate::resource::Phase::Failed {
            self.shared
                .events
                .warning(record.object(), status::reason(phase), message)
                .await;
        } else {
            self.shared
                .events
                .normal(record.object(), status::reason(phase), message)
                .await;
        }
        self.shared.cache.observe(record.object().clone());
        if record.ledger != self.record.ledger || record.spec() != self.record.spec() {
            // A status is written over whatever a handler wrote meanwhile.
            self.seen = Seen::default();
        }
        self.record = record;
        Ok(())
    }

    async fn forget(&mut self) -> Result<(), Error> {
        self.shared.store.delete(&self.record).await?;
        self.forgotten = true;
        Ok(())
    }
}

fn is_leaving(phase: InstancePhase) -> bool {
    match phase {
        InstancePhase::Deprovisioning
        | InstancePhase::DeprovisionFailed
        | InstancePhase::Deleted => true,
        InstancePhase::Unspecified
        | InstancePhase::Provisioning
        | InstancePhase::Ready
        | InstancePhase::ProvisionFailed
        | InstancePhase::Updating
        | InstancePhase::UpdateFailed => false,
    }
}
