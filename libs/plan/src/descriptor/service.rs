//! `service.yaml`: the offering that a provider's plans belong to.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::OfferingId;

/// The offering. A provider without a service.yaml gets all defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Its name in the catalog. Default: the provider folder's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id. Default: derived from the provider folder's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub id: Option<OfferingId>,
    /// What it is, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether plans can be bound that do not say otherwise. Default: a plan is bindable if its
    /// binding has a method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindable: Option<bool>,
    /// What applications look for.
    pub tags: Vec<String>,
    /// Permissions that the platform must give.
    pub requires: Vec<Requires>,
    /// Whether instances can be fetched.
    pub instances_retrievable: bool,
    /// Whether bindings can be fetched.
    pub bindings_retrievable: bool,
    /// Whether a PATCH may carry nothing but a context.
    pub allow_context_updates: bool,
    /// Name for people; goes into `metadata.displayName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Anything the platform may show.
    pub metadata: Map<String, Value>,
    /// Cloud Foundry's single sign-on to a dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard_client: Option<DashboardClient>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            name: None,
            id: None,
            description: None,
            bindable: None,
            tags: Vec::new(),
            requires: Vec::new(),
            instances_retrievable: true,
            bindings_retrievable: true,
            allow_context_updates: false,
            display_name: None,
            metadata: Map::new(),
            dashboard_client: None,
        }
    }
}

/// A permission that OSB knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Requires {
    /// Log drains.
    SyslogDrain,
    /// Route services.
    RouteForwarding,
    /// Volume mounts.
    VolumeMount,
}

/// Cloud Foundry's single sign-on to a dashboard. Its secret is known to every platform that
/// reads the catalog, but `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DashboardClient {
    /// The OAuth client's id.
    pub id: String,
    /// The OAuth client's secret.
    pub secret: String,
    /// Where to return to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

impl std::fmt::Debug for DashboardClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DashboardClient")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
