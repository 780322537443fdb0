//! What is done to a replica set: changes that the broker is asked for, and harm.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use demo::{
    members::Report,
    scenario::{LARGER_PLAN, PLAN, succeed},
};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Trial;

const LIMIT: Duration = Duration::from_secs(120);
/// For how long the node takes no pods.
const CORDONED: Duration = Duration::from_secs(12);

const MONGOD: &str = "mongod";
const BOOTSTRAP: &str = "bootstrap";

/// A change or a harm, and the moment of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Grow,
    PrimaryOnCordonedNode,
    MembersDisk,
    FirstMembersDisk,
    PrimaryCrash,
    TwoMembers,
    RollingRestart,
    Shrink,
}

impl Fault {
    pub(super) const ALL: [Self; 8] = [
        Self::Grow,
        Self::PrimaryOnCordonedNode,
        Self::MembersDisk,
        Self::FirstMembersDisk,
        Self::PrimaryCrash,
        Self::TwoMembers,
        Self::RollingRestart,
        Self::Shrink,
    ];

    /// What happens, and when.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Grow => (
                "plan change 1 -> 3, mongo-bootstrap of the primary killed",
                "when member 1 is in the set and has no vote yet",
            ),
            Self::PrimaryOnCordonedNode => (
                "primary's pod killed, its disk kept",
                "while its node takes no pods for a while",
            ),
            Self::MembersDisk => ("pod and disk of a secondary lost", "all members in"),
            Self::FirstMembersDisk => (
                "pod and disk of member 0 lost, its mongo-bootstrap killed",
                "as soon as that runs again",
            ),
            Self::PrimaryCrash => ("primary's mongod killed by SIGKILL", "all members in"),
            Self::TwoMembers => (
                "two mongods killed by SIGKILL at once",
                "the primary is one of them",
            ),
            Self::RollingRestart => (
                "rolling restart by a parameter, mongo-bootstrap of the primary killed",
                "when the first pod restarts",
            ),
            Self::Shrink => (
                "plan change 3 -> 1, mongo-bootstrap of the primary killed",
                "when the first member has left the set",
            ),
        }
    }

    /// How many members there are afterwards.
    pub(super) fn members(self) -> usize {
        match self {
            Self::Shrink => 1,
            _ => 3,
        }
    }

    pub(super) async fn happen(self, trial: &Trial<'_>) -> anyhow::Result<()> {
        match self {
            Self::Grow => {
                trial
                    .change_plan(LARGER_PLAN, |report| report.members.contains(&1))
                    .await
            }
            Self::PrimaryOnCordonedNode => trial.primary_on_cordoned_node().await,
            Self::MembersDisk => {
                let primary = trial.members.primary().await?;
                // Member 0 has a case of its own.
                let secondary = if primary == 2 { 1 } else { 2 };
                trial.lose_disk(secondary).await
            }
            Self::FirstMembersDisk => {
                trial.lose_disk(0).await?;
                trial.kill(0, BOOTSTRAP).await
            }
            Self::PrimaryCrash => trial.kill(trial.members.primary().await?, MONGOD).await,
            Self::TwoMembers => {
                let primary = trial.members.primary().await?;
                let (one, two) = tokio::join!(
                    trial.kill(primary, MONGOD),
                    trial.kill((primary + 1) % 3, MONGOD)
                );
                one.and(two)
            }
            Self::RollingRestart => trial.rolling_restart().await,
            Self::Shrink => {
                trial
                    .change_plan(PLAN, |report| {
                        report.desired == 1 && report.members.len() < 3
                    })
                    .await
            }
        }
    }
}

impl Trial<'_> {
    async fn change_plan(
        &self,
        plan: &str,
        moment: impl Fn(&Report) -> bool,
    ) -> anyhow::Result<()> {
        let offer = self.fixture.offer(plan).await?;
        let osb = &self.fixture.osb;
        let answer = osb
            .change_plan(&self.instance, &offer)
            .await?
            .expect(&[202])?;
        let report = self.members.reported("the moment to kill", moment).await?;
        self.kill(report.primary_ordinal.unwrap_or_default(), BOOTSTRAP)
            .await?;
        succeed(osb, &self.instance, answer.operation()).await?;
        let shown = osb.instance(&self.instance).await?.expect(&[200])?;
        ensure!(
            shown.text("plan_id") == Some(&offer.plan_id),
            "the instance shows the plan {}",
            shown.body["plan_id"]
        );
        Ok(())
    }

    async fn rolling_restart(&self) -> anyhow::Result<()> {
        let offer = self.fixture.offer(LARGER_PLAN).await?;
        let osb = &self.fixture.osb;
        let change = json!({"slow_ms": 250});
        let answer = osb
            .update(&self.instance, &offer, &change)
            .await?
            .expect(&[202])?;
        self.unready().await?;
        self.kill(self.members.primary().await?, BOOTSTRAP).await?;
        succeed(osb, &self.instance, answer.operation()).await
    }

    /// Waits until a member is away.
    async fn unready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIMIT;
        while self.members.ready().await? == 3 {
            ensure!(Instant::now() < deadline, "no member was restarted");
            sleep(Duration::from_millis(250)).await;
        }
        Ok(())
    }

    async fn primary_on_cordoned_node(&self) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.fixture.stage.place.client.clone());
        let node = nodes
            .list(&ListParams::default())
            .await?
            .items
            .pop()
            .context("there is no node")?
            .name_any();
        let cordon = async |unschedulable: bool| {
            let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
            nodes.patch(&node, &PatchParams::default(), &patch).await
        };
        cordon(true).await?;
        let away = async {
            let primary = self.members.primary().await?;
            self.members.kill(primary).await?;
            let elected = self
                .members
                .reported("another primary", |report| {
                    report.primary_ordinal.is_some_and(|other| other != primary)
                })
                .await;
            sleep(CORDONED).await;
            ensure!(
                self.members.ready().await? == 2,
                "the primary's pod came back to a node that takes none"
            );
            elected
        };
        let away = away.await;
        cordon(false).await?;
        away.map(drop)
    }

    /// The claim goes with the pod, and the volume with the claim; both are made again.
    async fn lose_disk(&self, ordinal: u32) -> anyhow::Result<()> {
        let claims = self.members.api::<PersistentVolumeClaim>();
        let name = format!("data-mdb-{ordinal}");
        let before = claims.get(&name).await?.uid();
        claims.delete(&name, &DeleteParams::default()).await?;
        self.members.kill(ordinal).await?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let claim = claims.get_opt(&name).await?;
            if claim.is_some_and(|claim| claim.uid() != before) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{name} was not made again");
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Kills a container of a member, as soon as it runs.
    async fn kill(&self, ordinal: u32, container: &str) -> anyhow::Result<()> {
        let pods = self.members.api::<Pod>();
        let deadline = Instant::now() + LIMIT;
        loop {
            let pod = pods.get_opt(&format!("mdb-{ordinal}")).await?;
            if let Some(id) = pod.as_ref().and_then(|pod| running(pod, container))
                && self.cluster.kill_container(id).await.is_ok()
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{container} of member {ordinal} does not run"
            );
            sleep(Duration::from_millis(250)).await;
        }
    }
}

/// The id of a container, in a pod that is there to stay.
fn running<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    pod.status
        .as_ref()?
        .container_statuses
        .iter()
        .flatten()
        .find(|status| {
            status.name == container
                && status
                    .state
                    .as_ref()
                    .is_some_and(|state| state.running.is_some())
        })?
        .container_id
        .as_deref()
}
