//! The one next thing to do for a binding: a pure function of its record and
//! of what the worker saw since it took the record up.
//!
//! A bind: hold, password in a Secret, createUser, commit. An unbind: drop
//! every user, delete Secrets, commit. Whoever takes over an unfinished bind
//! begins a new attempt first. What may be left behind by a process that slept
//! is owed, and looked for once more later.

use jiff::{SignedDuration, Timestamp};

use crate::{
    ledger::{Record, State},
    resource::Kind,
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
    /// Commit a new user name, before it is used anywhere.
    StartAttempt,
    /// Keep the instance from being deleted, and learn where its database is.
    Hold,
    /// Put the password into a Secret.
    StorePassword,
    /// Make the database user.
    CreateUser,
    /// Drop the users of older attempts.
    DropOwed,
    /// Commit success: the attempt's credentials may be handed out.
    CommitReady,
    /// Commit failure.
    CommitFailed,
    /// The instance does not take bindings any more: as if never asked.
    Abandon,
    /// Learn whether the instance still has a database, and where.
    LookUpInstance,
    /// Drop every user of the binding.
    DropUsers,
    /// Delete the Secrets of request and logins.
    DeleteSecrets,
    /// Commit that the binding is gone.
    CommitDeleted,
    /// Commit that it is gone for the platform, with users still to drop.
    CommitRevocationPending,
    /// Commit that nothing is owed any more.
    CommitSettled,
    /// Commit when to look for the instance again.
    Postpone,
    /// Write the status that people read.
    WriteStatus,
    /// Delete a tombstone whose time is over.
    Forget,
    /// Nothing to do before that time, or at all.
    Rest(Option<Timestamp>),
}

impl Step {
    /// All of them, for tests that interrupt each.
    pub const ALL: [Self; 21] = [
        Self::WriteRequest,
        Self::WriteRecord,
        Self::AdoptRemoval,
        Self::RemoveFinalizer,
        Self::StartAttempt,
        Self::Hold,
        Self::StorePassword,
        Self::CreateUser,
        Self::DropOwed,
        Self::CommitReady,
        Self::CommitFailed,
        Self::Abandon,
        Self::LookUpInstance,
        Self::DropUsers,
        Self::DeleteSecrets,
        Self::CommitDeleted,
        Self::CommitRevocationPending,
        Self::CommitSettled,
        Self::Postpone,
        Self::WriteStatus,
        Self::Forget,
    ];

    /// Its name, for logs, metrics and failpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteRequest => "write-request",
            Self::WriteRecord => "write-record",
            Self::AdoptRemoval => "adopt-removal",
            Self::RemoveFinalizer => "remove-finalizer",
            Self::StartAttempt => "start-attempt",
            Self::Hold => "hold",
            Self::StorePassword => "store-password",
            Self::CreateUser => "create-user",
            Self::DropOwed => "drop-owed",
            Self::CommitReady => "commit-ready",
            Self::CommitFailed => "commit-failed",
            Self::Abandon => "abandon",
            Self::LookUpInstance => "look-up-instance",
            Self::DropUsers => "drop-users",
            Self::DeleteSecrets => "delete-secrets",
            Self::CommitDeleted => "commit-deleted",
            Self::CommitRevocationPending => "commit-revocation-pending",
            Self::CommitSettled => "commit-settled",
            Self::Postpone => "postpone",
            Self::WriteStatus => "write-status",
            Self::Forget => "forget",
            Self::Rest(_) => "rest",
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
    /// The provisioner has no record of the instance. That proves nothing: the
    /// record may come back, and the users with it.
    Absent,
}

/// What the worker did, and saw, since it took up this version of the record.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of the instance's database.
    pub database: Database,
    /// The instance is held for us.
    pub held: bool,
    /// The provisioner refused the hold for good.
    pub refused: bool,
    /// The password is in its Secret.
    pub stored: bool,
    /// The user is there.
    pub created: bool,
    /// The users that had to go are gone.
    pub dropped: bool,
    /// The Secrets that had to go are gone.
    pub secrets_deleted: bool,
    /// The bind cannot succeed, however often it is tried.
    pub hopeless: bool,
}

/// All that decides.
#[derive(Debug)]
pub struct Observed<'a> {
    /// As read.
    pub record: &'a Record,
    /// By this process.
    pub seen: &'a Seen,
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
    if record.removed_by_hand() && !(record.running() && record.operation().kind == Kind::Unbind) {
        // A login that works is not taken back because its record is.
        let works = !record.running() && record.ledger.state == State::Ready;
        return if works && !record.is_deletion_confirmed() {
            Step::RemoveFinalizer
        } else {
            Step::AdoptRemoval
        };
    }
    match (record.running(), record.operation().kind) {
        (true, Kind::Bind) => bind(observed),
        (true, Kind::Unbind) => unbind(observed),
        (false, _) => rest(observed),
    }
}

fn bind(observed: &Observed<'_>) -> Step {
    let (record, seen) = (observed.record, observed.seen);
    if seen.refused {
        return Step::Abandon;
    }
    if seen.hopeless || observed.now >= record.operation().deadline {
        return Step::CommitFailed;
    }
    let ours = |holder: &str| holder == observed.holder;
    if !record
        .ledger
        .attempt
        .as_ref()
        .is_some_and(|attempt| ours(&attempt.holder))
    {
        return Step::StartAttempt;
    }
    if !seen.held {
        Step::Hold
    } else if !seen.stored {
        Step::StorePassword
    } else if !seen.created {
        Step::CreateUser
    } else if !record.ledger.owed.is_empty() && !seen.dropped {
        Step::DropOwed
    } else {
        Step::CommitReady
    }
}

fn unbind(observed: &Observed<'_>) -> Step {
    let (record, seen) = (observed.record, observed.seen);
    let later = observed.now >= record.operation().deadline || seen.database == Database::Absent;
    let harmless = seen.dropped || seen.database == Database::Leaving;
    match (harmless || later, seen.secrets_deleted) {
        (true, false) => Step::DeleteSecrets,
        (true, true) if harmless => Step::CommitDeleted,
        (true, true) => Step::CommitRevocationPending,
        (false, _) if seen.database == Database::Unknown => Step::LookUpInstance,
        (false, _) => Step::DropUsers,
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
            _ => settle(observed),
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
    let seen = observed.seen;
    // What a tombstone owes is a second look, for as long as it stays.
    let must_settle =
        observed.record.ledger.state != State::Deleted || kept_until(observed).is_some();
    match seen.database {
        Database::Unknown => Step::LookUpInstance,
        Database::Absent if must_settle => Step::Postpone,
        Database::Present if !seen.dropped => Step::DropOwed,
        Database::Present | Database::Leaving | Database::Absent if !seen.secrets_deleted => {
            Step::DeleteSecrets
        }
        Database::Present | Database::Leaving | Database::Absent => Step::CommitSettled,
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

    fn step_at(record: &Record, seen: &Seen, now: Timestamp) -> Step {
        next(&Observed {
            record,
            seen,
            holder: ME,
            now,
            keep: SignedDuration::from_hours(72),
        })
    }

    fn step(record: &Record, seen: &Seen) -> Step {
        step_at(record, seen, at(1))
    }

    fn held() -> Seen {
        Seen {
            database: Database::Present,
            held: true,
            ..Seen::default()
        }
    }

    #[test]
    fn a_bind_of_ours_goes_from_hold_to_commit() {
        let record = testing::binding_in_progress(ME);
        let mut seen = Seen::default();
        assert_eq!(step(&record, &seen), Step::Hold);
        seen = held();
        assert_eq!(step(&record, &seen), Step::StorePassword);
        seen.stored = true;
        assert_eq!(step(&record, &seen), Step::CreateUser);
        seen.created = true;
        assert_eq!(step(&record, &seen), Step::CommitReady);
    }

    #[test]
    fn somebody_elses_attempt_is_never_gone_on_with() {
        let record = testing::binding_in_progress("me/0");
        for seen in [
            Seen::default(),
            held(),
            Seen {
                stored: true,
                created: true,
                ..held()
            },
        ] {
            assert_eq!(step(&record, &seen), Step::StartAttempt);
        }
    }

    #[test]
    fn a_bind_that_took_over_drops_the_older_users_before_it_commits() {
        let mut record = testing::binding_in_progress(ME);
        record.ledger.owed.push(testing::login("old"));
        let mut seen = Seen {
            stored: true,
            created: true,
            ..held()
        };
        assert_eq!(step(&record, &seen), Step::DropOwed);
        seen.dropped = true;
        assert_eq!(step(&record, &seen), Step::CommitReady);
    }

    #[test]
    fn a_bind_ends_in_failure_at_its_deadline_or_when_it_is_hopeless() {
        let record = testing::binding_in_progress(ME);
        let deadline = record.operation().deadline;
        assert_eq!(
            step_at(&record, &Seen::default(), deadline),
            Step::CommitFailed
        );
        let seen = Seen {
            hopeless: true,
            ..held()
        };
        assert_eq!(step(&record, &seen), Step::CommitFailed);
    }

    #[test]
    fn a_refused_hold_leaves_nothing_behind_whoever_works_the_bind() {
        let seen = Seen {
            refused: true,
            ..Seen::default()
        };
        assert_eq!(
            step(&testing::binding_in_progress(ME), &seen),
            Step::Abandon
        );
    }

    #[test]
    fn an_unbind_drops_users_then_secrets_then_the_record() {
        let record = testing::unbinding();
        let mut seen = Seen::default();
        assert_eq!(step(&record, &seen), Step::LookUpInstance);
        seen.database = Database::Present;
        assert_eq!(step(&record, &seen), Step::DropUsers);
        seen.dropped = true;
        assert_eq!(step(&record, &seen), Step::DeleteSecrets);
        seen.secrets_deleted = true;
        assert_eq!(step(&record, &seen), Step::CommitDeleted);
    }

    #[test]
    fn an_unbind_contacts_no_database_that_leaves_with_its_instance() {
        let mut seen = Seen {
            database: Database::Leaving,
            ..Seen::default()
        };
        assert_eq!(step(&testing::unbinding(), &seen), Step::DeleteSecrets);
        seen.secrets_deleted = true;
        assert_eq!(step(&testing::unbinding(), &seen), Step::CommitDeleted);
    }

    #[test]
    fn an_instance_without_a_record_is_no_proof_that_its_users_are_gone() {
        let mut seen = Seen {
            database: Database::Absent,
            ..Seen::default()
        };
        assert_eq!(step(&testing::unbinding(), &seen), Step::DeleteSecrets);
        seen.secrets_deleted = true;
        assert_eq!(
            step(&testing::unbinding(), &seen),
            Step::CommitRevocationPending
        );
        let keep = SignedDuration::from_hours(72);
        let late = at(2) + keep;
        for now in [at(1), late] {
            assert_eq!(
                step_at(&testing::revocation_pending(), &seen, now),
                Step::Postpone,
                "as long as it takes"
            );
        }
        // A second look, which found nothing to look at.
        let mut tombstone = testing::tombstone();
        tombstone.ledger.owed.push(testing::login("old"));
        assert_eq!(step_at(&tombstone, &seen, at(5)), Step::Postpone);
        assert_eq!(step_at(&tombstone, &seen, late), Step::CommitSettled);
    }

    #[test]
    fn an_overdue_unbind_deletes_the_secrets_and_leaves_the_revocation_pending() {
        let record = testing::unbinding();
        let deadline = record.operation().deadline;
        let mut seen = Seen {
            database: Database::Present,
            ..Seen::default()
        };
        assert_eq!(step_at(&record, &seen, deadline), Step::DeleteSecrets);
        seen.secrets_deleted = true;
        assert_eq!(
            step_at(&record, &seen, deadline),
            Step::CommitRevocationPending
        );
    }

    #[test]
    fn a_ready_binding_rests() {
        let record = testing::ready();
        assert_eq!(step(&record, &Seen::default()), Step::Rest(None));
    }

    #[test]
    fn a_stale_or_wiped_status_is_written_anew() {
        for record in [
            testing::without_status(testing::ready()),
            testing::without_status(testing::tombstone()),
        ] {
            assert_eq!(step(&record, &Seen::default()), Step::WriteStatus);
        }
    }

    #[test]
    fn what_is_owed_is_looked_for_when_its_time_has_come() {
        let mut record = testing::tombstone();
        record.ledger.owed.push(testing::login("old"));
        record.ledger.look_at = Some(at(5));
        let mut seen = Seen::default();
        assert_eq!(step_at(&record, &seen, at(4)), Step::Rest(Some(at(5))));
        assert_eq!(step_at(&record, &seen, at(5)), Step::LookUpInstance);
        seen.database = Database::Present;
        assert_eq!(step_at(&record, &seen, at(5)), Step::DropOwed);
        seen.dropped = true;
        assert_eq!(step_at(&record, &seen, at(5)), Step::DeleteSecrets);
        seen.secrets_deleted = true;
        assert_eq!(step_at(&record, &seen, at(5)), Step::CommitSettled);
        seen = Seen {
            database: Database::Leaving,
            secrets_deleted: true,
            ..Seen::default()
        };
        assert_eq!(step_at(&record, &seen, at(5)), Step::CommitSettled);
    }

    #[test]
    fn a_pending_revocation_is_tried_until_it_is_settled() {
        let record = testing::revocation_pending();
        assert_eq!(step(&record, &Seen::default()), Step::LookUpInstance);
        let seen = Seen {
            database: Database::Present,
            ..Seen::default()
        };
        assert_eq!(step(&record, &seen), Step::DropOwed);
    }

    #[test]
    fn a_tombstone_is_forgotten_when_its_time_is_over() {
        let record = testing::tombstone();
        let ended = record.ledger.history.newest().unwrap().at;
        let until = ended + SignedDuration::from_hours(72);
        assert_eq!(step(&record, &Seen::default()), Step::Rest(Some(until)));
        assert_eq!(step_at(&record, &Seen::default(), until), Step::Forget);
    }

    #[test]
    fn a_record_deleted_by_hand_leaves_a_login_that_works_unless_that_was_confirmed() {
        let ready = testing::removed_by_hand(testing::ready());
        assert_eq!(step(&ready, &Seen::default()), Step::RemoveFinalizer);
        let other = testing::confirmed(&ready, "another");
        assert_eq!(step(&other, &Seen::default()), Step::RemoveFinalizer);
        let confirmed = testing::confirmed(&ready, "binc1");
        assert_eq!(step(&confirmed, &Seen::default()), Step::AdoptRemoval);
        for record in [testing::binding_in_progress(ME), testing::failed()] {
            let record = testing::removed_by_hand(record);
            assert_eq!(step(&record, &Seen::default()), Step::AdoptRemoval);
        }
        let record = testing::removed_by_hand(testing::unbinding());
        assert_eq!(step(&record, &Seen::default()), Step::LookUpInstance);
    }
}
