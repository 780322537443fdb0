//! A record: the resource, and the one annotation that commits outcomes.
//!
//! The outcome of an operation and the applied revision are committed by one
//! conditional write of that annotation. Everything in the status can be
//! rebuilt; this cannot.

pub mod begin;

use cluster::{
    audit::Entry,
    names,
    operation::{Ended, History, KEPT},
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
    /// The newest update that began to change objects, since the last success:
    /// until then the instance is not known to be usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub touched_by: Option<String>,
    /// Earlier incarnations of this id that ended, newest last: the proof that
    /// whatever still carries their labels may go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
}

impl State {
    /// What a new incarnation keeps of the one before: the results of
    /// operations, and which incarnations ended. One whose data is retained
    /// has not.
    pub fn succeed(before: &Record) -> Self {
        let mut ended = before.state.ended.clone();
        if before.state.retained_until.is_none() {
            ended.push(before.resource.spec.incarnation.clone());
        }
        ended.drain(..ended.len().saturating_sub(KEPT));
        Self {
            operations: before.state.operations.clone(),
            ended,
            ..Self::default()
        }
    }
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
    /// `kubectl delete`, and nobody asked for the data to go.
    Orphaning,
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
            Self::Orphaning => "Orphaning",
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

    /// What the audit log says of the newest operation.
    pub fn audit(&self) -> Entry<'_> {
        let operation = self.operation();
        Entry {
            instance: &self.resource.spec.instance_id,
            binding: None,
            plan: &self.resource.spec.plan_name,
            operation: &operation.id,
            by: &operation.requested_by,
        }
    }

    /// Whether it belongs to the platform that asks: for others it is as if it did not exist.
    pub fn is_of(&self, platform: &str) -> bool {
        self.resource.spec.platform == platform
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

    /// The record itself was deleted in the cluster: by hand, or along with
    /// its namespace or CustomResourceDefinition. It leaves no tombstone.
    pub fn is_deleted_by_hand(&self) -> bool {
        self.resource.metadata.deletion_timestamp.is_some()
    }

    /// Whether a record that is deleted by hand may take its data along:
    /// somebody confirmed that, or had asked for it before. Otherwise the data
    /// stays, as an orphan.
    pub fn is_data_to_go(&self, now: Timestamp) -> bool {
        if self.is_deletion_confirmed() {
            return true;
        }
        if self.is_tombstone() {
            return self.state.retained_until.is_none_or(|until| until <= now);
        }
        // OSB's DELETE, of an instance whose data does not outlive it.
        let retains = |applied: &Applied| applied.retain_seconds > 0;
        self.operation().kind == Kind::Delete && !self.state.applied.as_ref().is_some_and(retains)
    }

    fn is_deletion_confirmed(&self) -> bool {
        self.resource.annotations().get(names::CONFIRM_DELETION)
            == Some(&self.resource.spec.incarnation)
    }

    /// Whether an instance that is like this, and nothing under way, must have
    /// a namespace.
    pub fn needs_namespace(&self) -> bool {
        let keeps = !self.is_tombstone() || self.state.retained_until.is_some();
        keeps
            && !self.is_deleted_by_hand()
            && self.open_operation().is_none()
            && self.state.applied.is_some()
    }

    /// Whether a finalizer is missing that should keep the record: a restore
    /// may have dropped it.
    pub fn lacks_finalizer(&self) -> bool {
        let owes = !self.is_tombstone() || self.state.retained_until.is_some();
        let held = self.resource.finalizers().iter().any(|f| f == FINALIZER);
        owes && !held && !self.is_deleted_by_hand()
    }

    /// The resource with the finalizer, to be written conditionally.
    pub fn with_finalizer(&self) -> ServiceInstance {
        let mut resource = self.resource.clone();
        resource.finalizers_mut().push(FINALIZER.to_owned());
        resource
    }

    /// The resource without the finalizer, to be written conditionally.
    pub fn without_finalizer(mut resource: ServiceInstance) -> ServiceInstance {
        let finalizers = resource.finalizers_mut();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        resource
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
            return if self.is_data_to_go(Timestamp::now()) {
                Phase::Deprovisioning
            } else {
                Phase::Orphaning
            };
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

    /// The name that the instance's id hashes to. A record that was archived
    /// has the incarnation behind it in its own name.
    pub fn instance(&self) -> &str {
        instance_of(self.resource.metadata.name.as_deref().unwrap_or_default())
    }

    /// Whether this record only keeps what an earlier incarnation of the id still owes.
    pub fn is_archived(&self) -> bool {
        self.name().contains('-')
    }

    /// The names of its revisions: of what was applied, and of what was to be.
    pub fn revisions(&self) -> impl Iterator<Item = &str> {
        let applied = self.state.applied.as_ref().map(|applied| &applied.revision);
        let aimed_at = self.operation().revision.as_ref();
        let aimed_at = aimed_at.filter(|name| Some(*name) != applied);
        applied.into_iter().chain(aimed_at).map(String::as_str)
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
        names::instance_labels(self.instance(), &self.resource.spec.incarnation)
    }

    /// The selector for [`Self::labels`].
    pub fn selector(&self) -> String {
        names::instance_selector(self.instance(), &self.resource.spec.incarnation)
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
    pub fn after(&self, ended: Ended) -> State {
        let mut state = self.state.clone();
        let asked = self.operation();
        let ended = ended.asked_for(asked.started_at, &asked.requested_by);
        state.operations.add(ended);
        state
    }
}

/// The name that an instance's id hashes to, from the name of one of its records.
pub fn instance_of(record: &str) -> &str {
    record
        .split_once('-')
        .map_or(record, |(instance, _)| instance)
}

/// The annotation's text.
pub fn encode(state: &State) -> String {
    // Maps with string keys and plain values: this cannot fail.
    serde_json::to_string(state).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cluster::audit::Requester;

    use crate::resource::ServiceInstanceSpec;

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
                platform: "cf".into(),
                operation: Operation {
                    id: format!("{}-1-x", kind.as_str()),
                    seq: 1,
                    kind,
                    revision: Some("rev".into()),
                    bundles: vec!["d".into()],
                    started_at: Timestamp::UNIX_EPOCH,
                    idle_seconds: 600,
                    total_seconds: 6000,
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
        record.state = record.after(outcome);
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

    fn deleted_by_hand(mut record: Record) -> Record {
        record.resource.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
        );
        record
    }

    fn confirmed(mut record: Record, incarnation: &str) -> Record {
        let annotations = record.resource.annotations_mut();
        annotations.insert(names::CONFIRM_DELETION.into(), incarnation.into());
        record
    }

    fn retaining(mut record: Record) -> Record {
        record.state.applied = Some(Applied {
            revision: "rev".into(),
            bundle: "d".into(),
            plan_id: "p".into(),
            plan_name: "small".into(),
            maintenance_version: String::new(),
            retain_seconds: 5,
            outputs: Map::new(),
        });
        record
    }

    #[test]
    fn data_goes_with_a_deleted_record_only_where_somebody_asked() {
        let now = Timestamp::UNIX_EPOCH;
        let to_go = |record| deleted_by_hand(record).is_data_to_go(now);
        let ready = || ended(record(Kind::Create), true);
        assert!(!to_go(ready()));
        assert!(!to_go(record(Kind::Create)));
        assert!(!to_go(confirmed(ready(), "another")));
        assert!(to_go(confirmed(ready(), "one")));
        // A DELETE of OSB, under way or failed, but not of what is retained.
        assert!(to_go(record(Kind::Delete)));
        assert!(to_go(ended(record(Kind::Delete), false)));
        assert!(!to_go(retaining(record(Kind::Delete))));
        assert!(to_go(confirmed(retaining(record(Kind::Delete)), "one")));
        let mut kept = ended(record(Kind::Delete), true);
        kept.state.deleted_at = Some(now);
        assert!(to_go(kept.clone()), "nothing is kept");
        kept.state.retained_until = Some(now + SignedDuration::from_secs(1));
        assert!(!to_go(kept.clone()));
        kept.state.retained_until = Some(now);
        assert!(to_go(kept), "its time is over");
        assert_eq!(deleted_by_hand(ready()).phase(), Phase::Orphaning);
        let sure = deleted_by_hand(confirmed(ready(), "one"));
        assert_eq!(sure.phase(), Phase::Deprovisioning);
    }

    #[test]
    fn a_new_incarnation_knows_which_ones_ended() {
        let mut before = ended(record(Kind::Delete), true);
        before.state.ended = vec!["zero".into()];
        assert_eq!(State::succeed(&before).ended, ["zero", "one"]);
        before.state.retained_until = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(State::succeed(&before).ended, ["zero"]);
        before.state.ended = vec!["old".into(); 100];
        assert_eq!(State::succeed(&before).ended.len(), KEPT);
    }

    #[test]
    fn a_record_without_its_finalizer_gets_it_back_unless_it_owes_nothing() {
        let mut restored = ended(record(Kind::Create), true);
        assert!(restored.lacks_finalizer());
        restored.resource = restored.with_finalizer();
        assert!(!restored.lacks_finalizer());
        let mut tombstone = ended(record(Kind::Delete), true);
        tombstone.state.deleted_at = Some(Timestamp::UNIX_EPOCH);
        assert!(!tombstone.lacks_finalizer());
        tombstone.state.retained_until = Some(Timestamp::UNIX_EPOCH);
        assert!(tombstone.lacks_finalizer());
        assert!(!deleted_by_hand(tombstone).lacks_finalizer());
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
