//! Dropping users: over a connection of the broker's, or, where the server has given none for a
//! while, by mongo-bootstrap, which keeps one beside the server.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mongo::revocation::{Answer, Request};
use service::failpoint;
use tokio::time::Instant;

use super::{Site, target};
use crate::{
    error::Error,
    ledger::Record,
    mongo::{self as users, Target},
};

/// How long the server may give no connection before mongo-bootstrap is asked, from when the
/// operation was accepted: that is on the record, and whoever goes on counts from then.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);
/// How long one step waits for the answer. What is asked stands, and the next step finds it.
const WAIT: Duration = Duration::from_secs(5);
/// Between two looks for it.
const LOOK: Duration = Duration::from_millis(250);

/// Drops what the ledger names and what the database knows to be of this
/// binding, up to the newest attempt that must go. A later attempt, of a
/// replica that took over meanwhile, is not ours to judge.
pub(super) async fn drop_users(site: &Site<'_>) -> Result<(), Error> {
    let target = target(&site.place).await?;
    let dropped = drop_directly(site, &target).await;
    // Before that nobody has asked, either.
    let is_patient = is_patient(site.record, Timestamp::now());
    match dropped {
        Ok(()) if is_patient => Ok(()),
        Ok(()) => withdraw(site).await,
        Err(Error::Mongo(error @ users::Error::Unreachable(_))) => {
            if is_patient || !revoked_beside(site).await? {
                return Err(Error::Unreached(error));
            }
            withdraw(site).await
        }
        Err(error) => Err(error),
    }
}

/// Has mongo-bootstrap drop the users, and waits until it has proved that they are gone. False
/// where there is none to ask.
async fn revoked_beside(site: &Site<'_>) -> Result<bool, Error> {
    let below = limit(site.record);
    let Some(mut asked) = ask(site, doomed(site.record), None).await? else {
        return Ok(false);
    };
    failpoint::reach("AskReserve");
    let (reserve, record) = (&site.place.context.reserve, site.record.name());
    let waited = Instant::now();
    loop {
        let answer = reserve.answer(site.place.instance, record, &asked).await?;
        match answer.map(|answer| judge(&answer, below)) {
            Some(Verdict::Gone) => {
                tracing::info!(
                    binding.record = record,
                    "login revoked by mongo-bootstrap: the database gives no connection"
                );
                failpoint::reach("AcceptAnswer");
                return Ok(true);
            }
            Some(Verdict::More(_)) | None if waited.elapsed() >= WAIT => {
                return Err(Error::NoConnections);
            }
            Some(Verdict::More(users)) => match ask(site, users, Some(&asked.id)).await? {
                Some(next) => asked = next,
                None => return Ok(false),
            },
            Some(Verdict::Refused) => {
                // So that the next one looks again.
                withdraw(site).await?;
                return Err(Error::NotOurs(record.to_owned()));
            }
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// The request to drop these users that stands from now on.
async fn ask(
    site: &Site<'_>,
    users: Vec<String>,
    judged: Option<&str>,
) -> Result<Option<Request>, Error> {
    let request = Request {
        id: cluster::names::random(10),
        operation: site.record.open_operation().map(|open| open.id.clone()),
        users,
        below: limit(site.record),
    };
    let (reserve, record) = (&site.place.context.reserve, site.record.name());
    let instance = site.place.instance;
    reserve.ask(instance, record, request, judged).await
}

/// Takes a request back that is done with, whoever made it.
async fn withdraw(site: &Site<'_>) -> Result<(), Error> {
    let (reserve, record) = (&site.place.context.reserve, site.record.name());
    reserve.withdraw(site.place.instance, record).await
}

async fn drop_directly(site: &Site<'_>, target: &Target) -> Result<(), Error> {
    let (users, record) = (&site.place.context.users, site.record);
    let names = doomed(record);
    let drop = async |names: &[String]| {
        for name in names {
            users.drop_user(target, name).await?;
        }
        Ok(())
    };
    let marked = users.find_users(target, Some(record.name()));
    let (found, ()) = futures::try_join!(marked, drop(&names))?;
    let limit = limit(record);
    let old = found.into_iter().filter(|user| user.mark.attempt < limit);
    let others: Vec<String> = old
        .map(|user| user.name)
        .filter(|name| !names.contains(name))
        .collect();
    drop(&others).await?;
    Ok(())
}

/// The users that the ledger names.
fn doomed(record: &Record) -> Vec<String> {
    let incarnation = &record.spec().instance_incarnation;
    let mut names: Vec<String> = record
        .logins_to_revoke()
        // An earlier life of the instance took its users along.
        .filter(|login| login.instance_incarnation == *incarnation)
        .map(|login| login.user.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Users of this attempt and of later ones stay.
fn limit(record: &Record) -> u32 {
    record.kept_attempt().unwrap_or(record.ledger.attempts + 1)
}

/// Whether a connection may still come. What goes on after its operation has waited long enough.
fn is_patient(record: &Record, now: Timestamp) -> bool {
    let open = record.open_operation();
    open.is_some_and(|open| now.duration_since(open.started_at) < PATIENCE)
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// No user is left that must go.
    Gone,
    /// These must go as well: the ledger did not name them.
    More(Vec<String>),
    /// A user of a name that was asked for is not the binding's.
    Refused,
}

fn judge(answer: &Answer, below: u32) -> Verdict {
    if !answer.refused.is_empty() {
        return Verdict::Refused;
    }
    let more = answer.left.iter().filter(|(_, attempt)| **attempt < below);
    let more: Vec<String> = more.map(|(name, _)| name.clone()).collect();
    if more.is_empty() {
        Verdict::Gone
    } else {
        Verdict::More(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, at};

    #[test]
    fn an_answer_proves_the_end_only_if_no_user_is_left_that_must_go() {
        let answer = |left: &[(&str, u32)], refused: &[&str]| Answer {
            id: "r".into(),
            left: left.iter().map(|(n, a)| ((*n).to_owned(), *a)).collect(),
            refused: refused.iter().map(|n| (*n).to_owned()).collect(),
        };
        assert_eq!(judge(&answer(&[], &[]), 2), Verdict::Gone);
        assert_eq!(judge(&answer(&[("b-2", 2)], &[]), 2), Verdict::Gone);
        let more = Verdict::More(vec!["b-1".into()]);
        assert_eq!(judge(&answer(&[("b-1", 1), ("b-2", 2)], &[]), 2), more);
        assert_eq!(judge(&answer(&[], &["osb-admin"]), 2), Verdict::Refused);
    }

    #[test]
    fn patience_is_counted_from_the_record_and_ends_with_the_operation() {
        let record = testing::unbinding();
        let started = record.operation().started_at;
        let after = |seconds| started + SignedDuration::from_secs(seconds);
        assert!(is_patient(&record, after(9)));
        assert!(!is_patient(&record, after(10)));
        assert!(!is_patient(&testing::tombstone(), at(1)));
    }
}
