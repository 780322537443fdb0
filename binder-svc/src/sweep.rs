//! Looks, from time to time, for what a binding's record does not name: Secrets
//! that a process wrote and died before it wrote the record, and logins that a
//! suspended replica made after their revocation.
//!
//! That a record is missing proves nothing, as in a restore: what has none is
//! counted and kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use broker_proto::v1::InstancePhase;
use cluster::{names, share::Members};
use jiff::{SignedDuration, Timestamp};
use service::telemetry::chain;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    error::Error,
    ledger::{Record, State},
    metrics::Orphan,
    mongo::Found,
    resource::Method as Name,
    work::method::{self, Method, Place, Session},
};

/// Between two instances, however few there are.
const LONGEST_PACE: Duration = Duration::from_secs(5);
/// A Secret is older than any request that may yet name it.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// Runs until `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(context.times.sweep) => {}
        }
        if let Err(error) = sweep(&context, &stop).await {
            tracing::warn!(error = chain(&error), "sweep not finished");
        }
    }
}

async fn sweep(context: &Context, stop: &CancellationToken) -> Result<(), Error> {
    // Secrets first: what is listed now and named by a record read later is kept.
    let secrets = context.store.secrets(None).await?;
    let records: HashMap<String, Record> = context
        .store
        .all()
        .await?
        .into_iter()
        .map(|record| (record.name().to_owned(), record))
        .collect();
    let members = context.members.borrow().clone();
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
                context.store.delete_secret(&secret.name).await?;
            }
            None => orphans += 1,
        }
    }
    context.metrics.orphans(Orphan::Secret, orphans);
    sweep_instances(context, &records, stop).await;
    Ok(())
}

/// One instance after the other, in half of the time between two sweeps: a
/// connection to each at the same time would be a burden for all.
async fn sweep_instances(
    context: &Context,
    records: &HashMap<String, Record>,
    stop: &CancellationToken,
) {
    let instances = instances(records);
    let count = u32::try_from(instances.len().max(1)).unwrap_or(u32::MAX);
    let pace = (context.times.sweep / 2 / count).min(LONGEST_PACE);
    let mut orphans = 0;
    for (instance_id, incarnation) in instances {
        let own = |members: &Members| members.owns(&names::instance_record(&instance_id));
        if !own(&context.members.borrow()) {
            continue;
        }
        match sweep_logins(context, records, &instance_id, &incarnation).await {
            Ok(found) => orphans += found,
            Err(error) => {
                context.metrics.sweep_failed();
                tracing::warn!(
                    instance.id = instance_id,
                    error = chain(&error),
                    "search for logins without a binding failed; the next sweep tries again"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pace) => {}
        }
    }
    context.metrics.orphans(Orphan::User, orphans);
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

async fn sweep_logins(
    context: &Context,
    records: &HashMap<String, Record>,
    instance_id: &str,
    incarnation: &str,
) -> Result<i64, Error> {
    let Some(instance) = context.instances.get(instance_id).await? else {
        return Ok(0);
    };
    let works = matches!(
        instance.phase(),
        InstancePhase::Ready | InstancePhase::UpdateFailed
    );
    if instance.incarnation != incarnation || !works {
        return Ok(0);
    }
    let plan = context.bundles.get(&instance.bundle_digest).await?;
    let place = Place {
        context,
        instance: &instance,
        plan,
        session: Session::Once,
    };
    let own = names::instance_record(instance_id);
    let of_instance = records.values().filter(|record| {
        record.spec().instance_id == instance_id
            && record.spec().instance_incarnation == incarnation
    });
    let methods: BTreeSet<Name> = of_instance.map(|record| record.spec().method).collect();
    let mut orphans = 0;
    for method in methods.into_iter().map(method::of) {
        let swept = drop_strays(method.as_ref(), &place, records, &own).await;
        method.close(&place).await;
        orphans += swept?;
    }
    Ok(orphans)
}

/// Drops logins that a record proves to be none of its own; counts those of
/// bindings that have no record.
async fn drop_strays(
    method: &dyn Method,
    place: &Place<'_>,
    records: &HashMap<String, Record>,
    own: &str,
) -> Result<i64, Error> {
    let mut orphans = 0;
    for login in method.find(place).await? {
        let listed = records.get(&login.mark.binding);
        if login.mark.instance != own || listed.is_some_and(|record| !is_stray(&login, record)) {
            continue;
        }
        // The record may be younger than the list.
        match place.context.store.read(&login.mark.binding).await? {
            Some(record) if is_stray(&login, &record) => {
                tracing::warn!(
                    instance.id = place.instance.instance_id,
                    binding.record = login.mark.binding,
                    "dropping a login that its binding does not have"
                );
                method.revoke(place, &login.name).await?;
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

/// A login of a binding at rest that is not the one it has. One of a newer attempt
/// than the record knew when it was listed is left alone.
fn is_stray(user: &Found, record: &Record) -> bool {
    let ledger = &record.ledger;
    let kept = ledger
        .attempt
        .as_ref()
        .filter(|_| ledger.state == State::Ready);
    record.open_operation().is_none()
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
