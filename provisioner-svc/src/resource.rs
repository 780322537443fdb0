//! The ServiceInstance custom resource: spec is what was asked, status what
//! was seen. The outcome of operations is in neither: see [`crate::state`].

use cluster::audit::Requester;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use objects::inventory::Entry;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What was asked of one instance.
#[derive(Debug, Clone, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mongodb-osb.io",
    version = "v1alpha1",
    kind = "ServiceInstance",
    plural = "serviceinstances",
    shortname = "osbi",
    namespaced,
    status = "ServiceInstanceStatus",
    doc = "One service instance of the MongoDB Open Service Broker.",
    printcolumn = r#"{"name":"Service","type":"string","jsonPath":".spec.serviceName"}"#,
    printcolumn = r#"{"name":"Plan","type":"string","jsonPath":".spec.planName"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Operation","type":"string","jsonPath":".spec.operation.id"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.message","priority":1}"#,
    printcolumn = r#"{"name":"Instance ID","type":"string","jsonPath":".spec.instanceId","priority":1}"#,
    printcolumn = r#"{"name":"Organization","type":"string","jsonPath":".spec.organizationGuid","priority":1}"#,
    printcolumn = r#"{"name":"Platform","type":"string","jsonPath":".spec.platform","priority":1}"#,
    printcolumn = r#"{"name":"Space","type":"string","jsonPath":".spec.spaceGuid","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInstanceSpec {
    /// The platform's id; the object's name is a hash of it.
    pub instance_id: String,
    /// Random per create; in the names of all that belongs to this life.
    pub incarnation: String,
    /// Where the instance's objects live.
    #[schemars(schema_with = "dns_label")]
    pub namespace: String,
    /// Whether that namespace is made and deleted with the instance.
    pub own_namespace: bool,
    /// Id of the service offering.
    pub service_id: String,
    /// Name of the service offering.
    pub service_name: String,
    /// Id of the plan that the newest operation aims at.
    pub plan_id: String,
    /// Name of that plan.
    pub plan_name: String,
    /// OSB organization_guid.
    pub organization_guid: String,
    /// OSB space_guid.
    pub space_guid: String,
    /// The platform whose login asked for it; for other platforms it does not exist.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// The newest operation.
    pub operation: Operation,
    /// Bindings exist: a deletion waits until the binder has removed them.
    #[serde(default)]
    pub held: bool,
}

/// An operation as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// `<kind>-<seq>-<random>`.
    pub id: String,
    /// Counts the operations of this id, over all its incarnations.
    pub seq: u64,
    /// What to do.
    pub kind: Kind,
    /// The Secret that says what the instance shall be; absent for a delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The bundles whose kinds the instance may have objects of; the first is the target's.
    pub bundles: Vec<String>,
    /// When it was accepted.
    #[schemars(schema_with = "timestamp")]
    pub started_at: Timestamp,
    /// Seconds that it may go without progress.
    pub idle_seconds: u32,
    /// Seconds that it may take.
    pub total_seconds: u32,
    /// The replica that took a synchronous request, and works on it while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Requester::is_nobody")]
    pub requested_by: Requester,
}

impl Operation {
    /// When it must have ended.
    pub fn ends_by(&self) -> Timestamp {
        after(self.started_at, self.total_seconds)
    }

    /// Whether its time is over, if there was progress last at `progress`.
    pub fn is_overdue(&self, progress: Timestamp, now: Timestamp) -> bool {
        now >= self.overdue_at(progress)
    }

    /// When its time is over, if there was progress last at `progress`.
    pub fn overdue_at(&self, progress: Timestamp) -> Timestamp {
        self.ends_by().min(after(progress, self.idle_seconds))
    }
}

fn after(from: Timestamp, seconds: u32) -> Timestamp {
    from.checked_add(jiff::SignedDuration::from_secs(seconds.into()))
        .unwrap_or(Timestamp::MAX)
}

/// The verb of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// OSB provision.
    Create,
    /// OSB update.
    Update,
    /// OSB deprovision.
    Delete,
}

impl Kind {
    /// As it begins an operation's id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What was seen. Can be rebuilt from spec, state and cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceInstanceStatus {
    /// Where the instance is in its life.
    pub phase: String,
    /// What is being waited for, or why the last operation failed. Written even
    /// if absent: a status is merged, and must not keep an old message.
    pub message: Option<String>,
    /// The generation of the spec that this status speaks of.
    pub observed_generation: i64,
    /// `Ready`.
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// When the operation that runs, or ran last, came on last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The objects that the instance consists of.
    pub inventory: Vec<Entry>,
}

/// When an operation came on: one that does not for too long has failed,
/// whichever replica works on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The operation.
    pub operation: String,
    /// When it came on last.
    #[schemars(schema_with = "timestamp")]
    pub at: Timestamp,
}

/// So that no path of a call can be made of it.
fn dns_label(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
}

/// RFC 3339, so that the API server refuses a record that could not be read.
fn timestamp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// metav1.Condition, as far as the API server must know it.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string"},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {"type": "string"},
                "message": {"type": "string"},
                "observedGeneration": {"type": "integer", "format": "int64"},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
            },
        },
    })
}
