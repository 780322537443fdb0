//! Dropping users: over a connection of the broker's, or, where the server has given none for a
//! while, by mongo-bootstrap, which keeps one beside the server.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mongo::revocation::{Answer, Request};
use service::failpoint;
use tokio::time::Instant;

use super::{Database, Site, target};
use crate::{
    error::Error,
    ledger::Record,
    mongo::{self as users, Target},
};

/// How long the server may give no connection before mongo-bootstrap is asked.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one step waits for the answer.
const WAIT: Duration = Duration::from_secs(5);
/// Between two looks for it.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of a server that gives no connection. It goes with this process: another one has
/// the same patience, and asks anew.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    since: Option<Instant>,
    asked: Option<Request>,
}

impl Database {
    /// Drops what the ledger names and what the database knows to be of this
    /// binding, up to the newest attempt that must go. A later attempt, of a
    /// replica that took over meanwhile, is not ours to judge.
    pub(super) async fn drop_users(&mut self, site: &Site<'_>) -> Result<(), Error> {
        let target = target(&site.place).await?;
        match drop_directly(site, &target).await {
            Ok(()) => self.withdraw(site).await?,
            Err(Error::Mongo(error @ users::Error::Unreachable(_))) => {
                let since = *self.blocked.since.get_or_insert_with(Instant::now);
                // The try itself took its time.
                if since.elapsed() < PATIENCE || !self.ask(site).await? {
                    return Err(Error::Unreached(error));
                }
                self.answered(site).await?;
                self.withdraw(site).await?;
            }
            Err(error) => return Err(error),
        }
        self.blocked = Blocked::default();
        self.observed.dropped = true;
        Ok(())
    }

    /// Has mongo-bootstrap asked; whether there is one.
    async fn ask(&mut self, site: &Site<'_>) -> Result<bool, Error> {
        let request = self.blocked.asked.get_or_insert_with(|| Request {
            id: cluster::names::random(10),
            users: doomed(site.record),
            below: limit(site.record),
        });
        let (reserve, record) = (&site.place.context.reserve, site.record.name());
        let is_there = reserve.ask(site.place.instance, record, request).await?;
        if is_there {
            failpoint::reach("AskReserve");
        } else {
            self.blocked.asked = None;
        }
        Ok(is_there)
    }

    /// Waits until mongo-bootstrap has proved that the users are gone.
    async fn answered(&mut self, site: &Site<'_>) -> Result<(), Error> {
        let (reserve, record) = (&site.place.context.reserve, site.record.name());
        let waited = Instant::now();
        while let Some(request) = &self.blocked.asked {
            let answer = reserve.answer(site.place.instance, record, request).await?;
            match answer.map(|answer| judge(&answer, request.below)) {
                Some(Verdict::Gone) => {
                    tracing::info!(
                        binding.record = record,
                        "login revoked by mongo-bootstrap: the database gives no connection"
                    );
                    failpoint::reach("AcceptAnswer");
                    return Ok(());
                }
                Some(Verdict::More(users)) => {
                    let next = Request {
                        id: cluster::names::random(10),
                        users,
                        below: request.below,
                    };
                    reserve.ask(site.place.instance, record, &next).await?;
                    self.blocked.asked = Some(next);
                }
                Some(Verdict::Refused) => return Err(Error::NotOurs(record.to_owned())),
                None if waited.elapsed() >= WAIT => return Err(Error::NoConnections),
                None => tokio::time::sleep(LOOK).await,
            }
        }
        Err(Error::NoConnections)
    }

    /// Takes a request back that is done with. Who worked on this before may have made it; that is
    /// looked for only where the work has lasted so long.
    async fn withdraw(&self, site: &Site<'_>) -> Result<(), Error> {
        if self.blocked.asked.is_none() && !may_have_been_asked(site.record, Timestamp::now()) {
            return Ok(());
        }
        let reserve = &site.place.context.reserve;
        reserve
            .withdraw(site.place.instance, site.record.name())
            .await
    }
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

fn may_have_been_asked(record: &Record, now: Timestamp) -> bool {
    let patience = SignedDuration::try_from(PATIENCE).unwrap_or(SignedDuration::MAX);
    record
        .open_operation()
        .is_none_or(|open| now.duration_since(open.started_at) >= patience)
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
    fn a_request_of_a_predecessor_is_looked_for_once_there_can_be_one() {
        let record = testing::unbinding();
        let started = record.operation().started_at;
        let after = |seconds| started + SignedDuration::from_secs(seconds);
        assert!(!may_have_been_asked(&record, after(9)));
        assert!(may_have_been_asked(&record, after(10)));
        assert!(may_have_been_asked(&testing::tombstone(), at(1)));
    }
}
