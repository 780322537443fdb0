//! Looks, from time to time, for what no record names: Secrets that a process
//! wrote and died before it wrote the record, and database users that a
//! replica made after it had slept through their revocation.

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
    for secret in secrets {
        let named = records
            .get(&secret.record)
            .is_some_and(|record| names_secret(record, &secret.name));
        if !named && secret.created < oldest && members.owns(&secret.record) {
            tracing::info!(
                secret = secret.name,
                "deleting a Secret that no record names"
            );
            shared.store.delete_secret(&secret.name).await?;
        }
    }
    for (instance_id, incarnation) in instances(&records) {
        if !members.owns(&names::instance_record(&instance_id)) {
            continue;
        }
        if let Err(error) = sweep_users(shared, &records, &instance_id, &incarnation).await {
            tracing::debug!(
                instance.id = instance_id,
                error = chain(&error),
                "users not swept"
            );
        }
    }
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

async fn sweep_users(
    shared: &Shared,
    records: &HashMap<String, Record>,
    instance_id: &str,
    incarnation: &str,
) -> Result<(), Error> {
    let Some(instance) = shared.instances.get(instance_id).await? else {
        return Ok(());
    };
    if instance.incarnation != incarnation || instance.phase() != InstancePhase::Ready {
        return Ok(());
    }
    let plan = shared.bundles.get(&instance.bundle_digest).await?;
    let target = shared.databases.of(&instance, &plan).await?;
    let own = names::instance_record(instance_id);
    for user in shared.users.find_users(&target, None).await? {
        if user.mark.instance != own || !is_stray(&user, records.get(&user.mark.binding)) {
            continue;
        }
        // The record may be younger than the list.
        let record = shared.store.read(&user.mark.binding).await?;
        if is_stray(&user, record.as_ref()) {
            tracing::warn!(
                instance.id = instance_id,
                binding.record = user.mark.binding,
                "dropping a user that no binding has"
            );
            shared.users.drop_user(&target, &user.name).await?;
        }
    }
    Ok(())
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
fn is_stray(user: &Found, record: Option<&Record>) -> bool {
    let Some(record) = record else {
        return true;
    };
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
    fn only_users_that_nothing_accounts_for_are_strays() {
        assert!(is_stray(&user("b-0", 1), None));
        assert!(!is_stray(&user("b-1", 1), Some(&testing::ready())));
        assert!(is_stray(&user("b-0", 1), Some(&testing::ready())));
        assert!(is_stray(&user("b-1", 1), Some(&testing::tombstone())));
        // Made after the list, or being worked on.
        assert!(!is_stray(&user("b-2", 2), Some(&testing::tombstone())));
        assert!(!is_stray(&user("b-0", 1), Some(&testing::unbinding())));
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
