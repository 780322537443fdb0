//! Progress: an operation goes on as long as something new happens to it,
//! within its total time.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::{
    resource::{self, Operation},
    state::Record,
};

/// What happened to one operation.
#[derive(Debug)]
pub(super) struct Progress {
    at: Timestamp,
    /// What was seen before: a member that comes and goes for ever is no progress.
    seen: HashSet<String>,
}

impl Progress {
    /// As the status tells it, so that a replica that takes over does not
    /// begin to count anew. A status that was lost tells nothing.
    pub(super) fn of(record: &Record, now: Timestamp) -> Self {
        let operation = record.operation();
        let at = match &record.resource.status {
            None => now,
            Some(status) => status
                .progress
                .as_ref()
                .filter(|progress| progress.operation == operation.id)
                .map_or(operation.started_at, |progress| progress.at),
        };
        Self {
            at,
            seen: HashSet::new(),
        }
    }

    /// Takes in what is waited for: readiness, counts of members, bytes. The
    /// first look is none, since a replica that takes over begins with one.
    pub(super) fn note(&mut self, waiting: &[String], now: Timestamp) {
        let is_first = self.seen.is_empty();
        if self.seen.insert(waiting.join("; ")) && !is_first {
            self.at = now;
        }
    }

    pub(super) fn is_overdue(&self, operation: &Operation, now: Timestamp) -> bool {
        operation.is_overdue(self.at, now)
    }

    /// Until the operation is overdue, if nothing new happens.
    pub(super) fn left(&self, operation: &Operation, now: Timestamp) -> SignedDuration {
        operation.overdue_at(self.at).duration_since(now)
    }

    /// For the status.
    pub(super) fn shown(&self, operation: &Operation) -> resource::Progress {
        resource::Progress {
            operation: operation.id.clone(),
            at: self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        resource::{Kind, ServiceInstanceStatus},
        state::tests::record,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn waits(text: &str) -> [String; 1] {
        [text.to_owned()]
    }

    #[test]
    fn only_what_was_not_seen_before_is_progress() {
        let mut record = record(Kind::Create);
        record.resource.status = Some(ServiceInstanceStatus::default());
        let operation = record.operation().clone();
        let mut progress = Progress::of(&record, at(300));
        progress.note(&waits("0 of 3"), at(300));
        assert!(!progress.is_overdue(&operation, at(599)));
        assert!(
            progress.is_overdue(&operation, at(600)),
            "idle since its start"
        );
        progress.note(&waits("1 of 3"), at(500));
        assert!(!progress.is_overdue(&operation, at(1099)));
        // Again and again the same two.
        for seconds in (500..1100).step_by(100) {
            progress.note(&waits("0 of 3"), at(seconds));
            progress.note(&waits("1 of 3"), at(seconds));
        }
        assert!(progress.is_overdue(&operation, at(1100)));
    }

    #[test]
    fn a_take_over_neither_resets_the_idle_time_nor_the_total() {
        let mut record = record(Kind::Create);
        let operation = record.operation().clone();
        record.resource.status = Some(ServiceInstanceStatus::default());
        let mut progress = Progress::of(&record, at(0));
        progress.note(&waits("0 of 3"), at(0));
        progress.note(&waits("1 of 3"), at(400));
        let status = ServiceInstanceStatus {
            progress: Some(progress.shown(&operation)),
            ..ServiceInstanceStatus::default()
        };
        record.resource.status = Some(status);
        for now in [700, 800, 900] {
            let mut heir = Progress::of(&record, at(now));
            heir.note(&waits("1 of 3"), at(now));
            assert!(heir.is_overdue(&operation, at(1000)), "taken over at {now}");
            assert!(!heir.is_overdue(&operation, at(999)));
        }
        // However much goes on.
        let mut busy = Progress::of(&record, at(0));
        for seconds in 0..6000 {
            busy.note(&waits(&seconds.to_string()), at(seconds));
        }
        assert!(!busy.is_overdue(&operation, at(5999)));
        assert!(busy.is_overdue(&operation, at(6000)));
    }

    #[test]
    fn a_lost_status_or_one_of_another_operation_is_no_progress_of_this_one() {
        let mut record = record(Kind::Create);
        let operation = record.operation().clone();
        let lost = Progress::of(&record, at(900));
        assert!(!lost.is_overdue(&operation, at(1499)));
        let mut other = operation.clone();
        other.id = "create-0-y".into();
        record.resource.status = Some(ServiceInstanceStatus {
            progress: Some(lost.shown(&other)),
            ..ServiceInstanceStatus::default()
        });
        assert!(Progress::of(&record, at(900)).is_overdue(&operation, at(900)));
    }
}
