//! The ServiceBinding custom resource. Its spec says what was asked, its
//! status what a person wants to see; what decides is the annotation of
//! [`crate::ledger`]. It never holds a password or a user's parameter.

use cluster::audit::Requester;
use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was asked for: written by request handlers only.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mongodb-osb.io",
    version = "v1alpha1",
    kind = "ServiceBinding",
    plural = "servicebindings",
    singular = "servicebinding",
    shortname = "osbsb",
    namespaced,
    status = "ServiceBindingStatus",
    doc = "A login to a service instance's database, made by the broker. Ask the broker to make or revoke one; objects made or changed by hand are not looked after.",
    printcolumn = r#"{"name":"Instance","type":"string","jsonPath":".spec.instanceId"}"#,
    printcolumn = r#"{"name":"Plan","type":"string","jsonPath":".spec.plan"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Operation","type":"string","jsonPath":".spec.operation.id"}"#,
    printcolumn = r#"{"name":"Platform","type":"string","jsonPath":".spec.platform","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBindingSpec {
    /// OSB instance id, as the platform sent it.
    pub instance_id: String,
    /// OSB binding id, as the platform sent it.
    pub binding_id: String,
    /// OSB service id of the instance.
    pub service_id: String,
    /// The platform that the instance belongs to; for other platforms the binding does not exist.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// OSB plan id of the instance when the binding was asked for.
    pub plan_id: String,
    /// The plan's name, for people.
    pub plan: String,
    /// The instance's bundle when the binding was asked for: sha256 in hex.
    pub bundle_digest: String,
    /// How the login is made and revoked.
    #[serde(default)]
    pub method: Method,
    /// Whether the database goes with its instance.
    #[serde(default)]
    pub server: Server,
    /// Which life of the instance the login belongs to.
    pub instance_incarnation: String,
    /// Which life of this binding: random for each create of the same id.
    pub incarnation: String,
    /// The Secret that holds the request: parameters, app and context may be secret.
    pub request: String,
    /// In a rotation, the id of the binding that this one takes over from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor_binding_id: Option<String>,
    /// When the login ends; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    /// When the login should be replaced by another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub renew_before: Option<Timestamp>,
    /// What is to be done, or was done last.
    pub operation: Operation,
}

/// How a login is made and revoked.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// As a user in the instance's database.
    #[default]
    Database,
}

/// Whether a database goes with its instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    /// It does, users and all.
    #[default]
    Own,
    /// It outlives the instance: users must be dropped before that goes.
    Shared,
}

/// One bind or unbind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// `<kind>-<seq>-<random>`.
    pub id: String,
    /// Bind or unbind.
    pub kind: Kind,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When the broker stops trying: a bind fails then, an unbind answers
    /// success with the revocation pending.
    #[schemars(with = "String")]
    pub deadline: Timestamp,
    /// The replica that took the request and works it while its lease lives.
    pub driver: String,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Requester::is_nobody")]
    pub requested_by: Requester,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Makes the login.
    Bind,
    /// Revokes it.
    Unbind,
}

impl Kind {
    /// The word that operation ids begin with.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Unbind => "unbind",
        }
    }
}

/// For people and `kubectl wait`: can be rebuilt at any time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBindingStatus {
    /// Where the binding is in its life.
    pub phase: Option<Phase>,
    /// The generation of the spec that this status speaks of.
    pub observed_generation: Option<i64>,
    /// Kubernetes conditions: `Ready`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Where a binding is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The login is being made.
    Binding,
    /// The login works.
    Ready,
    /// The login was not made.
    Failed,
    /// The login is being revoked.
    Unbinding,
    /// Answered as gone, but the database could not be reached to drop the user.
    RevocationPending,
    /// Gone; kept for polls.
    Deleted,
}

/// A Kubernetes condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When `status` last changed.
    #[schemars(with = "String")]
    pub last_transition_time: Timestamp,
    /// The generation that it speaks of.
    pub observed_generation: Option<i64>,
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use kube::CustomResourceExt as _;

    use super::*;

    #[test]
    fn the_shipped_crd_is_the_one_of_the_type() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../k8s/crds/servicebindings.mongodb-osb.io.yaml");
        let body = serde_saphyr::to_string(&ServiceBinding::crd()).unwrap();
        let expected = format!(
            "# Generated from binder-svc/src/resource.rs; `UPDATE_CRDS=1 cargo test -p binder-svc crd` rewrites it.\n{body}"
        );
        if std::env::var_os("UPDATE_CRDS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &expected).unwrap();
        }
        let shipped = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            shipped == expected,
            "stale: run UPDATE_CRDS=1 cargo test -p binder-svc crd"
        );
    }
}
