//! Runs the program `demo` where connections shall come from: as a container more in a pod that
//! there is, or as a pod of its own.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Namespace, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, LogParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::fixture::Fixture;

const LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The container's name, where it is the only one.
const MAIN: &str = "reach";

/// Where the program runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// In the network of this pod.
    In(&'a Pod),
    /// In a new pod in this namespace.
    New(&'a str),
}

/// Runs the program.
pub(crate) struct Prober {
    client: Client,
    image: String,
}

impl Prober {
    pub(crate) fn new(fixture: &Fixture) -> anyhow::Result<Self> {
        let images = &fixture.stage.images;
        let image = images.iter().find(|image| image.name == "demo");
        Ok(Self {
            client: fixture.stage.place.client.clone(),
            image: image.context("no image of the demo")?.reference(),
        })
    }

    /// What the program printed; an error where it failed.
    pub(crate) async fn run(&self, source: Source<'_>, args: &[String]) -> anyhow::Result<String> {
        let (pods, pod, container) = match source {
            Source::In(pod) => self.join(pod, args).await?,
            Source::New(namespace) => self.create(namespace, args).await?,
        };
        let code = ended(&pods, &pod, &container).await?;
        let params = LogParams {
            container: Some(container),
            ..LogParams::default()
        };
        let log = pods.logs(&pod, &params).await.context("read its log")?;
        ensure!(code == 0, "it ended with {code}:\n{log}");
        Ok(log)
    }

    /// The namespace, if there is one; makes it if there is none.
    pub(crate) async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name},
        });
        namespaces
            .patch(name, &PatchParams::apply("e2e"), &Patch::Apply(&namespace))
            .await
            .with_context(|| format!("make the namespace {name}"))?;
        Ok(())
    }

    pub(crate) async fn delete_namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(name, &DeleteParams::default())
            .await
            .with_context(|| format!("delete the namespace {name}"))?;
        Ok(())
    }

    async fn join(&self, pod: &Pod, args: &[String]) -> anyhow::Result<(Api<Pod>, String, String)> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        // It cannot be taken out again.
        let container = format!("{MAIN}-{}", cluster::names::random(5));
        let more = json!({"spec": {"ephemeralContainers": [self.container(&container, args)]}});
        pods.patch_ephemeral_containers(&name, &PatchParams::default(), &Patch::Strategic(more))
            .await
            .with_context(|| format!("add a container to {name}"))?;
        Ok((pods, name, container))
    }

    async fn create(
        &self,
        namespace: &str,
        args: &[String],
    ) -> anyhow::Result<(Api<Pod>, String, String)> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"generateName": "reach-"},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [self.container(MAIN, args)],
            },
        }))?;
        let name = pods
            .create(&PostParams::default(), &pod)
            .await
            .with_context(|| format!("start a pod in {namespace}"))?
            .name_any();
        Ok((pods, name, MAIN.to_owned()))
    }

    fn container(&self, name: &str, args: &[String]) -> Value {
        json!({
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        })
    }
}

/// Waits for the container's end, and tells how it ended.
async fn ended(pods: &Api<Pod>, pod: &str, container: &str) -> anyhow::Result<i32> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let status = pods.get(pod).await?.status.unwrap_or_default();
        let all = [
            status.container_statuses,
            status.ephemeral_container_statuses,
        ];
        let found = all
            .into_iter()
            .flatten()
            .flatten()
            .find(|status| status.name == container);
        if let Some(code) = found.as_ref().and_then(exit_code) {
            return Ok(code);
        }
        if Instant::now() > deadline {
            bail!("{container} in {pod} did not end: {found:?}");
        }
        sleep(LOOK_EVERY).await;
    }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// Waits until the pod's log holds this text.
pub(crate) async fn wait_for_line(client: &Client, pod: &Pod, text: &str) -> anyhow::Result<()> {
    let namespace = pod.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let deadline = Instant::now() + LIMIT;
    loop {
        let log = pods.logs(&pod.name_any(), &LogParams::default()).await?;
        if log.contains(text) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the log of {} does not say {text:?}",
            pod.name_any()
        );
        sleep(LOOK_EVERY).await;
    }
}
