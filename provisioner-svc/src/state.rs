//! A record: the resource, and the one annotation that commits outcomes.
//!
//! The outcome of an operation and the applied revision are committed by one
//! conditional write of that annotation. Everything in the status can be
//! rebuilt; this cannot.

use cluster::{
    names,
    operation::{Ended, History},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::resource::{Kind, Operation, ServiceInstance};

/// The annotation's key.
pub const ANNOTATION: &str = "mongodb-osb.io/state";
/// Keeps a record while its objects exist.
pub const FINALIZER: &str = "mongodb-osb.io/instance";

/// The committed past of a record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// What was last applied with success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// How operations ended.
    pub operations: History,
    /// When the instance was deleted; its record is a tombstone since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Until when volumes, generated values and the namespace outlive that;
    /// absent once nothing is kept (any more).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retained_until: Option<Timestamp>,
}

/// The revision that the instance's objects follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The Secret that holds it.
    pub revision: String,
    /// The bundle that it was rendered with.
    pub bundle: String,
    /// Id of its plan.
    pub plan_id: String,
    /// Name of its plan.
    pub plan_name: String,
    /// maintenance_info.version; empty if the plan has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub maintenance_version: String,
    /// Seconds that data outlives a deprovision.
    #[serde(default)]
    pub retain_seconds: u64,
    /// What became known of it: hosts and the like, no secrets.
    #[serde(default)]
    pub outputs: Map<String, Value>,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the field's")]
pub enum Phase {
    Provisioning,
    Ready,
    ProvisionFailed,
    Updating,
    UpdateFailed,
    Deprovisioning,
    DeprovisionFailed,
    Deleted,
}

impl Phase {
    /// As shown in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "Provisioning",
            Self::Ready => "Ready",
            Self::ProvisionFailed => "ProvisionFailed",
            Self::Updating => "Updating",
            Self::UpdateFailed => "UpdateFailed",
            Self::Deprovisioning => "Deprovisioning",
            Self::DeprovisionFailed => "DeprovisionFailed",
            Self::Deleted => "Deleted",
        }
    }
}

/// A state annotation that cannot be read. Its record is left alone.
#[derive(Debug, thiserror::Error)]
#[error("read annotation {ANNOTATION} of ServiceInstance {record}")]
pub struct ReadError {
    record: String,
    #[source]
    source: serde_json::Error,
}

/// A resource with its state.
#[derive(Debug, Clone)]
pub struct Record {
    /// As read from the API server; its resourceVersion makes writes conditional.
    pub resource: ServiceInstance,
    /// The annotation's content.
    pub state: State,
}

impl Record {
    /// Reads the annotation. Absent is the state of a new record.
    pub fn new(resource: ServiceInstance) -> Result<Self, ReadError> {
        let state = match resource.annotations().get(ANNOTATION) {
            None => State::default(),
            Some(text) => serde_json::from_str(text).map_err(|source| ReadError {
                record: resource.name_any(),
                source,
            })?,
        };
        Ok(Self { resource, state })
    }

    /// The object's name.
    pub fn name(&self) -> String {
        self.resource.name_any()
    }

    /// The newest operation.
    pub fn operation(&self) -> &Operation {
        &self.resource.spec.operation
    }

    /// The newest operation, while it has no committed outcome.
    pub fn open_operation(&self) -> Option<&Operation> {
        let operation = self.operation();
        self.state
            .operations
            .get(&operation.id)
            .is_none()
            .then_some(operation)
    }

    /// `kubectl delete` was used: deprovision, and leave no tombstone.
    pub fn is_deleted_by_hand(&self) -> bool {
        self.resource.metadata.deletion_timestamp.is_some()
    }

    /// Whether there is nothing left but this record.
    pub fn is_tombstone(&self) -> bool {
        self.state.deleted_at.is_some()
    }

    /// Where the instance is in its life: a function of spec and state alone.
    pub fn phase(&self) -> Phase {
        if self.is_tombstone() {
            return Phase::Deleted;
        }
        if self.is_deleted_by_hand() {
            return Phase::Deprovisioning;
        }
        let operation = self.operation();
        let outcome = self
            .state
            .operations
            .get(&operation.id)
            .map(|ended| ended.succeeded);
        match (operation.kind, outcome) {
            (Kind::Create, None) => Phase::Provisioning,
            (Kind::Update, None) => Phase::Updating,
            (Kind::Delete, None) => Phase::Deprovisioning,
            (Kind::Create | Kind::Update, Some(true)) => Phase::Ready,
            (Kind::Create, Some(false)) => Phase::ProvisionFailed,
            (Kind::Update, Some(false)) => Phase::UpdateFailed,
            (Kind::Delete, Some(false)) => Phase::DeprovisionFailed,
            (Kind::Delete, Some(true)) => Phase::Deleted,
        }
    }

    /// The name that the instance's id hashes to. A record that was put aside
    /// has the incarnation behind it in its own name.
    pub fn instance(&self) -> String {
        let name = self.name();
        name.split_once('-')
            .map_or_else(|| name.clone(), |(instance, _)| instance.to_owned())
    }

    /// Whether this record only keeps what an earlier incarnation of the id still owes.
    pub fn is_aside(&self) -> bool {
        self.name().contains('-')
    }

    /// How long the data of this instance outlives its deletion. One that
    /// never succeeded keeps nothing, and neither does `kubectl delete`.
    pub fn retention(&self) -> SignedDuration {
        match &self.state.applied {
            Some(applied) if !self.is_deleted_by_hand() => SignedDuration::from_secs(
                i64::try_from(applied.retain_seconds).unwrap_or(i64::MAX / 1_000_000_000),
            ),
            _ => SignedDuration::ZERO,
        }
    }

    /// Whether kept data is to be deleted by now.
    pub fn is_purgeable(&self, now: Timestamp) -> bool {
        self.state.retained_until.is_some_and(|until| until <= now)
    }

    /// The phase as the status shows it.
    pub fn shown_phase(&self) -> &'static str {
        if self.state.retained_until.is_some() {
            "Retained"
        } else {
            self.phase().as_str()
        }
    }

    /// The labels of everything that belongs to this incarnation.
    pub fn labels(&self) -> std::collections::BTreeMap<String, String> {
        names::instance_labels(&self.instance(), &self.resource.spec.incarnation)
    }

    /// The selector for [`Self::labels`].
    pub fn selector(&self) -> String {
        names::instance_selector(&self.instance(), &self.resource.spec.incarnation)
    }

    /// The resource with `state` as its annotation, to be written conditionally.
    pub fn with_state(&self, state: &State) -> ServiceInstance {
        let mut resource = self.resource.clone();
        resource
            .annotations_mut()
            .insert(ANNOTATION.to_owned(), encode(state));
        resource
    }

    /// The state after the open operation ended in `ended`.
    pub fn after(&self, ended: Ended, keep: SignedDuration) -> State {
        let mut state = self.state.clone();
        state.operations.add(ended, keep);
        state
    }
}

/// The annotation's text.
pub fn encode(state: &State) -> String {
    // Maps with string keys and plain values: this cannot fail.
    serde_json::to_string(state).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::resource::{Requester, ServiceInstanceSpec};

    pub(crate) fn record(kind: Kind) -> Record {
        let mut resource = ServiceInstance::new(
            "r",
            ServiceInstanceSpec {
                instance_id: "i".into(),
                incarnation: "one".into(),
                namespace: "mdb-r-one".into(),
                own_namespace: true,
                service_id: "s".into(),
                service_name: "mongodb".into(),
                plan_id: "p".into(),
                plan_name: "small".into(),
                organization_guid: "org".into(),
                space_guid: "space".into(),
                operation: Operation {
                    id: format!("{}-1-x", kind.as_str()),
                    seq: 1,
                    kind,
                    revision: Some("rev".into()),
                    bundles: vec!["d".into()],
                    started_at: Timestamp::UNIX_EPOCH,
                    deadline_seconds: 600,
                    driver: None,
                    requested_by: Requester::default(),
                },
                held: false,
            },
        );
        resource.metadata.resource_version = Some("1".into());
        Record::new(resource).unwrap()
    }

    pub(crate) fn ended(mut record: Record, succeeded: bool) -> Record {
        let id = record.operation().id.clone();
        let outcome = if succeeded {
            Ended::succeeded(&id, Timestamp::UNIX_EPOCH)
        } else {
            Ended::failed(&id, "because", Timestamp::UNIX_EPOCH)
        };
        record.state = record.after(outcome, SignedDuration::from_hours(72));
        record
    }

    #[test]
    fn the_phase_follows_from_the_operation_and_its_outcome() {
        for (kind, open, ok, failed) in [
            (
                Kind::Create,
                Phase::Provisioning,
                Phase::Ready,
                Phase::ProvisionFailed,
            ),
            (
                Kind::Update,
                Phase::Updating,
                Phase::Ready,
                Phase::UpdateFailed,
            ),
            (
                Kind::Delete,
                Phase::Deprovisioning,
                Phase::Deleted,
                Phase::DeprovisionFailed,
            ),
        ] {
            assert_eq!(record(kind).phase(), open);
            assert_eq!(ended(record(kind), true).phase(), ok);
            assert_eq!(ended(record(kind), false).phase(), failed);
        }
    }

    #[test]
    fn the_state_survives_its_annotation() {
        let mut before = ended(record(Kind::Create), true);
        before.state.applied = Some(Applied {
            revision: "rev".into(),
            bundle: "d".into(),
            plan_id: "p".into(),
            plan_name: "small".into(),
            maintenance_version: "1.0.0".into(),
            retain_seconds: 5,
            outputs: Map::from_iter([("hosts".to_owned(), serde_json::json!(["a:1"]))]),
        });
        let after = Record::new(before.with_state(&before.state)).unwrap();
        assert_eq!(after.state, before.state);
    }

    #[test]
    fn an_unreadable_state_is_an_error_not_a_new_record() {
        let mut resource = record(Kind::Create).resource;
        resource
            .annotations_mut()
            .insert(ANNOTATION.to_owned(), "{".into());
        assert!(Record::new(resource).is_err());
    }
}
