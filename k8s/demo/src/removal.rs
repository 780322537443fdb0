//! Removes the demo from a user's cluster: what carries its label, and what
//! its broker made; nothing else.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context as _, ensure};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        core::v1::Namespace,
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    },
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::deploy::{DEMO, LABEL, NAMESPACE};

const LIMIT: Duration = Duration::from_secs(180);

/// Removes everything, and waits until it is gone. Safe to repeat.
pub async fn remove(client: &Client) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = namespaces
        .get_opt(NAMESPACE)
        .await
        .context("look for the broker's namespace")?;
    let demo = format!("{LABEL}={DEMO}");
    // Another broker's instances carry the same label: they go only with a broker that is the demo's.
    if ours.is_some_and(|namespace| {
        namespace
            .labels()
            .get(LABEL)
            .is_some_and(|value| value == DEMO)
    }) {
        stop_the_broker(client).await?;
        release_records(client).await?;
        let made = format!("{}={}", cluster::names::MANAGED_BY, cluster::names::MANAGER);
        delete_labelled(&namespaces, &made).await?;
    }
    delete_labelled(&namespaces, &demo).await?;
    delete_labelled(&Api::<CustomResourceDefinition>::all(client.clone()), &demo).await?;
    delete_labelled(&Api::<ClusterRoleBinding>::all(client.clone()), &demo).await?;
    delete_labelled(&Api::<ClusterRole>::all(client.clone()), &demo).await?;
    delete_labelled(
        &Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()),
        &demo,
    )
    .await?;
    delete_labelled(
        &Api::<ValidatingAdmissionPolicy>::all(client.clone()),
        &demo,
    )
    .await
}

/// So that nobody makes again what is being removed.
async fn stop_the_broker(client: &Client) -> anyhow::Result<()> {
    use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let parameters = ListParams::default();
    deployments
        .delete_collection(&DeleteParams::background(), &parameters)
        .await
        .context("stop the broker")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    until("the broker's pods to end", async || {
        Ok(pods
            .list(&parameters)
            .await
            .context("list pods")?
            .items
            .is_empty())
    })
    .await
}

/// The records wait for a broker that is gone.
async fn release_records(client: &Client) -> anyhow::Result<()> {
    for kind in ["ServiceInstance", "ServiceBinding"] {
        let kind = GroupVersionKind::gvk(cluster::names::GROUP, cluster::names::VERSION, kind);
        let records: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind));
        let list = match records.list(&ListParams::default()).await {
            Ok(list) => list,
            Err(kube::Error::Api(status)) if status.is_not_found() => continue,
            Err(error) => return Err(error).context("list records"),
        };
        for record in list {
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            match records
                .patch(&record.name_any(), &PatchParams::default(), &patch)
                .await
            {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error).context("release a record"),
            }
        }
    }
    Ok(())
}

async fn delete_labelled<K>(api: &Api<K>, selector: &str) -> anyhow::Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let parameters = ListParams::default().labels(selector);
    let kind = K::kind(&());
    // One by one: namespaces have no deletion by collection.
    for object in api
        .list(&parameters)
        .await
        .with_context(|| format!("list {kind}"))?
    {
        match api
            .delete(&object.name_any(), &DeleteParams::background())
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                return Err(error).with_context(|| format!("delete {kind} {}", object.name_any()));
            }
        }
    }
    until(&format!("each {kind} with {selector} to go"), async || {
        Ok(api
            .list(&parameters)
            .await
            .with_context(|| format!("list {kind}"))?
            .items
            .is_empty())
    })
    .await
}

async fn until(what: &str, done: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !done().await? {
        ensure!(
            Instant::now() < deadline,
            "waited {} s for {what}",
            LIMIT.as_secs()
        );
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}
