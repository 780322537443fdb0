//! How an operation ends: one conditional write of the record.

use broker_proto::text::sentence;
use cluster::operation::Ended;
use jiff::Timestamp;
use plan::outputs::MAX_BYTES;

use super::{Done, Failure, Halt, Job, aim, refuse};
use crate::{
    resource::{Kind, ServiceInstance},
    state::{Applied, Record},
    step::Aim,
    work::status,
};

impl Job {
    /// Notes in the record that an update changes objects from now on, before
    /// it does: whoever takes it over must not tell that nothing was changed.
    pub(super) async fn touch(&mut self) -> Done {
        let id = self.record.operation().id.clone();
        if self.aim != Aim::Update || self.has_changed_objects() {
            return Ok(());
        }
        self.commit(|record| {
            let mut state = record.state.clone();
            state.touched_by = Some(id.clone());
            record.with_state(&state)
        })
        .await
    }

    /// Whether this very update has begun to change objects.
    fn has_changed_objects(&self) -> bool {
        self.record.state.touched_by.as_ref() == Some(&self.record.operation().id)
    }

    /// A refusal of an update, which says so if nothing was changed by it.
    pub(super) fn refuse_update(&self, reason: &str) -> Halt {
        refuse(if self.has_changed_objects() {
            sentence(reason.to_owned())
        } else {
            format!("{reason}; nothing was changed.")
        })
    }

    pub(super) async fn succeed(&mut self) -> Done {
        let inputs = self.inputs().await?;
        let (applied, superseded) = {
            let revision = &inputs.revision;
            let name = self.record.operation().revision.clone().unwrap_or_default();
            let applied = Applied {
                revision: name,
                bundle: revision.bundle.clone(),
                plan_id: revision.plan_id.clone(),
                plan_name: revision.plan_name.clone(),
                maintenance_version: revision.maintenance_version.clone(),
                retain_seconds: inputs.loaded.bundle().retain().as_secs(),
                outputs: self.outputs.clone(),
            };
            let before = self
                .record
                .state
                .applied
                .as_ref()
                .map(|before| before.revision.clone());
            let superseded = before.filter(|before| *before != applied.revision);
            (applied, superseded)
        };
        // The write that ends an operation must not be refused for its size. The plan has counted
        // them without what JSON escapes.
        let size = serde_json::to_string(&applied.outputs).map_or(0, |text| text.len());
        if size > MAX_BYTES {
            return Err(refuse(format!(
                "The plan's outputs have {size} bytes, more than the {MAX_BYTES} that a record can keep."
            )));
        }
        let ended = Ended::succeeded(&self.record.operation().id, Timestamp::now());
        self.commit(|record| {
            let mut state = record.after(ended.clone());
            state.touched_by = None;
            state.applied = Some(applied.clone());
            record.with_state(&state)
        })
        .await?;
        if let Some(superseded) = superseded {
            // A failure here leaves it to the sweep.
            if let Err(error) = self.context.revisions.delete(&superseded).await {
                tracing::debug!(%error, "superseded revision not deleted");
            }
        }
        self.tell_end(true, String::new()).await;
        Ok(())
    }

    pub(super) async fn fail(&mut self) -> Done {
        let kind = self.record.operation().kind;
        let Failure {
            message,
            repeatable,
        } = self.failure.clone().unwrap_or_else(|| self.out_of_time());
        let mut ended = Ended::failed(&self.record.operation().id, &message, Timestamp::now());
        match kind {
            Kind::Create => {}
            Kind::Update => {
                ended.instance_usable = Some(self.record.state.touched_by.is_none());
                ended.update_repeatable = Some(repeatable);
            }
            Kind::Delete => ended.instance_usable = Some(false),
        }
        self.commit(|record| record.with_state(&record.after(ended.clone())))
            .await?;
        self.tell_end(false, message).await;
        Ok(())
    }

    /// The failure of an operation whose deadline has passed.
    fn out_of_time(&self) -> Failure {
        let operation = self.record.operation();
        let reason = if self.message.is_empty() {
            "no step ended in time"
        } else {
            &self.message
        };
        let limit = if Timestamp::now() >= operation.ends_by() {
            format!("Not done within {} s", operation.total_seconds)
        } else {
            format!("No progress within {} s", operation.idle_seconds)
        };
        Failure {
            message: sentence(format!("{limit}: {reason}")),
            repeatable: true,
        }
    }

    /// The deletion succeeded; the data stays for a while. The applied
    /// revision stays named, so that it stays too.
    pub(super) async fn retain(&mut self) -> Done {
        let now = Timestamp::now();
        let until = now
            .checked_add(self.record.retention())
            .unwrap_or(Timestamp::MAX);
        let ended = Ended::succeeded(&self.record.operation().id, now);
        self.commit(|record| {
            let mut state = record.after(ended.clone());
            state.deleted_at = Some(now);
            state.retained_until = Some(until);
            record.with_state(&state)
        })
        .await?;
        self.tell_end(true, format!("data is kept until {until:.0}"))
            .await;
        Ok(())
    }

    /// The last write of a life: a tombstone, or, after `kubectl delete`, nothing.
    pub(super) async fn write_tombstone(&mut self) -> Done {
        let now = Timestamp::now();
        let by_hand = self.record.is_deleted_by_hand();
        let ended = Ended::succeeded(&self.record.operation().id, now);
        self.commit(|record| {
            Record::without_finalizer(if by_hand {
                record.resource.clone()
            } else {
                let mut state = record.after(ended.clone());
                state.applied = None;
                // A purge is not the deletion: that was when it was told.
                state.deleted_at.get_or_insert(now);
                state.retained_until = None;
                record.with_state(&state)
            })
        })
        .await?;
        if by_hand {
            let open = self.record.open_operation().map(|open| open.kind);
            let entry = self.record.audit();
            if open == Some(Kind::Delete) {
                entry.ended(true, "");
            }
            let is_interrupted = matches!(open, Some(Kind::Create | Kind::Update));
            entry.let_go(
                is_interrupted,
                "instance deleted with its data, since its record was",
            );
        } else if self.record.state.deleted_at == Some(now) {
            self.tell_end(true, String::new()).await;
        } else {
            self.record.audit().note("retained data deleted");
        }
        Ok(())
    }

    /// Writes the record, again after each harmless change by others (a hold,
    /// a status), until it is written or asks for something else.
    pub(super) async fn commit(&mut self, change: impl Fn(&Record) -> ServiceInstance) -> Done {
        loop {
            if let Some(written) = self.context.replace(&change(&self.record)).await? {
                self.record = written;
                return Ok(());
            }
            let Some(current) = self.context.read(&self.record.name()).await? else {
                return Err(Halt::Stale);
            };
            let same = current.operation().id == self.record.operation().id
                && current.is_deleted_by_hand() == self.record.is_deleted_by_hand()
                && aim(&current) == Some(self.aim);
            if !same {
                return Err(Halt::Stale);
            }
            // A hold that came in between must not be overlooked by a burial.
            let held_anew = current.resource.spec.held && !self.record.resource.spec.held;
            if held_anew && self.aim == Aim::Delete {
                return Err(Halt::Stale);
            }
            self.record = current;
        }
    }

    /// Status, event, metric and log line of an end.
    async fn tell_end(&mut self, succeeded: bool, message: String) {
        let operation = self.record.operation().clone();
        self.record.audit().ended(succeeded, &message);
        let inventory = if self.record.is_tombstone() {
            Vec::new()
        } else {
            self.objects.inventory().to_vec()
        };
        let status = status::of(&self.record, Some(message.clone()), inventory);
        if let Err(error) = self
            .context
            .write_status(&self.record.name(), &status)
            .await
        {
            tracing::warn!(%error, "status not written; it is rebuilt later");
        }
        self.context.metrics.ended(operation.kind, succeeded);
        let (verb, by) = (operation.kind.as_str(), &operation.requested_by);
        if succeeded {
            let note = format!("{verb} succeeded (asked for by {by})");
            self.context
                .events
                .normal(&self.record.resource, "Succeeded", note)
                .await;
        } else {
            let note = format!("{verb} failed: {message} (asked for by {by})");
            self.context
                .events
                .warning(&self.record.resource, "Failed", note)
                .await;
        }
    }
}
