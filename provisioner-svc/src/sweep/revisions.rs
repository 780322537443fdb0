//! Revisions that no record names.

use std::collections::HashSet;

use cluster::{names, orphan::Mark, revision::Listed};
use jiff::{SignedDuration, Timestamp};
use service::telemetry::chain;

use super::census::{Census, Fate};
use crate::{context::Context, metrics::Orphan, state::instance_of};

/// A revision is written just before its record.
const REVISION_AGE: SignedDuration = SignedDuration::from_secs(300);

/// What to do about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Leave,
    Delete,
    Mark,
    Unmark,
}

/// Deletes those whose record says that it needs them no more; marks those
/// that have no record, as after a restore that is not complete. The result
/// counts these.
pub(super) async fn sweep(
    context: &Context,
    census: &Census,
    found: Vec<Listed>,
    orphans: &HashSet<String>,
    now: Timestamp,
) -> i64 {
    let mut count = 0;
    for revision in found {
        let fate = fate(census, &revision, orphans);
        count += i64::from(fate == Fate::Orphan);
        let done = match action(fate, &revision, now) {
            Action::Leave => Ok(()),
            Action::Delete => context.revisions.delete(&revision.name).await,
            Action::Mark => {
                tracing::warn!(
                    secret = revision.name,
                    record = revision.record,
                    "revision has no record: kept, and marked with the label {}",
                    names::ORPHANED
                );
                let mark = Mark::Orphaned(now);
                context.revisions.mark(&revision.name, mark).await
            }
            Action::Unmark => context.revisions.mark(&revision.name, Mark::Owned).await,
        };
        if let Err(error) = done {
            tracing::warn!(
                secret = revision.name,
                error = chain(&error),
                "revision not swept"
            );
        }
    }
    context.metrics.orphans(Orphan::Revision, count);
    count
}

fn fate(census: &Census, revision: &Listed, orphans: &HashSet<String>) -> Fate {
    match census.fate_of_revision(&revision.name, &revision.record) {
        // Of the life that the orphan is of, perhaps: its record may come back
        // in place of the one that is there now.
        Fate::Ended if orphans.contains(instance_of(&revision.record)) => Fate::Unclear,
        fate => fate,
    }
}

fn action(fate: Fate, revision: &Listed, now: Timestamp) -> Action {
    let is_old = now.duration_since(revision.created) > REVISION_AGE;
    match fate {
        Fate::Ended if is_old => Action::Delete,
        Fate::Orphan if is_old && !revision.is_orphan => Action::Mark,
        Fate::Lives if revision.is_orphan => Action::Unmark,
        Fate::Ended | Fate::Orphan | Fate::Lives | Fate::Unclear => Action::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_without_a_record_is_marked_and_never_deleted() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(10_000);
        let old = Listed {
            name: "rev".into(),
            record: "a".into(),
            created: Timestamp::UNIX_EPOCH,
            is_orphan: false,
        };
        let marked = Listed {
            is_orphan: true,
            ..old.clone()
        };
        let young = Listed {
            created: now,
            ..old.clone()
        };
        for (fate, revision, expected) in [
            (Fate::Orphan, &old, Action::Mark),
            (Fate::Orphan, &marked, Action::Leave),
            (Fate::Orphan, &young, Action::Leave),
            (Fate::Ended, &old, Action::Delete),
            (Fate::Ended, &young, Action::Leave),
            (Fate::Lives, &old, Action::Leave),
            (Fate::Lives, &marked, Action::Unmark),
            (Fate::Unclear, &old, Action::Leave),
        ] {
            assert_eq!(
                action(fate, revision, now),
                expected,
                "{fate:?} {revision:?}"
            );
        }
    }

    #[test]
    fn while_an_instance_has_an_orphan_its_revisions_stay() {
        let mut census = Census::default();
        let resource = crate::state::tests::record(crate::resource::Kind::Create).resource;
        census.take(resource, Timestamp::UNIX_EPOCH, SignedDuration::ZERO);
        let revision = Listed {
            name: "of-the-life-before".into(),
            record: "r".into(),
            created: Timestamp::UNIX_EPOCH,
            is_orphan: false,
        };
        assert_eq!(fate(&census, &revision, &HashSet::new()), Fate::Ended);
        let orphans = HashSet::from(["r".to_owned()]);
        assert_eq!(fate(&census, &revision, &orphans), Fate::Unclear);
    }
}
