//! The second act: an instance grows from one member to three while an app
//! writes, and loses a replica of the broker and its own primary on the way.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

use super::{LARGER_PLAN, PLAN, SERVICE, gone, parameters, succeed};
use crate::{
    app_pod::{Apps, Writer},
    deploy::NAMESPACE,
    members::Members,
    osb::{Client, Offer},
    transcript::{Transcript, duration},
};

const APP: &str = "writing-app";
/// So many more writes show that it goes on.
const ENOUGH: u64 = 20;

/// The second act, on an instance of its own.
pub struct Growth {
    /// The broker.
    pub osb: Client,
    /// The apps.
    pub apps: Apps,
    /// The cluster, to do harm to.
    pub cluster: kube::Client,
    /// What a person reads.
    pub transcript: Transcript,
    /// Instance id; the binding is named after it.
    pub instance: String,
}

impl Growth {
    /// All of it; the first step that fails ends it.
    pub async fn run(&self) -> anyhow::Result<()> {
        let (small, medium) = self.offers().await?;
        self.step(1, "provision one member", self.provision(&small))
            .await?;
        let writer = self
            .step(
                2,
                "bind an app that writes all the while",
                self.bind(&small),
            )
            .await?;
        self.step(
            3,
            "grow to three members, and kill a provisioner on the way",
            self.grow(&medium, &writer),
        )
        .await?;
        self.step(
            4,
            "kill the primary: another takes over",
            self.lose_primary(&writer),
        )
        .await?;
        self.step(
            5,
            "shrink to one member again",
            self.shrink(&small, &writer),
        )
        .await?;
        self.step(6, "deprovision", self.deprovision(&small, writer))
            .await
    }

    async fn step<T>(
        &self,
        number: usize,
        title: &str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        self.transcript
            .step(number, 6, &format!("second act: {title}"));
        let began = Instant::now();
        let done = work
            .await
            .with_context(|| format!("second act, step {number}, {title}"))?;
        self.transcript
            .note(&format!("ok, {}", duration(began.elapsed())));
        Ok(done)
    }

    async fn offers(&self) -> anyhow::Result<(Offer, Offer)> {
        let answer = self.osb.catalog().await?.expect(&[200])?;
        let find = |plan: &str| {
            Offer::find(&answer.body, SERVICE, plan)
                .with_context(|| format!("the catalog has no {SERVICE}/{plan}"))
        };
        Ok((find(PLAN)?, find(LARGER_PLAN)?))
    }

    async fn provision(&self, small: &Offer) -> anyhow::Result<()> {
        let answer = self
            .osb
            .provision(&self.instance, small, &parameters())
            .await?
            .expect(&[202])?;
        succeed(&self.osb, &self.instance, answer.operation()).await
    }

    async fn bind(&self, small: &Offer) -> anyhow::Result<Writer> {
        let binding = format!("{}-{APP}", self.instance);
        let answer = self
            .osb
            .bind(&self.instance, &binding, small, &json!({}))
            .await?
            .expect(&[201])?;
        let uri = answer.body["credentials"]["uri"]
            .as_str()
            .context("the binding has no uri")?;
        self.apps.give(APP, uri).await?;
        let writer = self.apps.start_writer(APP).await?;
        self.tell(&writer, 0).await?;
        Ok(writer)
    }

    async fn grow(&self, medium: &Offer, writer: &Writer) -> anyhow::Result<()> {
        let seen = writer.counts().await?.len();
        let answer = self
            .osb
            .change_plan(&self.instance, medium)
            .await?
            .expect(&[202])?;
        let killed = self.kill_a_provisioner().await?;
        self.transcript.note(&format!("killed {killed}"));
        succeed(&self.osb, &self.instance, answer.operation()).await?;
        let members = self.members().await?;
        members.whole(3).await?;
        self.transcript
            .note(&format!("{} members are ready", members.ready().await?));
        self.tell(writer, seen).await
    }

    /// One of three: the others take its work over.
    async fn kill_a_provisioner(&self) -> anyhow::Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.clone(), NAMESPACE);
        let provisioners = ListParams::default().labels("app.kubernetes.io/name=provisioner-svc");
        let pod = pods
            .list(&provisioners)
            .await
            .context("list the provisioners")?
            .items
            .pop()
            .context("there is no provisioner")?
            .name_any();
        pods.delete(&pod, &DeleteParams::default().grace_period(0))
            .await
            .context("kill a provisioner")?;
        Ok(pod)
    }

    async fn lose_primary(&self, writer: &Writer) -> anyhow::Result<()> {
        let seen = writer.counts().await?.len();
        let members = self.members().await?;
        let primary = members.primary().await?;
        members.kill(primary).await?;
        self.transcript
            .note(&format!("killed member {primary}, the primary"));
        let report = members
            .reported("another primary", |report| {
                report.primary_ordinal.is_some_and(|other| other != primary)
            })
            .await?;
        if let Some(other) = report.primary_ordinal {
            self.transcript
                .note(&format!("member {other} is the primary now"));
        }
        self.tell(writer, seen).await?;
        members.whole(3).await
    }

    async fn shrink(&self, small: &Offer, writer: &Writer) -> anyhow::Result<()> {
        let seen = writer.counts().await?.len();
        let answer = self
            .osb
            .change_plan(&self.instance, small)
            .await?
            .expect(&[202])?;
        succeed(&self.osb, &self.instance, answer.operation()).await?;
        self.members().await?.whole(1).await?;
        self.tell(writer, seen).await
    }

    async fn deprovision(&self, small: &Offer, writer: Writer) -> anyhow::Result<()> {
        writer.stop().await?;
        let answer = self
            .osb
            .deprovision(&self.instance, small)
            .await?
            .expect(&[202])?;
        succeed(&self.osb, &self.instance, answer.operation()).await?;
        gone(&self.cluster, &self.instance).await
    }

    async fn members(&self) -> anyhow::Result<Members> {
        Members::of_instance(&self.cluster, &self.instance).await
    }

    /// Waits until the app has gone on writing, and shows its counts.
    async fn tell(&self, writer: &Writer, seen: usize) -> anyhow::Result<()> {
        let progress = writer.progress(seen, ENOUGH).await?;
        self.transcript.note(&format!(
            "{APP}: {} writes acknowledged, all of them found; {} errors, and no wait longer than {}",
            progress.acknowledged,
            progress.errors,
            duration(progress.longest)
        ));
        ensure!(
            progress.longest < Duration::from_secs(60),
            "the app had to wait too long"
        );
        Ok(())
    }
}
