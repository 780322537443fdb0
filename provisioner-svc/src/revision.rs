//! What an operation aims at: the content of a revision Secret.

use plan::{schema::Resolved, variables::Broker};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Everything that a rendering depends on beside the bundle and the generated values.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Id of the service offering.
    pub service_id: String,
    /// Id of the plan.
    pub plan_id: String,
    /// Name of the plan.
    pub plan_name: String,
    /// sha256 of the plan's bundle.
    pub bundle: String,
    /// maintenance_info.version of the bundle; empty if it has none.
    pub maintenance_version: String,
    /// As sent, merged over all updates, and with defaults.
    pub parameters: Resolved,
    /// OSB context.
    pub context: Map<String, Value>,
    /// What the broker adds.
    pub broker: Broker,
}

/// Names and digest only: the rest may be secret.
impl std::fmt::Debug for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revision")
            .field("plan_name", &self.plan_name)
            .field("bundle", &self.bundle)
            .finish_non_exhaustive()
    }
}

impl Revision {
    /// Whether both lead to the same objects from the same request.
    pub fn same_target(&self, other: &Self) -> bool {
        self.plan_id == other.plan_id
            && self.bundle == other.bundle
            && self.parameters == other.parameters
            && self.context == other.context
    }
}
