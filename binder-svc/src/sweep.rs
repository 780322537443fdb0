//! Looks, from time to time, for what a binding's record does not name: Secrets
//! that a process wrote and died before it wrote the record, and database users
//! that a replica made after it had slept through their revocation.
//!
//! That a record is missing proves nothing, as in a restore: what has none is
//! counted and kept.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use broker_proto::v1::InstancePhase;
use cluster::names;
use jiff::{SignedDuration, Timestamp};
use service::telemetry::chain;
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    ledger::{Record, State},
    metrics::Orphan,
    mongo::Found,
    shared::Shared,
};

/// A Secret is older than any request that may yet name it.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// Runs until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(shared.times.sweep) => {}
        }
        if let Err(error) = sweep(&shared).await {
            tracing::warn!(error = chain(&error), "sweep not finished");
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), Error> {
    // Secrets first: what is listed now and named by a record read later is kept.
    let secrets = shared.store.secrets(None).await?;
    let records: HashMap<String, Record> = shared
        .store
        .all()
        .await?
        .into_iter()
        .map(|record| (record.name().to_owned(), record))
        .collect();
    let members = shared.members.borrow().clone();
    let oldest = Timestamp::now()
        .checked_sub(GRACE)
        .unwrap_or(Timestamp::MIN);
    let mut orphans = 0;
    for secret in secrets {
        if secret.created >= oldest || !members.owns(&secret.record) {
            continue;
        }
        match records.get(&secret.record) {
            Some(record) if names_secret(record, &secret.name) => {}
            Some(_) => {
                tracing::info!(
                    secret = secret.name,
                    "deleting a Secret that its record does not name"
                );
                shared.store.delete_secret(&secret.name).await?;
            }
            None => orphans += 1,
        }
    }
    shared.metrics.orphans(Orphan::Secret, orphans);
    let mut orphans = 0;
    for (instance_id, incarnation) in instances(&records) {
        if !members.owns(&names::instance_record(&instance_id)) {
            continue;
        }
        match sweep_users(shared, &records, &instance_id, &incarnation).await {
            Ok(found) => orphans += found,
            Err(error) => tracing::debug!(
                instance.id = instance_id,
                error = chain(&error),
                "users not swept"
            ),
        }
    }
    shared.metrics.orphans(Orphan::User, orphans);
    Ok(())
}

/// Instances that have, or lately had, bindings.
fn instances(records: &HashMap<String, Record>) -> BTreeMap<String, String> {
    records
        .values()
        .map(|record| {
            let spec = record.spec();
            (spec.instance_id.clone(), spec.instance_incarnation.clone())
        })
        .collect()
}

/// Drops users that a record proves to be none of its own; counts those of
/// bindings that have no record.
async fn sweep_users(
    shared: &Shared,
    records: &HashMap<String, Record>,
    instance_id: &str,
    incarnation: &str,
) -> Result<i64, Error> {
    let Some(instance) = shared.instances.get(instance_id).await? else {
        return Ok(0);
    };
    if instance.incarnation != incarnation || instance.phase() != InstancePhase::Ready {
        return Ok(0);
    }
    let plan = shared.bundles.get(&instance.bundle_digest).await?;
    let target = shared.databases.of(&instance, &plan).await?;
    let own = names::instance_record(instance_id);
    let mut orphans = 0;
    for user in shared.users.find_users(&target, None).await? {
        let listed = records.get(&user.mark.binding);
        if user.mark.instance != own || listed.is_some_and(|record| !is_stray(&user, record)) {
            continue;
        }
        // The record may be younger than the list.
        match shared.store.read(&user.mark.binding).await? {
            Some(record) if is_stray(&user, &record) => {
                tracing::warn!(
                    instance.id = instance_id,
                    binding.record = user.mark.binding,
                    "dropping a user that its binding does not have"
                );
                shared.users.drop_user(&target, &user.name).await?;
            }
            Some(_) => {}
            None => orphans += 1,
        }
    }
    Ok(orphans)
}

fn names_secret(record: &Record, secret: &str) -> bool {
    record.spec().request == secret
        || record
            .ledger
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.login.secret == secret)
        || record
            .ledger
            .owed
            .iter()
            .any(|login| login.secret == secret)
}

/// A user of a binding at rest that is not its login. One of a newer attempt
/// than the record knew when it was listed is left alone.
fn is_stray(user: &Found, record: &Record) -> bool {
    let ledger = &record.ledger;
    let kept = ledger
        .attempt
        .as_ref()
        .filter(|_| ledger.state == State::Ready);
    !record.running()
        && user.mark.attempt <= ledger.attempts
        && kept.is_none_or(|attempt| attempt.login.user != user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{mongo::Mark, testing};

    fn user(name: &str, attempt: u32) -> Found {
        Found {
            name: name.into(),
            mark: Mark {
                instance: "i".into(),
                binding: "record1".into(),
                incarnation: "x".into(),
                attempt,
            },
        }
    }

    #[test]
    fn only_users_that_their_record_does_not_account_for_are_strays() {
        assert!(!is_stray(&user("b-1", 1), &testing::ready()));
        assert!(is_stray(&user("b-0", 1), &testing::ready()));
        assert!(is_stray(&user("b-1", 1), &testing::tombstone()));
        // Made after the list, or being worked on.
        assert!(!is_stray(&user("b-2", 2), &testing::tombstone()));
        assert!(!is_stray(&user("b-0", 1), &testing::unbinding()));
    }

    #[test]
    fn a_record_names_its_request_its_login_and_what_it_owes() {
        let mut record = testing::ready();
        record.ledger.owed.push(testing::login("old"));
        for name in ["request-1", "login-b-1", "login-old"] {
            assert!(names_secret(&record, name), "{name}");
        }
        assert!(!names_secret(&record, "login-other"));
    }
}
