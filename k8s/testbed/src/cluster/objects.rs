//! What every cluster with a node holds from the start: a default storage class, and the
//! rights of DNS, of the firewall and of the provisioner of volumes.

use k8s_openapi::api::{
    rbac::v1::{ClusterRole, ClusterRoleBinding},
    storage::v1::StorageClass,
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::error::Result;

/// Who CoreDNS is to the API server.
pub(super) const DNS_USER: &str = "system:coredns";

/// Who enforces NetworkPolicies to the API server.
pub(super) const FIREWALL_USER: &str = "system:kube-router";

/// Who the provisioner of volumes is to the API server.
pub(super) const PROVISIONER_USER: &str = "system:volume-provisioner";
/// The provisioner's name in storage classes.
pub(super) const PROVISIONER: &str = "mongodb-osb.io/host-path";

/// Creates them.
pub(super) async fn create(client: kube::Client) -> Result<()> {
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {
            "name": "standard",
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": PROVISIONER,
        "allowVolumeExpansion": false,
    }))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &class)
        .await?;
    let dns = json!([
        { "apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"] },
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
    ]);
    grant(client.clone(), DNS_USER, dns).await?;
    let firewall = json!([
        { "apiGroups": [""], "resources": ["namespaces", "pods", "services", "endpoints", "nodes"], "verbs": ["list", "watch"] },
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get"] },
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
        { "apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"] },
    ]);
    grant(client.clone(), FIREWALL_USER, firewall).await?;
    let provisioner = json!([
        { "apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["list", "watch"] },
        { "apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["list", "watch", "create", "delete"] },
        { "apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get"] },
    ]);
    grant(client, PROVISIONER_USER, provisioner).await
}

/// Gives these rights to that user.
async fn grant(client: kube::Client, user: &str, rules: Value) -> Result<()> {
    let role: ClusterRole =
        serde_json::from_value(json!({ "metadata": { "name": user }, "rules": rules }))?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": user },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user },
        "subjects": [{ "kind": "User", "name": user }],
    }))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &role)
        .await?;
    Api::all(client)
        .create(&PostParams::default(), &binding)
        .await?;
    Ok(())
}
