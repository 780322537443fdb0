//! The annotation that decides: what a binding's operations came to, which
//! login is the one that may be handed out, and which ones may still exist in
//! the database and must not. Each change is one conditional write of it.

use std::collections::BTreeMap;

use cluster::{
    audit::Entry,
    names,
    operation::{Ended, History},
};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

use crate::resource::{Kind, Operation, Phase, ServiceBinding, ServiceBindingSpec};

/// Where the ledger is kept on the record.
pub const ANNOTATION: &str = "mongodb-osb.io/ledger";
/// Keeps a record that is deleted by hand until its users are dropped.
pub const FINALIZER: &str = "mongodb-osb.io/binding";

/// How a bind ends that an unbind interrupts.
pub const HALTED: &str = "Halted: the binding was deleted.";

/// What a binding's operations came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ledger {
    /// The outcome of the last operation that ended.
    pub state: State,
    /// Counts the attempts over all incarnations of the record, so that of two
    /// users of one binding it is known which is the older.
    pub attempts: u32,
    /// The login that a bind is making, or that a ready binding has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Logins that may exist and must not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<Login>,
    /// When to look (again) for what is owed: a replica that slept through the
    /// first look may have made a user after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub look_at: Option<Timestamp>,
    /// How operations ended.
    pub history: History,
}

/// The outcome of the last operation that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// None has ended in this incarnation.
    #[default]
    New,
    /// The login works.
    Ready,
    /// The login was not made.
    Failed,
    /// Answered as gone; its users could not be dropped yet.
    RevocationPending,
    /// Gone: a tombstone.
    Deleted,
}

/// One try at making a login. It belongs to the process that began it: any
/// other that goes on begins a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// See [`Ledger::attempts`].
    pub number: u32,
    /// The process (not only the replica) that may work on it.
    pub holder: String,
    /// What it makes.
    #[serde(flatten)]
    pub login: Login,
}

/// A database user and the Secret with its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The Secret's name.
    pub secret: String,
    /// The life of the instance whose database has the user.
    pub instance_incarnation: String,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read the ledger of binding record {record}")]
pub struct Malformed {
    record: String,
    #[source]
    source: serde_json::Error,
}

/// A record with its ledger read.
#[derive(Debug, Clone)]
pub struct Record {
    object: ServiceBinding,
    /// Its ledger.
    pub ledger: Ledger,
}

impl Record {
    /// A record that is not in the API server yet.
    pub fn new(name: &str, labels: BTreeMap<String, String>, spec: ServiceBindingSpec) -> Self {
        let mut object = ServiceBinding::new(name, spec);
        object.metadata.labels = Some(labels);
        object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        Self {
            object,
            ledger: Ledger::default(),
        }
    }

    /// Reads the ledger of an object. One without is new: what the ledger says
    /// of a login, the database's users say as well.
    pub fn read(object: ServiceBinding) -> Result<Self, Malformed> {
        let ledger = match object.annotations().get(ANNOTATION) {
            None => Ledger::default(),
            Some(text) => serde_json::from_str(text).map_err(|source| Malformed {
                record: object.name_any(),
                source,
            })?,
        };
        Ok(Self { object, ledger })
    }

    /// The object to write.
    pub fn into_object(mut self) -> ServiceBinding {
        let text = serde_json::to_string(&self.ledger).unwrap_or_default();
        self.object
            .annotations_mut()
            .insert(ANNOTATION.to_owned(), text);
        let finalizers = self.object.finalizers_mut();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        // Only what is wholly gone may vanish.
        if self.ledger.state != State::Deleted || self.open_operation().is_some() {
            self.object.finalizers_mut().push(FINALIZER.to_owned());
        }
        self.object
    }

    /// As it was read.
    pub fn object(&self) -> &ServiceBinding {
        &self.object
    }

    /// The record's name.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// What was asked.
    pub fn spec(&self) -> &ServiceBindingSpec {
        &self.object.spec
    }

    /// The operation that runs or ended last.
    pub fn operation(&self) -> &Operation {
        &self.object.spec.operation
    }

    /// What the audit log says of the newest operation.
    pub fn audit(&self) -> Entry<'_> {
        let (spec, operation) = (self.spec(), self.operation());
        Entry {
            instance: &spec.instance_id,
            binding: Some(&spec.binding_id),
            plan: &spec.plan,
            operation: &operation.id,
            by: &operation.requested_by,
        }
    }

    /// Tells the audit log of an unbind that this record, as it was written, has in place of what
    /// it was `before`.
    pub fn tell_unbind(&self, before: &Self) {
        if before.is_open(Kind::Bind) {
            before.audit().ended(false, HALTED);
        }
        if before.operation().id != self.operation().id {
            self.audit().accepted();
        }
    }

    /// Whether it belongs to the platform that asks: for others it is as if it did not exist.
    pub fn is_of(&self, platform: &str) -> bool {
        self.spec().platform == platform
    }

    /// Begins an unbind; a bind that is still open ends here, halted.
    pub fn begin_unbind(&mut self, operation: Operation) {
        if self.is_open(Kind::Bind) {
            let at = operation.started_at;
            let ended = Ended::failed(&self.operation().id, HALTED, at);
            self.note(ended);
        }
        self.object.spec.operation = operation;
    }

    /// Begins a new life of a binding that is gone. What the old one owes is
    /// still owed; results and counts go on.
    pub fn begin_again(&mut self, spec: ServiceBindingSpec, attempt: Attempt) {
        self.object.spec = spec;
        self.ledger.state = State::New;
        self.ledger.attempts = attempt.number;
        self.ledger.attempt = Some(attempt);
    }

    /// The newest operation, while it has no committed outcome.
    pub fn open_operation(&self) -> Option<&Operation> {
        let operation = self.operation();
        let ended = self.ledger.history.get(&operation.id);
        ended.is_none().then_some(operation)
    }

    /// Whether an operation of this kind is open.
    pub fn is_open(&self, kind: Kind) -> bool {
        self.open_operation()
            .is_some_and(|operation| operation.kind == kind)
    }

    /// `kubectl delete` was used: revoke, and leave no tombstone.
    pub fn is_deleted_by_hand(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some() && !self.is_gone()
    }

    /// Whether who deleted the object by hand wants the login to go as well.
    pub fn is_deletion_confirmed(&self) -> bool {
        self.object.annotations().get(names::CONFIRM_DELETION) == Some(&self.spec().incarnation)
    }

    /// The object to write so that it may vanish, with its login as it is.
    pub fn into_object_to_go(mut self) -> ServiceBinding {
        let finalizers = self.object.finalizers_mut();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        self.object
    }

    /// Whether the platform was told that the binding is gone, or never came to be.
    pub fn is_gone(&self) -> bool {
        self.open_operation().is_none()
            && matches!(self.ledger.state, State::Deleted | State::RevocationPending)
    }

    /// Where the binding is in its life.
    pub fn phase(&self) -> Phase {
        match (
            self.open_operation().map(|open| open.kind),
            self.ledger.state,
        ) {
            (Some(Kind::Bind), _) => Phase::Binding,
            (Some(Kind::Unbind), _) => Phase::Unbinding,
            (None, State::Ready) => Phase::Ready,
            // New without an open operation cannot be committed.
            (None, State::Failed | State::New) => Phase::Failed,
            (None, State::RevocationPending) => Phase::RevocationPending,
            (None, State::Deleted) => Phase::Deleted,
        }
    }

    /// The `seq` of the next operation.
    pub fn next_seq(&self) -> u64 {
        seq(&self.operation().id) + 1
    }

    /// Ends the open operation.
    pub fn end(&mut self, state: State, ended: Ended) {
        self.ledger.state = state;
        self.note(ended);
    }

    fn note(&mut self, ended: Ended) {
        let asked = self.operation();
        let ended = ended.asked_for(asked.started_at, &asked.requested_by);
        self.ledger.history.add(ended);
    }

    /// The attempt whose login must stay, if one must.
    pub fn kept_attempt(&self) -> Option<u32> {
        let kept = match self.open_operation().map(|open| open.kind) {
            Some(Kind::Bind) => true,
            Some(Kind::Unbind) => false,
            None => self.ledger.state == State::Ready,
        };
        let attempt = self.ledger.attempt.as_ref().filter(|_| kept);
        attempt.map(|attempt| attempt.number)
    }

    /// Logins that may exist and must not: those owed, and the current one
    /// unless it is kept.
    pub fn logins_to_revoke(&self) -> impl Iterator<Item = &Login> {
        let kept = self.kept_attempt().is_some();
        let current = self.ledger.attempt.as_ref().filter(|_| !kept);
        let owed = self.ledger.owed.iter();
        owed.chain(current.map(|attempt| &attempt.login))
    }

    /// The current attempt can no longer be the one: what it may have made is owed.
    pub fn give_up_attempt(&mut self) {
        if let Some(attempt) = self.ledger.attempt.take() {
            self.ledger.owed.push(attempt.login);
        }
    }
}

/// The sequence number in an operation id; 0 for one that is none of ours.
pub fn seq(operation: &str) -> u64 {
    operation
        .parse::<cluster::operation::OperationId>()
        .map_or(0, |id| id.seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_ledger_survives_the_record() {
        let mut record = testing::binding_in_progress("p1");
        record.give_up_attempt();
        record.ledger.look_at = Some(testing::at(7));
        let ledger = record.ledger.clone();
        let back = Record::read(record.into_object()).unwrap();
        assert_eq!(back.ledger, ledger);
    }

    #[test]
    fn a_record_without_a_ledger_is_new_and_one_with_a_broken_one_is_refused() {
        let mut object = testing::ready().into_object();
        object
            .annotations_mut()
            .insert(ANNOTATION.into(), "{".into());
        assert!(Record::read(object.clone()).is_err());
        object.annotations_mut().remove(ANNOTATION);
        let record = Record::read(object).unwrap();
        assert!(record.open_operation().is_some() && record.ledger.attempt.is_none());
    }

    #[test]
    fn only_a_tombstone_may_vanish() {
        for (record, held) in [
            (testing::binding_in_progress("p1"), true),
            (testing::ready(), true),
            (testing::unbinding(), true),
            (testing::revocation_pending(), true),
            (testing::tombstone(), false),
        ] {
            let object = record.into_object();
            assert_eq!(
                !object.finalizers().is_empty(),
                held,
                "{:?}",
                object.spec.operation
            );
        }
    }
}
