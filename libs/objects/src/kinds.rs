//! Which kinds the cluster serves: from apiVersion and kind to an [`Api`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use cluster::error::{Error, call};
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, GroupVersionKind},
    discovery::{Scope, pinned_kind},
};
use serde_json::Value;

/// A kind as the cluster serves it.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Names and plural.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// The API of this kind, in `namespace` if it is namespaced.
    pub fn api(&self, client: Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced {
            Api::namespaced_with(client, namespace, &self.resource)
        } else {
            Api::all_with(client, &self.resource)
        }
    }
}

/// Looks kinds up once and remembers them. What is unknown is asked again each
/// time: its CRD may come.
#[derive(Clone)]
pub struct Kinds {
    client: Client,
    known: Arc<Mutex<HashMap<GroupVersionKind, Kind>>>,
}

impl std::fmt::Debug for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kinds").finish_non_exhaustive()
    }
}

impl Kinds {
    /// Looks up with `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            known: Arc::default(),
        }
    }

    /// The client underneath.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The kind of that group, version and name.
    pub async fn get(&self, gvk: &GroupVersionKind) -> Result<Kind, Error> {
        if let Some(kind) = self.lock().get(gvk) {
            return Ok(kind.clone());
        }
        let (resource, capabilities) = match call(pinned_kind(&self.client, gvk)).await {
            Ok(found) => found,
            // The group, or the kind in it, is not served.
            Err(Error::NotFound | Error::NotServed | Error::Other(kube::Error::Discovery(_))) => {
                return Err(Error::UnknownKind(text(gvk)));
            }
            Err(error) => return Err(error),
        };
        let kind = Kind {
            resource,
            namespaced: capabilities.scope == Scope::Namespaced,
        };
        self.lock().insert(gvk.clone(), kind.clone());
        Ok(kind)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GroupVersionKind, Kind>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Group, version and kind of a manifest.
pub fn of_manifest(object: &Value) -> Option<GroupVersionKind> {
    let (version, kind) = (
        object.get("apiVersion")?.as_str()?,
        object.get("kind")?.as_str()?,
    );
    Some(parse(version, kind))
}

/// Groups of the API server's own kinds, whose controllers need nothing but the
/// object itself to clean up after it.
const BUILT_IN: [&str; 7] = [
    "",
    "apps",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
];

/// Whether a kind is one of the API server's own, served by no CRD.
pub fn is_built_in(gvk: &GroupVersionKind) -> bool {
    BUILT_IN.contains(&gvk.group.as_str())
}

/// Group, version and kind from an apiVersion and a kind.
pub fn parse(api_version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, kind)
}

fn text(gvk: &GroupVersionKind) -> String {
    format!("{}, kind {}", gvk.api_version(), gvk.kind)
}
