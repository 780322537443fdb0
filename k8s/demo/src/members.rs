//! The members behind an instance, as whoever runs the cluster sees them: to
//! look at, and to do harm to.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What the members' own mongo-bootstrap says of them.
const REPORT: &str = "mongodb-osb.io/topology-report";

/// What mongo-bootstrap says of the set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The number of members that it works towards.
    pub desired: usize,
    /// Who is in the replica set.
    pub members: Vec<u32>,
    /// The primary, if there is one.
    pub primary_ordinal: Option<u32>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members: Vec<String> = self.members.iter().map(ToString::to_string).collect();
        let members = members.join(", ");
        write!(f, "members {members} of {} wanted, ", self.desired)?;
        match self.primary_ordinal {
            Some(primary) => write!(f, "primary {primary}"),
            None => f.write_str("no primary"),
        }
    }
}

/// The namespace of an instance and what is in it.
#[derive(Clone)]
pub struct Members {
    client: Client,
    /// The instance's own namespace.
    pub namespace: String,
}

impl Members {
    /// Those of an instance that there is.
    pub async fn of_instance(client: &Client, instance_id: &str) -> anyhow::Result<Self> {
        let record = cluster::names::instance_record(instance_id);
        let labelled =
            ListParams::default().labels(&format!("{}={record}", cluster::names::INSTANCE));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = namespaces
            .list(&labelled)
            .await
            .context("look for the instance's namespace")?
            .items
            .pop()
            .context("the instance has no namespace")?;
        Ok(Self {
            client: client.clone(),
            namespace: namespace.name_any(),
        })
    }

    /// Objects of a kind in the instance's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What was last reported; nothing of a set that is not there yet.
    pub async fn report(&self) -> anyhow::Result<Report> {
        let topology = self
            .api::<ConfigMap>()
            .get("mdb-topology")
            .await
            .context("read the topology")?;
        let text = topology.annotations().get(REPORT);
        Ok(text
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default())
    }

    /// Waits for a report like that.
    pub async fn reported(
        &self,
        what: &str,
        like: impl Fn(&Report) -> bool,
    ) -> anyhow::Result<Report> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let report = self.report().await?;
            if like(&report) {
                return Ok(report);
            }
            ensure!(
                Instant::now() < deadline,
                "waited {} s for {what}; the last report: {report}",
                LIMIT.as_secs()
            );
            sleep(LOOK_EVERY).await;
        }
    }

    /// The primary.
    pub async fn primary(&self) -> anyhow::Result<u32> {
        let report = self
            .reported("a primary", |report| report.primary_ordinal.is_some())
            .await?;
        report.primary_ordinal.context("there is no primary")
    }

    /// Deletes a member's pod without time to say farewell. Its disk stays.
    pub async fn kill(&self, ordinal: u32) -> anyhow::Result<()> {
        let at_once = DeleteParams::default().grace_period(1);
        self.api::<Pod>()
            .delete(&format!("mdb-{ordinal}"), &at_once)
            .await
            .with_context(|| format!("delete the pod of member {ordinal}"))?;
        Ok(())
    }

    /// How many members are ready.
    pub async fn ready(&self) -> anyhow::Result<usize> {
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .context("list the members' pods")?;
        Ok(pods.iter().filter(|pod| is_ready(pod)).count())
    }

    /// Waits until so many members are in the set, one of them primary, and all are ready.
    pub async fn whole(&self, members: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let report = self.report().await?;
            let ready = self.ready().await?;
            if ready == members
                && report.members.len() == members
                && report.primary_ordinal.is_some()
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{ready} of {members} members are ready after {} s; the last report: {report}",
                LIMIT.as_secs()
            );
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether a pod is there to stay and ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
