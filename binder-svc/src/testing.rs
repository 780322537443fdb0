//! Records in every state, for unit tests.

use std::collections::BTreeMap;

use cluster::{audit::Requester, operation::Ended};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    ledger::{Attempt, Ledger, Login, Record, State},
    resource::{Kind, Method, Operation, Server, ServiceBindingSpec, ServiceBindingStatus},
};

/// Some seconds after an arbitrary start.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds)
}

pub(crate) fn login(user: &str) -> Login {
    Login {
        user: user.to_owned(),
        secret: format!("login-{user}"),
        instance_incarnation: "inc1".to_owned(),
    }
}

pub(crate) fn operation(kind: Kind, seq: u64) -> Operation {
    Operation {
        id: format!("{}-{seq}-aaaa", kind.word()),
        kind,
        started_at: at(0),
        deadline: at(600),
        driver: "me".to_owned(),
        requested_by: Requester::default(),
    }
}

fn spec(operation: Operation) -> ServiceBindingSpec {
    ServiceBindingSpec {
        instance_id: "i1".to_owned(),
        binding_id: "b1".to_owned(),
        service_id: "s1".to_owned(),
        platform: "cf".to_owned(),
        plan_id: "p1".to_owned(),
        plan: "small".to_owned(),
        bundle_digest: "d1".to_owned(),
        method: Method::Database,
        server: Server::Own,
        instance_incarnation: "inc1".to_owned(),
        incarnation: "binc1".to_owned(),
        request: "request-1".to_owned(),
        predecessor_binding_id: None,
        expires_at: None,
        renew_before: None,
        operation,
    }
}

fn with(operation: Operation, ledger: Ledger) -> Record {
    let mut record = Record::new("record1", BTreeMap::new(), spec(operation));
    record.ledger = ledger;
    let mut object = record.clone().into_object();
    object.metadata.generation = Some(1);
    object.status = Some(ServiceBindingStatus {
        phase: Some(record.phase()),
        observed_generation: Some(1),
        conditions: Vec::new(),
    });
    Record::read(object).unwrap()
}

pub(crate) fn binding_in_progress(holder: &str) -> Record {
    let ledger = Ledger {
        attempts: 1,
        attempt: Some(Attempt {
            number: 1,
            holder: holder.to_owned(),
            login: login("b-1"),
        }),
        ..Ledger::default()
    };
    with(operation(Kind::Bind, 1), ledger)
}

pub(crate) fn ready() -> Record {
    let mut ledger = binding_in_progress("me/1").ledger;
    ledger.state = State::Ready;
    ledger.history.add(Ended::succeeded("bind-1-aaaa", at(1)));
    with(operation(Kind::Bind, 1), ledger)
}

pub(crate) fn failed() -> Record {
    let mut ledger = binding_in_progress("me/1").ledger;
    ledger.state = State::Failed;
    ledger.attempt = None;
    ledger
        .history
        .add(Ended::failed("bind-1-aaaa", "no luck", at(1)));
    with(operation(Kind::Bind, 1), ledger)
}

pub(crate) fn unbinding() -> Record {
    with(operation(Kind::Unbind, 2), ready().ledger)
}

pub(crate) fn tombstone() -> Record {
    let mut ledger = ready().ledger;
    ledger.state = State::Deleted;
    ledger.attempt = None;
    ledger.history.add(Ended::succeeded("unbind-2-aaaa", at(2)));
    with(operation(Kind::Unbind, 2), ledger)
}

pub(crate) fn revocation_pending() -> Record {
    let mut ledger = tombstone().ledger;
    ledger.state = State::RevocationPending;
    ledger.owed.push(login("b-1"));
    with(operation(Kind::Unbind, 2), ledger)
}

pub(crate) fn without_status(record: Record) -> Record {
    let mut object = record.into_object();
    object.status = None;
    Record::read(object).unwrap()
}

pub(crate) fn confirmed(record: &Record, incarnation: &str) -> Record {
    let mut object = record.object().clone();
    object.metadata.annotations.get_or_insert_default().insert(
        cluster::names::CONFIRM_DELETION.to_owned(),
        incarnation.to_owned(),
    );
    Record::read(object).unwrap()
}

pub(crate) fn deleted_by_hand(record: Record) -> Record {
    let mut object = record.into_object();
    object.metadata.deletion_timestamp = Some(Time(at(3)));
    Record::read(object).unwrap()
}
