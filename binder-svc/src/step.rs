//! The one next thing to do for a binding: a pure function of its record and
//! of what the worker saw since it took the record up.
//!
//! A bind: hold, the steps of the binding's method that make something (on a
//! server of the instance's own beside the hold), commit.
//! An unbind: the steps that revoke, delete Secrets, commit. Whoever takes over
//! an unfinished bind begins a new attempt first. What may be left behind by a
//! process that was suspended is owed, and looked for once more later.

use jiff::{SignedDuration, Timestamp};

use crate::{
    ledger::{Record, State},
    resource::{Kind, Phase},
};

/// A thing to do. Each is harmless when repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Write the request into a Secret (the handler's).
    WriteRequest,
    /// Write the record (the handler's): from here on the work cannot be lost.
    WriteRecord,
    /// Turn a deletion by hand into an unbind.
    AdoptRemoval,
    /// Let a record go that was deleted by hand, and leave its login alone.
    RemoveFinalizer,
    /// Commit a new attempt, before its names are used anywhere.
    StartAttempt,
    /// Keep the instance from being deleted, and learn where its database is. On
    /// a server of its own, the handler's look at it is enough to begin with.
    Hold,
    /// A step of the binding's method, of that name, that makes what is handed out.
    Make(&'static str),
    /// A step of the binding's method, of that name, that revokes.
    Revoke(&'static str),
    /// Commit success: the attempt's credentials may be handed out.
    CommitReady,
    /// Commit failure.
    CommitFailed,
    /// The instance does not take bindings any more: as if never asked.
    Abandon,
    /// Learn whether the instance still has a database, and where.
    LookUpInstance,
    /// Delete the Secrets of request and logins.
    DeleteSecrets,
    /// Commit that the binding is gone.
    CommitDeleted,
    /// Commit that it is gone for the platform, with something still to revoke.
    CommitRevocationPending,
    /// Commit that nothing is owed any more.
    CommitSettled,
    /// Commit that what is owed cannot be revoked for now, and when to look for
    /// the instance again.
    Postpone,
    /// Write the status that people read.
    WriteStatus,
    /// Delete a tombstone whose time is over.
    Forget,
    /// Nothing to do before that time, or at all.
    Rest(Option<Timestamp>),
}

impl Step {
    /// Its name, for logs, metrics and failpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteRequest => "WriteRequest",
            Self::WriteRecord => "WriteRecord",
            Self::AdoptRemoval => "AdoptRemoval",
            Self::RemoveFinalizer => "RemoveFinalizer",
            Self::StartAttempt => "StartAttempt",
            Self::Hold => "Hold",
            Self::Make(name) | Self::Revoke(name) => name,
            Self::CommitReady => "CommitReady",
            Self::CommitFailed => "CommitFailed",
            Self::Abandon => "Abandon",
            Self::LookUpInstance => "LookUpInstance",
            Self::DeleteSecrets => "DeleteSecrets",
            Self::CommitDeleted => "CommitDeleted",
            Self::CommitRevocationPending => "CommitRevocationPending",
            Self::CommitSettled => "CommitSettled",
            Self::Postpone => "Postpone",
            Self::WriteStatus => "WriteStatus",
            Self::Forget => "Forget",
            Self::Rest(_) => "Rest",
        }
    }
}

/// What is known of the instance's database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Database {
    /// Not looked up since the record was taken up.
    #[default]
    Unknown,
    /// It is there, as far as the provisioner knows.
    Present,
    /// It goes or went with its instance, users and all: not to be contacted.
    Leaving,
    /// The provisioner has no record of the instance, which proves nothing: it
    /// may come back, and the users with it. Or the database outlives its
    /// instance, which is gone, and with it the way to log in.
    Absent,
}

/// Whether the instance is kept for the binding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hold {
    /// Not asked for since the record was taken up.
    #[default]
    NotAsked,
    /// It is.
    Held,
    /// The provisioner refused it for good.
    Refused,
}

/// What the worker did, and saw, since it took up this version of the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of the instance's database.
    pub database: Database,
    /// Of the instance.
    pub hold: Hold,
    /// The method's next step towards what is handed out, if one is left.
    pub make: Option<&'static str>,
    /// The method's next step towards nothing being owed, if one is left.
    pub revoke: Option<&'static str>,
    /// The Secrets that had to go are gone.
    pub secrets_deleted: bool,
    /// The bind cannot succeed, however often it is tried.
    pub failed: bool,
}

/// All that decides.
#[derive(Debug)]
pub struct Observed<'a> {
    /// As read.
    pub record: &'a Record,
    /// By this process.
    pub seen: Seen,
    /// Names this process: only its own attempts may go on.
    pub holder: &'a str,
    /// By this machine's clock.
    pub now: Timestamp,
    /// How long tombstones and results stay.
    pub keep: SignedDuration,
}

/// The one next thing to do.
pub fn next(observed: &Observed<'_>) -> Step {
    let record = observed.record;
    if record.is_deleted_by_hand() && !record.is_open(Kind::Unbind) {
        // A login that works is not taken back because its record is.
        let works = record.phase() == Phase::Ready;
        return if works && !record.is_deletion_confirmed() {
            Step::RemoveFinalizer
        } else {
            Step::AdoptRemoval
        };
    }
    match record.open_operation().map(|open| open.kind) {
        Some(Kind::Bind) => bind(observed),
        Some(Kind::Unbind) => unbind(observed),
        None => rest(observed),
    }
}

fn bind(observed: &Observed<'_>) -> Step {
    let (record, seen) = (observed.record, observed.seen);
    if seen.hold == Hold::Refused {
        return Step::Abandon;
    }
    if seen.failed || observed.now >= record.operation().deadline {
        return Step::CommitFailed;
    }
    let attempt = record.ledger.attempt.as_ref();
    if attempt.is_none_or(|attempt| attempt.holder != observed.holder) {
        return Step::StartAttempt;
    }
    if seen.hold == Hold::NotAsked {
        return Step::Hold;
    }
    if let Some(step) = seen.make {
        return Step::Make(step);
    }
    match seen.revoke {
        Some(step) if !record.ledger.owed.is_empty() => Step::Revoke(step),
        Some(_) | None => Step::CommitReady,
    }
}

fn unbind(observed: &Observed<'_>) -> Step {
    let (record, seen) = (observed.record, observed.seen);
    let overdue = observed.now >= record.operation().deadline;
    let revoked = match (seen.database, seen.revoke) {
        (Database::Present, None) | (Database::Leaving, _) => true,
        (Database::Absent, _) => false,
        (Database::Unknown | Database::Present, _) if overdue => false,
        (Database::Unknown, _) => return Step::LookUpInstance,
        (Database::Present, Some(step)) => return Step::Revoke(step),
    };
    match (seen.secrets_deleted, revoked) {
        (false, _) => Step::DeleteSecrets,
        (true, true) => Step::CommitDeleted,
        (true, false) => Step::CommitRevocationPending,
    }
}

fn rest(observed: &Observed<'_>) -> Step {
    let record = observed.record;
    if !status_is_current(record) {
        return Step::WriteStatus;
    }
    if !record.ledger.owed.is_empty() {
        return match record.ledger.look_at {
            Some(at) if observed.now < at => Step::Rest(Some(at)),
            Some(_) | None => settle(observed),
        };
    }
    if record.ledger.state != State::Deleted {
        return Step::Rest(None);
    }
    match kept_until(observed) {
        Some(until) => Step::Rest(Some(until)),
        None => Step::Forget,
    }
}

/// Until when a tombstone stays; none if that is over.
fn kept_until(observed: &Observed<'_>) -> Option<Timestamp> {
    let newest = observed.record.ledger.history.newest();
    let ended = newest.map_or(Timestamp::MIN, |newest| newest.at);
    let until = ended.checked_add(observed.keep).ok()?;
    (observed.now < until).then_some(until)
}

fn settle(observed: &Observed<'_>) -> Step {
    let (record, seen) = (observed.record, observed.seen);
    // What a tombstone owes is a second look, for as long as it stays.
    let must_settle = record.ledger.state != State::Deleted || kept_until(observed).is_some();
    match (seen.database, seen.revoke) {
        (Database::Unknown, _) => Step::LookUpInstance,
        (Database::Absent, _) if must_settle => Step::Postpone,
        (Database::Present, Some(step)) => Step::Revoke(step),
        (Database::Present, None) | (Database::Leaving | Database::Absent, _)
            if !seen.secrets_deleted =>
        {
            Step::DeleteSecrets
        }
        (Database::Present, None) | (Database::Leaving | Database::Absent, _) => {
            Step::CommitSettled
        }
    }
}

fn status_is_current(record: &Record) -> bool {
    record.object().status.as_ref().is_some_and(|status| {
        status.phase == Some(record.phase())
            && status.observed_generation == record.object().metadata.generation
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, at};

    const ME: &str = "me/1";

    fn step_at(record: &Record, seen: Seen, now: Timestamp) -> Step {
        next(&Observed {
            record,
            seen,
            holder: ME,
            now,
            keep: SignedDuration::from_hours(72),
        })
    }

    fn step(record: &Record, seen: Seen) -> Step {
        step_at(record, seen, at(1))
    }

    /// With all of the method still to be done.
    fn held() -> Seen {
        Seen {
            database: Database::Present,
            hold: Hold::Held,
            make: Some("Make"),
            revoke: Some("Revoke"),
            ..Seen::default()
        }
    }

    fn made() -> Seen {
        Seen {
            make: None,
            ..held()
        }
    }

    #[test]
    fn a_bind_of_ours_goes_from_hold_over_the_methods_steps_to_commit() {
        let record = testing::binding_in_progress(ME);
        assert_eq!(step(&record, Seen::default()), Step::Hold);
        assert_eq!(step(&record, held()), Step::Make("Make"));
        assert_eq!(step(&record, made()), Step::CommitReady);
    }

    #[test]
    fn another_process_attempt_is_never_gone_on_with() {
        let record = testing::binding_in_progress("me/0");
        for seen in [Seen::default(), held(), made()] {
            assert_eq!(step(&record, seen), Step::StartAttempt);
        }
    }

    #[test]
    fn a_bind_that_took_over_revokes_the_older_attempts_before_it_commits() {
        let mut record = testing::binding_in_progress(ME);
        record.ledger.owed.push(testing::login("old"));
        assert_eq!(step(&record, made()), Step::Revoke("Revoke"));
        let revoked = Seen {
            revoke: None,
            ..made()
        };
        assert_eq!(step(&record, revoked), Step::CommitReady);
    }

    #[test]
    fn a_bind_fails_at_its_deadline_or_when_it_cannot_succeed() {
        let record = testing::binding_in_progress(ME);
        let deadline = record.operation().deadline;
        assert_eq!(
            step_at(&record, Seen::default(), deadline),
            Step::CommitFailed
        );
        let seen = Seen {
            failed: true,
            ..held()
        };
        assert_eq!(step(&record, seen), Step::CommitFailed);
    }

    #[test]
    fn a_refused_hold_leaves_nothing_behind_whoever_works_the_bind() {
        let seen = Seen {
            hold: Hold::Refused,
            ..Seen::default()
        };
        assert_eq!(step(&testing::binding_in_progress(ME), seen), Step::Abandon);
    }

    fn present(revoke: Option<&'static str>) -> Seen {
        Seen {
            database: Database::Present,
            revoke,
            ..Seen::default()
        }
    }

    #[test]
    fn an_unbind_revokes_then_deletes_secrets_then_commits() {
        let record = testing::unbinding();
        assert_eq!(step(&record, Seen::default()), Step::LookUpInstance);
        assert_eq!(
            step(&record, present(Some("Revoke"))),
            Step::Revoke("Revoke")
        );
        let mut seen = present(None);
        assert_eq!(step(&record, seen), Step::DeleteSecrets);
        seen.secrets_deleted = true;
        assert_eq!(step(&record, seen), Step::CommitDeleted);
    }

    #[test]
    fn an_unbind_contacts_no_database_that_leaves_with_its_instance() {
        let mut seen = Seen {
            database: Database::Leaving,
            revoke: Some("Revoke"),
            ..Seen::default()
        };
        assert_eq!(step(&testing::unbinding(), seen), Step::DeleteSecrets);
        seen.secrets_deleted = true;
        assert_eq!(step(&testing::unbinding(), seen), Step::CommitDeleted);
    }

    #[test]
    fn an_unbind_that_is_overdue_or_of_an_absent_instance_leaves_the_revocation_pending() {
        let record = testing::unbinding();
        let deadline = record.operation().deadline;
        let absent = Seen {
            database: Database::Absent,
            revoke: Some("Revoke"),
            ..Seen::default()
        };
        for (mut seen, at) in [
            (present(Some("Revoke")), deadline),
            (Seen::default(), deadline),
            (absent, at(1)),
        ] {
            assert_eq!(step_at(&record, seen, at), Step::DeleteSecrets);
            seen.secrets_deleted = true;
            assert_eq!(step_at(&record, seen, at), Step::CommitRevocationPending);
        }
    }

    #[test]
    fn a_ready_binding_rests() {
        let record = testing::ready();
        assert_eq!(step(&record, Seen::default()), Step::Rest(None));
    }

    #[test]
    fn a_stale_or_wiped_status_is_written_anew() {
        for record in [
            testing::without_status(testing::ready()),
            testing::without_status(testing::tombstone()),
        ] {
            assert_eq!(step(&record, Seen::default()), Step::WriteStatus);
        }
    }

    #[test]
    fn what_is_owed_is_looked_for_when_its_time_has_come() {
        let mut record = testing::tombstone();
        record.ledger.owed.push(testing::login("old"));
        record.ledger.look_at = Some(at(5));
        assert_eq!(
            step_at(&record, Seen::default(), at(4)),
            Step::Rest(Some(at(5)))
        );
        assert_eq!(
            step_at(&record, Seen::default(), at(5)),
            Step::LookUpInstance
        );
        let leaving = Seen {
            database: Database::Leaving,
            revoke: Some("Revoke"),
            ..Seen::default()
        };
        assert_eq!(
            step_at(&record, present(Some("Revoke")), at(5)),
            Step::Revoke("Revoke")
        );
        for mut seen in [present(None), leaving] {
            assert_eq!(step_at(&record, seen, at(5)), Step::DeleteSecrets);
            seen.secrets_deleted = true;
            assert_eq!(step_at(&record, seen, at(5)), Step::CommitSettled);
        }
    }

    #[test]
    fn a_pending_revocation_is_tried_until_it_is_settled_and_postponed_without_its_instance() {
        let record = testing::revocation_pending();
        assert_eq!(step(&record, Seen::default()), Step::LookUpInstance);
        assert_eq!(
            step(&record, present(Some("Revoke"))),
            Step::Revoke("Revoke")
        );
        let absent = Seen {
            database: Database::Absent,
            ..Seen::default()
        };
        assert_eq!(step(&record, absent), Step::Postpone);
    }

    #[test]
    fn a_tombstone_is_forgotten_when_its_time_is_over() {
        let record = testing::tombstone();
        let ended = record.ledger.history.newest().unwrap().at;
        let until = ended + SignedDuration::from_hours(72);
        assert_eq!(step(&record, Seen::default()), Step::Rest(Some(until)));
        assert_eq!(step_at(&record, Seen::default(), until), Step::Forget);
    }

    #[test]
    fn an_instance_without_a_record_is_no_proof_that_its_users_are_gone() {
        let absent = Seen {
            database: Database::Absent,
            revoke: Some("Revoke"),
            secrets_deleted: true,
            ..Seen::default()
        };
        let late = at(2) + SignedDuration::from_hours(72);
        for now in [at(1), late] {
            assert_eq!(
                step_at(&testing::revocation_pending(), absent, now),
                Step::Postpone,
                "as long as it takes"
            );
        }
        // A second look, which found nothing to look at.
        let mut tombstone = testing::tombstone();
        tombstone.ledger.owed.push(testing::login("old"));
        assert_eq!(step_at(&tombstone, absent, at(5)), Step::Postpone);
        assert_eq!(step_at(&tombstone, absent, late), Step::CommitSettled);
    }

    #[test]
    fn a_record_deleted_by_hand_leaves_a_login_that_works_unless_that_was_confirmed() {
        let ready = testing::deleted_by_hand(testing::ready());
        assert_eq!(step(&ready, Seen::default()), Step::RemoveFinalizer);
        let other = testing::confirmed(&ready, "another");
        assert_eq!(step(&other, Seen::default()), Step::RemoveFinalizer);
        let confirmed = testing::confirmed(&ready, "binc1");
        assert_eq!(step(&confirmed, Seen::default()), Step::AdoptRemoval);
        for record in [testing::binding_in_progress(ME), testing::failed()] {
            let record = testing::deleted_by_hand(record);
            assert_eq!(step(&record, Seen::default()), Step::AdoptRemoval);
        }
        let record = testing::deleted_by_hand(testing::unbinding());
        assert_eq!(step(&record, Seen::default()), Step::LookUpInstance);
    }
}
