//! What every cluster with a node holds from the start: a default storage class, DNS's rights.

use k8s_openapi::api::{
    rbac::v1::{ClusterRole, ClusterRoleBinding},
    storage::v1::StorageClass,
};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::error::Result;

/// Who CoreDNS is to the API server.
pub(super) const DNS_USER: &str = "system:coredns";

/// Creates them.
pub(super) async fn create(client: kube::Client) -> Result<()> {
    let params = PostParams::default();
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {
            "name": "standard",
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": "kubernetes.io/host-path",
        "allowVolumeExpansion": false,
    }))?;
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": { "name": DNS_USER },
        "rules": [
            { "apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"] },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
        ],
    }))?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": DNS_USER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DNS_USER },
        "subjects": [{ "kind": "User", "name": DNS_USER }],
    }))?;
    Api::all(client.clone()).create(&params, &class).await?;
    Api::all(client.clone()).create(&params, &role).await?;
    Api::all(client).create(&params, &binding).await?;
    Ok(())
}
