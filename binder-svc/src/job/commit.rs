//! The steps that write the record: outcomes, each one conditional write, and
//! the status that follows from them.

use cluster::{names, operation::Ended};
use jiff::Timestamp;

use super::Job;
use crate::{
    error::Error,
    ledger::{Record, State},
    resource::{Kind, Phase},
    status,
    step::{Database, Seen},
};

impl Job {
    pub(super) async fn adopt_removal(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        let operation = self
            .shared
            .operation(Kind::Unbind, record.next_seq(), String::new());
        record.begin_unbind(operation, self.shared.times.keep);
        self.write(record).await
    }

    /// The record goes alone; login and Secrets are found again if it comes back.
    pub(super) async fn remove_finalizer(&mut self) -> Result<(), Error> {
        let spec = self.record.spec();
        let note = format!(
            "The record was deleted without the annotation {}={}: its login and its Secrets stay.",
            names::CONFIRM_DELETION,
            spec.incarnation
        );
        tracing::warn!(
            instance.id = spec.instance_id,
            binding.id = spec.binding_id,
            binding.record = self.record.name(),
            "record deleted, login kept: {note}"
        );
        self.shared
            .events
            .warning(self.record.object(), "Orphaned", note)
            .await;
        self.shared.store.let_go(self.record.clone()).await?;
        self.forgotten = true;
        Ok(())
    }

    pub(super) async fn commit_ready(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        if !record.ledger.owed.is_empty() {
            record.ledger.look_at = Some(self.shared.second_look());
        }
        self.commit(record, State::Ready, None).await
    }

    pub(super) async fn commit_failed(&mut self) -> Result<(), Error> {
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

    pub(super) async fn abandon(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.look_at = Some(self.shared.second_look());
        let why = self.refusal.as_ref().map(|refusal| refusal.message.clone());
        let why = why.unwrap_or_else(|| "The instance takes no bindings any more.".to_owned());
        self.commit(record, State::Deleted, Some(why)).await
    }

    pub(super) async fn commit_deleted(&mut self) -> Result<(), Error> {
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

    pub(super) async fn commit_revocation_pending(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.look_at = None;
        self.commit(record, State::RevocationPending, None).await
    }

    pub(super) async fn commit(
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

    pub(super) async fn commit_settled(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.ledger.owed.clear();
        record.ledger.look_at = None;
        if record.ledger.state == State::RevocationPending {
            record.ledger.state = State::Deleted;
        }
        self.write(record).await
    }

    /// The instance's record is missing: look again when it may be back.
    pub(super) async fn postpone(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.ledger.look_at = Some(self.shared.second_look());
        tracing::warn!(
            instance.id = record.spec().instance_id,
            binding.id = record.spec().binding_id,
            "the provisioner has no record of the instance: its users are dropped when it is back"
        );
        self.write(record).await
    }

    pub(super) async fn write_status(&mut self) -> Result<(), Error> {
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
        if phase == Phase::Failed {
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

    pub(super) async fn forget(&mut self) -> Result<(), Error> {
        self.shared.store.delete(&self.record).await?;
        self.forgotten = true;
        Ok(())
    }
}
