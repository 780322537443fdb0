//! `plan.yaml`, after `extends` is resolved.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Binding, Duration, Expression, Generate, KindRef, Parameters, Text};
use crate::id::PlanId;

/// A version as editors know it.
#[cfg(test)]
const SEMVER: &str =
    r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$";

/// A plan. A folder without plan.yaml gets all defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// The base that this plan is laid over: `_base` or `provider/_base`. Maps merge deeply, lists
    /// replace, a file of the same name replaces, null drops a key (but stays null in `values`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<String>,
    /// Its id. Default: derived from the names of the provider and the plan folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub id: Option<PlanId>,
    /// What it is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it costs nothing. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<bool>,
    /// Whether it can be bound. Default: what the offering says, else whether `binding` has a
    /// method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindable: Option<bool>,
    /// Name for people; goes into `metadata.displayName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// As `display_name`, which counts if both are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who looks after the plan; goes into `metadata.author`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Lines for a marketplace; go into `metadata.bullets`.
    pub bullets: Vec<String>,
    /// Prices; go into `metadata.costs`.
    pub costs: Vec<Cost>,
    /// Anything else the platform may show.
    pub metadata: Map<String, Value>,
    /// A semantic version, the catalog's `maintenance_info.version`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "version")]
    #[cfg_attr(test, schemars(with = "Option<String>", regex(pattern = SEMVER)))]
    pub version: Option<semver::Version>,
    /// What the version brings, the catalog's `maintenance_info.description`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_description: Option<String>,
    /// Where its objects live.
    pub namespace: Namespace,
    /// The level of Pod Security that the namespace made for an instance enforces. For more than
    /// `restricted` the cluster's administrator must allow it for this plan, in the ConfigMap
    /// `pod-security-exceptions`.
    #[serde(skip_serializing_if = "PodSecurity::is_restricted")]
    pub pod_security: PodSecurity,
    /// When an operation has failed.
    pub deadline: Deadline,
    /// What happens to the data in the end.
    pub deletion: Deletion,
    /// Whether an instance is ready at once.
    pub provision: Provision,
    /// All kinds that it may apply. Default: those found in its templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<KindRef>>,
    /// Kinds that the cluster must serve, or the plan is listed but not orderable.
    pub requires: Vec<KindRef>,
    /// Inputs of the broker's operator: `secrets.<name>.<key>` in templates.
    pub secrets: BTreeMap<String, SecretInput>,
    /// The author's numbers: `plan.values.<name>`, or `<name>` alone, in templates.
    pub values: Map<String, Value>,
    /// The parameters that a user may send. Default: inferred from the variables of the templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// Values that are made once.
    pub generate: BTreeMap<String, Generate>,
    /// When an object is ready, by `Kind/name` or `Kind`, instead of the shipped rule.
    pub ready: BTreeMap<String, ReadyRule>,
    /// Which volume claims of a StatefulSet an update may delete, by the StatefulSet's name. The
    /// claims of a StatefulSet without a rule stay until the instance goes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, ClaimRule>,
    /// What becomes known when objects exist: `outputs.<name>`.
    pub outputs: BTreeMap<String, Output>,
    /// Where a person manages the instance. Text with what is known from the request: parameters,
    /// `context`, `instance`, `broker`; the platform gets it with its first answer. The filter
    /// `urlencode` makes one part of a URL of a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard_url: Option<Text>,
    /// OSB's `metadata.labels` of an instance, texts as in `dashboard_url`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    /// OSB's `metadata.attributes` of an instance; texts in it are as in `dashboard_url`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// How applications get a login. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// Plans of the same offering that an instance may change to.
    pub updates_to: Vec<String>,
    /// Whether it renders objects outside of a namespace, or RBAC.
    pub scope: Scope,
    /// Allows method `database` in the platform's own namespace: whoever reads Secrets there is
    /// admin of the database.
    pub tenant_is_admin: bool,
    /// Asks for the ClusterRole of mongo-bootstrap for its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
}

/// A price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Amounts by currency: `{usd: 99.0}`.
    pub amount: BTreeMap<String, f64>,
    /// What it is for: `MONTHLY`, `1GB of storage`.
    pub unit: String,
}

/// Where the objects of an instance live.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// In one made for the instance and deleted with it.
    #[default]
    Own,
    /// In one that exists: `{shared: NAME}`.
    Shared(String),
    /// In the one that a Kubernetes platform names.
    Context,
}

/// A level of Kubernetes' Pod Security Standards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Hardened pods only.
    #[default]
    Restricted,
    /// No known ways to more rights.
    Baseline,
    /// Anything: such a pod can own its node.
    Privileged,
}

impl PodSecurity {
    /// The value of the label `pod-security.kubernetes.io/enforce`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Baseline => "baseline",
            Self::Privileged => "privileged",
        }
    }

    /// Whether it is the level that needs no exception.
    pub fn is_restricted(&self) -> bool {
        *self == Self::Restricted
    }
}

/// When an operation (provision, update, deprovision) has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Deadline {
    /// After so long without progress. Progress is a change of what a poll says: an object's
    /// readiness message. Default: 20m, or `total` if that is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// After so long in any case, at most 7d. The catalog's `maximum_polling_duration` is 3
    /// minutes more, so that the platform still reads why.
    pub total: Duration,
}

impl Deadline {
    const IDLE: Duration = Duration::from_secs(20 * 60);
    const TOTAL: Duration = Duration::from_secs(12 * 3600);

    /// How long an operation may go without progress.
    pub fn idle(&self) -> Duration {
        self.idle.unwrap_or_else(|| Self::IDLE.min(self.total))
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self {
            idle: None,
            total: Self::TOTAL,
        }
    }
}

/// What happens to the data in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Deletion {
    /// How long data outlives a deprovision. Default: it goes at once.
    pub retain: Duration,
}

/// Whether an instance is ready at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Provision {
    /// No: the platform polls.
    #[default]
    Async,
    /// Yes: a few objects that need no waiting.
    Sync,
}

/// A Secret of the broker's operator, in the namespace of plans. Its content is in no bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SecretInput {
    /// The Secret's name.
    pub name: String,
}

/// When an object is ready. The library adds the check of observedGeneration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ReadyRule {
    /// True when it is ready. Default: the shipped rule's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Expression>,
    /// True when it will never be. Default: the shipped rule's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Expression>,
    /// What a poll says meanwhile. Default: the shipped rule's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
}

/// When the volume claims of a StatefulSet's pod are deleted: after an update, and before an
/// update that starts a pod of the same number again, so that it never starts with old data.
/// Pods leave from the highest number down: a claim stays if a pod above it has not left. The
/// StatefulSet keeps `persistentVolumeClaimRetentionPolicy.whenScaled: Retain`, so that
/// `kubectl scale` deletes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClaimRule {
    /// The object of the plan that tells, as `Kind/name`. While it is absent nothing is deleted.
    pub report: String,
    /// Whether the pod number `ordinal` has left the database for good, by what `object`, the
    /// report as it is in the cluster, says: true deletes the pod's claims, false keeps them. If
    /// it is undefined nothing is deleted, and an update that starts that pod again waits.
    pub left: Expression,
}

/// What becomes known when objects exist.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Output {
    /// A list: `value` for each `item` of what the expression `each` gives.
    Each {
        /// An expression that gives a list.
        each: Expression,
        /// Text for one item.
        value: Text,
    },
    /// One value: text is as in templates (literal without braces, typed if it is exactly one
    /// `{{ … }}`), anything else is itself.
    Value(Value),
}

/// Whether a plan stays inside a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Yes.
    #[default]
    Namespace,
    /// No: it renders cluster-scoped objects or RBAC, and the installer works it.
    Cluster,
}

/// Asks for the ClusterRole of mongo-bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The ServiceAccount of the pods, in the instance's namespace.
    pub service_account: String,
}

fn version<'de, D: Deserializer<'de>>(from: D) -> Result<Option<semver::Version>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let parsed = text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is not a semantic version: three numbers, such as \"1.0.0\""
        ))
    });
    parsed.map(Some)
}
