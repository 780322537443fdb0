//! The steps that write the record: outcomes, each one conditional write, and
//! the status that follows from them.

use cluster::{audit::Requester, names, operation::Ended};
use jiff::{SignedDuration, Timestamp};
use service::telemetry::chain;

use super::{Job, Lookup};
use crate::{
    error::Error,
    ledger::{Record, State},
    metrics::Outcome,
    resource::{Kind, Phase},
    status,
    step::Database,
};

/// Between looks for a deleted instance, which can come back only in a restore.
const LATER: SignedDuration = SignedDuration::from_hours(24);

impl Job {
    pub(super) async fn adopt_removal(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        let operation =
            self.context
                .operation(Kind::Unbind, record.next_seq(), Requester::default());
        let before = record.clone();
        record.begin_unbind(operation);
        self.write(record).await?;
        self.record.tell_unbind(&before);
        Ok(())
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
        self.context
            .events
            .warning(self.record.object(), "Orphaned", note)
            .await;
        self.context.store.let_go(self.record.clone()).await?;
        self.forgotten = true;
        let open = self.record.open_operation().is_some();
        let entry = self.record.audit();
        entry.let_go(open, "record deleted in the cluster; what it made stays");
        Ok(())
    }

    pub(super) async fn commit_ready(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        if !record.ledger.owed.is_empty() {
            record.ledger.look_at = Some(self.context.second_look());
        }
        self.commit(record, State::Ready, None).await
    }

    pub(super) async fn commit_failed(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.look_at = Some(self.context.second_look());
        let why = if self.failed {
            "The database refused to make the login.".to_owned()
        } else {
            // From the record: whoever failed before may be another process.
            status::trouble(&record)
                .unwrap_or("The login could not be made in time.")
                .to_owned()
        };
        self.commit(record, State::Failed, Some(why)).await
    }

    pub(super) async fn abandon(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        record.ledger.look_at = Some(self.context.second_look());
        let why = self.refusal.as_ref().map(|refusal| refusal.message.clone());
        let why = why.unwrap_or_else(|| "The instance takes no bindings any more.".to_owned());
        self.commit(record, State::Deleted, Some(why)).await?;
        // Not before: until then another replica may go on with the bind. The
        // second look deletes what this does not.
        if let Err(error) = self.delete_secrets().await {
            tracing::debug!(error = chain(&error), "Secrets not deleted yet");
        }
        Ok(())
    }

    pub(super) async fn commit_deleted(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.give_up_attempt();
        if self.lookup.database() == Database::Leaving {
            record.ledger.owed.clear();
            record.ledger.look_at = None;
        } else {
            record.ledger.look_at = Some(self.context.second_look());
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
        let (outcome, ended) = match &failure {
            None => (Outcome::Succeeded, Ended::succeeded(&operation.id, now)),
            Some(why) => (
                Outcome::Failed,
                Ended::failed(&operation.id, why.clone(), now),
            ),
        };
        record.end(state, ended);
        self.write(record).await?;
        let took = now.duration_since(operation.started_at).unsigned_abs();
        self.context
            .metrics
            .operation(operation.kind, outcome, took);
        let text = match &failure {
            Some(why) => why,
            None if state == State::RevocationPending => "The login is still to be revoked.",
            None => "",
        };
        self.record.audit().ended(failure.is_none(), text);
        Ok(())
    }

    pub(super) async fn commit_settled(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        record.ledger.owed.clear();
        record.ledger.look_at = None;
        let was_pending = record.ledger.state == State::RevocationPending;
        if was_pending {
            record.ledger.state = State::Deleted;
        }
        self.write(record).await?;
        if was_pending {
            self.record.audit().note("login revoked, after its unbind");
        }
        Ok(())
    }

    /// What is owed stays owed: look again when the instance may be back.
    pub(super) async fn postpone(&mut self) -> Result<(), Error> {
        let mut record = self.record.clone();
        let wait = match self.lookup {
            Lookup::OutOfReach => LATER,
            Lookup::NotYet
            | Lookup::Held(_)
            | Lookup::Found(_)
            | Lookup::Leaving
            | Lookup::Absent => self.context.times.second_look,
        };
        let at = Timestamp::now().checked_add(wait);
        record.ledger.look_at = Some(at.unwrap_or(Timestamp::MAX));
        tracing::warn!(
            instance.id = record.spec().instance_id,
            binding.id = record.spec().binding_id,
            "instance has no record; its login is revoked when the record is back"
        );
        self.write(record).await
    }

    pub(super) async fn write_status(&mut self) -> Result<(), Error> {
        let status = status::of(&self.record, None, Timestamp::now());
        let record = self.context.write_status(&self.record, &status).await?;
        let phase = record.phase();
        let message = status
            .conditions
            .first()
            .map(|ready| ready.message.clone())
            .unwrap_or_default();
        if phase == Phase::Failed {
            self.context
                .events
                .warning(record.object(), status::reason(phase), message)
                .await;
        } else {
            self.context
                .events
                .normal(record.object(), status::reason(phase), message)
                .await;
        }
        if record.ledger != self.record.ledger || record.spec() != self.record.spec() {
            // A status is written over whatever a handler wrote meanwhile.
            self.look_anew();
        }
        self.record = record;
        Ok(())
    }

    pub(super) async fn forget(&mut self) -> Result<(), Error> {
        self.context.store.delete(&self.record).await?;
        self.forgotten = true;
        Ok(())
    }
}
