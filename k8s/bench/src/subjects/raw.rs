//! The baseline of instances: what any client of the API server has to send.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{at_once, id};
use crate::plans;

const LABEL: &str = "mongodb-osb-bench";
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at what all namespaces have: the looks are work of the API
/// server, too, which is charged to what is measured.
const LOOK: Duration = Duration::from_millis(500);
/// What is waited for must have come by then.
const LIMIT: Duration = Duration::from_secs(300);

/// Makes a namespace and applies the objects; returns its name.
pub(crate) async fn apply(client: &Client) -> anyhow::Result<String> {
    let name = id("raw");
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {LABEL: "raw"}}
    }))?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .context("make a namespace")?;
    apply_into(client, &name, "none").await?;
    Ok(name)
}

/// Applies the objects in a namespace that exists.
pub(crate) async fn apply_into(client: &Client, namespace: &str, note: &str) -> anyhow::Result<()> {
    let params = PatchParams::apply("bench");
    for object in plans::objects(note) {
        let object: DynamicObject = serde_json::from_value(object)?;
        let types = object.types.as_ref().context("no kind")?;
        let gvk = kube::core::GroupVersionKind::try_from(types).context("a kind")?;
        let resource = ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let name = object.metadata.name.clone().unwrap_or_default();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("apply {}/{name}", gvk.kind))?;
    }
    Ok(())
}

/// So many of them, by so many clients; the namespaces and how long it took.
pub(crate) async fn apply_all(
    client: &Client,
    count: usize,
    clients: usize,
) -> anyhow::Result<(Vec<String>, Duration)> {
    at_once(0..count, clients, async |_| apply(client).await).await
}

/// Waits until the cluster's controllers have given each namespace what they
/// give it: work that a measurement leaves to the next one otherwise.
pub(crate) async fn settled(client: &Client) -> anyhow::Result<()> {
    let all = ListParams::default();
    let accounts = ListParams::default().fields("metadata.name=default");
    let authorities = ListParams::default().fields("metadata.name=kube-root-ca.crt");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let (account, authority): (Api<ServiceAccount>, Api<ConfigMap>) =
        (Api::all(client.clone()), Api::all(client.clone()));
    let began = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let wanted = namespaces.list_metadata(&all).await?.items.len();
        if account.list_metadata(&accounts).await?.items.len() >= wanted
            && authority.list_metadata(&authorities).await?.items.len() >= wanted
        {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "the controllers do not catch up");
    }
}

/// Deletes the namespaces, so many at a time, and waits until they are gone; how
/// long it took.
pub(crate) async fn delete_all(
    client: &Client,
    names: &[String],
    clients: usize,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let delete = async |name: &String| {
        let deleted = namespaces.delete(name, &DeleteParams::default()).await;
        deleted.map(drop).context("delete a namespace")
    };
    at_once(names, clients, delete).await?;
    let params = ListParams::default().labels(&format!("{LABEL}=raw"));
    while !namespaces.list_metadata(&params).await?.items.is_empty() {
        ensure!(began.elapsed() < LIMIT, "the namespaces are not gone");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(began.elapsed())
}
