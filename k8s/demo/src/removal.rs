//! Removes the broker that the demo or Tilt deployed on a user's cluster: what
//! carries their label, and what that broker made; nothing else unless forced.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context as _, ensure};
use cluster::names::State;
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::Deployment,
        core::v1::{Namespace, Pod},
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

use crate::{
    deploy::{DEMO, LABEL, NAMESPACE, TILT},
    occupancy::{self, KINDS},
    transcript::Transcript,
};

const LIMIT: Duration = Duration::from_secs(180);
/// On every object of k8s/base.
const PART_OF: &str = "app.kubernetes.io/part-of=mongodb-osb";

/// Which brokers may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Those that the demo or Tilt deployed.
    Ours,
    /// Whoever deployed it.
    Anybodys,
}

/// Removes everything, tells what it finds and does, and waits until it is
/// gone. `context` is how the user calls the cluster. Safe to repeat.
pub async fn remove(
    client: &Client,
    context: &str,
    whose: Whose,
    transcript: &Transcript,
) -> anyhow::Result<()> {
    let found = occupancy::find(client).await?;
    if whose == Whose::Ours {
        found.refuse_removal(context)?;
    }
    let removal = Removal { client, transcript };
    let mut removed = 0;
    if found.has_namespace {
        removed += removal.end_the_broker(&found.deployers()).await?;
    }
    for selector in selectors(whose) {
        removed += removal.delete_all(&selector).await?;
    }
    transcript.line(&match removed {
        0 => format!("there is nothing of the broker in {context}"),
        1 => format!("1 object removed from {context}"),
        several => format!("{several} objects removed from {context}"),
    });
    Ok(())
}

fn selectors(whose: Whose) -> Vec<String> {
    let ours = format!("{LABEL} in ({DEMO},{TILT})");
    match whose {
        Whose::Ours => vec![ours],
        Whose::Anybodys => vec![ours, PART_OF.to_owned()],
    }
}

struct Removal<'a> {
    client: &'a Client,
    transcript: &'a Transcript,
}

impl Removal<'_> {
    /// Stops the broker and removes what it made: records and instances'
    /// namespaces. Returns how many objects those were.
    async fn end_the_broker(&self, deployers: &str) -> anyhow::Result<usize> {
        self.transcript.line(&format!(
            "the broker in the namespace {NAMESPACE}, deployed by {deployers}"
        ));
        self.stop_the_broker().await?;
        let released = self.release_records().await?;
        // Another broker's instances name another namespace.
        let made = format!(
            "{}={},{}={NAMESPACE}",
            cluster::names::MANAGED_BY,
            cluster::names::MANAGER,
            cluster::names::BROKER
        );
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        Ok(released + self.delete_labelled(&namespaces, &made).await?)
    }

    /// So that it does not make again what is being removed.
    async fn stop_the_broker(&self) -> anyhow::Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let parameters = ListParams::default();
        deployments
            .delete_collection(&DeleteParams::background(), &parameters)
            .await
            .context("stop the broker")?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
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

    /// The records have finalizers, which wait for a broker that is gone.
    async fn release_records(&self) -> anyhow::Result<usize> {
        let mut released = 0;
        for (kind, state) in KINDS.into_iter().zip([State::Instances, State::Bindings]) {
            let namespace = state.namespace(NAMESPACE);
            let gvk = GroupVersionKind::gvk(cluster::names::GROUP, cluster::names::VERSION, kind);
            let api: Api<DynamicObject> = Api::namespaced_with(
                self.client.clone(),
                &namespace,
                &ApiResource::from_gvk(&gvk),
            );
            let records = occupancy::records(self.client, kind).await?;
            let here = records
                .iter()
                .filter(|record| record.namespace().as_ref() == Some(&namespace));
            for record in here {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                match api
                    .patch(&record.name_any(), &PatchParams::default(), &patch)
                    .await
                {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    Err(error) => return Err(error).context("release a record"),
                }
                self.transcript
                    .line(&format!("  removing {kind} {}", record.name_any()));
                released += 1;
            }
        }
        Ok(released)
    }

    async fn delete_all(&self, selector: &str) -> anyhow::Result<usize> {
        let client = || self.client.clone();
        let mut deleted = self
            .delete_labelled(&Api::<Namespace>::all(client()), selector)
            .await?;
        if self.no_records_are_left().await? {
            let definitions = Api::<CustomResourceDefinition>::all(client());
            deleted += self.delete_labelled(&definitions, selector).await?;
        }
        deleted += self
            .delete_labelled(&Api::<ClusterRoleBinding>::all(client()), selector)
            .await?;
        deleted += self
            .delete_labelled(&Api::<ClusterRole>::all(client()), selector)
            .await?;
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client());
        deleted += self.delete_labelled(&bindings, selector).await?;
        let policies = Api::<ValidatingAdmissionPolicy>::all(client());
        deleted += self.delete_labelled(&policies, selector).await?;
        Ok(deleted)
    }

    /// With the definitions the records of a broker in another namespace would go.
    async fn no_records_are_left(&self) -> anyhow::Result<bool> {
        for kind in KINDS {
            if let Some(record) = occupancy::records(self.client, kind).await?.first() {
                self.transcript.line(&format!(
                    "  the definitions of the broker's kinds stay: the namespace {} has records of another broker",
                    record.namespace().unwrap_or_default()
                ));
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn delete_labelled<K>(&self, api: &Api<K>, selector: &str) -> anyhow::Result<usize>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let parameters = ListParams::default().labels(selector);
        let kind = K::kind(&());
        // One by one: namespaces have no deletion by collection.
        let mut deleted = 0;
        for object in api
            .list(&parameters)
            .await
            .with_context(|| format!("list {kind}"))?
        {
            let name = object.name_any();
            self.transcript.line(&format!("  removing {kind} {name}"));
            match api.delete(&name, &DeleteParams::background()).await {
                Ok(_) => deleted += 1,
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("delete {kind} {name}"));
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
        .await?;
        Ok(deleted)
    }
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
