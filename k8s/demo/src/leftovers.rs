//! Looks for what a deprovisioned instance left behind. Only its record, a
//! tombstone, may stay.

use anyhow::Context as _;
use cluster::names::State;
use k8s_openapi::api::{
    core::v1::{Namespace, PersistentVolume, Secret},
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};

use crate::deploy::NAMESPACE;

/// Descriptions of everything of the instance that is still there.
pub async fn of_instance(client: &Client, instance_id: &str) -> anyhow::Result<Vec<String>> {
    let record = cluster::names::instance_record(instance_id);
    let prefix = format!("mdb-{}-", cluster::names::short(&record));
    let labelled = ListParams::default().labels(&format!("{}={record}", cluster::names::INSTANCE));
    let mut found = Vec::new();

    let namespaces: Api<Namespace> = Api::all(client.clone());
    for namespace in namespaces
        .list(&labelled)
        .await
        .context("list namespaces")?
    {
        found.push(format!("namespace {}", namespace.name_any()));
    }
    let bindings: Api<RoleBinding> = Api::all(client.clone());
    for binding in bindings
        .list(&labelled)
        .await
        .context("list role bindings")?
    {
        found.push(format!("role binding {}", binding.name_any()));
    }
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    for volume in volumes
        .list(&ListParams::default())
        .await
        .context("list volumes")?
    {
        let claim = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.claim_ref.as_ref()?.namespace.as_deref());
        if claim.is_some_and(|namespace| namespace.starts_with(&prefix)) {
            found.push(format!("volume {}", volume.name_any()));
        }
    }
    for state in [State::Instances, State::Bindings] {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &state.namespace(NAMESPACE));
        for secret in secrets.list(&labelled).await.context("list Secrets")? {
            found.push(format!("Secret {}", secret.name_any()));
        }
    }
    Ok(found)
}

/// The record of the instance, which outlives it for a while.
pub async fn record(client: &Client, instance_id: &str) -> anyhow::Result<Option<DynamicObject>> {
    let kind = GroupVersionKind::gvk(
        cluster::names::GROUP,
        cluster::names::VERSION,
        "ServiceInstance",
    );
    let records: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        &State::Instances.namespace(NAMESPACE),
        &ApiResource::from_gvk(&kind),
    );
    records
        .get_opt(&cluster::names::instance_record(instance_id))
        .await
        .context("read the instance's record")
}
