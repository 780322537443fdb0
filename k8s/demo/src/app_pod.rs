//! Runs the app in the cluster: a namespace of its own, a Secret with the
//! binding's URI, a pod that ends.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, LogParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    app::Outcome,
    deploy::{DEMO, LABEL},
    writer::{Count, Progress},
};

/// Where apps live.
pub const NAMESPACE: &str = "demo-app";

/// An app that asks where it has no business.
const STRANGER: &str = "stranger";

const LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const MANAGER: &str = "mongodb-osb-demo";

/// Runs apps.
#[derive(Clone)]
pub struct Apps {
    client: Client,
    image: String,
}

/// What a run of the app came to.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// What it said.
    pub log: String,
}

impl Apps {
    /// Apps that run this image. Makes their namespace.
    pub async fn prepare(client: Client, image: impl Into<String>) -> anyhow::Result<Self> {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {LABEL: DEMO, "pod-security.kubernetes.io/enforce": "restricted"},
            },
        });
        namespaces
            .patch(
                NAMESPACE,
                &PatchParams::apply(MANAGER),
                &Patch::Apply(&namespace),
            )
            .await
            .context("make the apps' namespace")?;
        Ok(Self {
            client,
            image: image.into(),
        })
    }

    /// Gives the app the URI of a binding, as a platform does.
    pub async fn give(&self, app: &str, uri: &str) -> anyhow::Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": app, "labels": {LABEL: DEMO}},
            "stringData": {"uri": uri},
        });
        let parameters = PatchParams::apply(MANAGER).force();
        secrets
            .patch(app, &parameters, &Patch::Apply(&secret))
            .await
            .with_context(|| format!("give {app} its URI"))?;
        Ok(())
    }

    /// Runs the app once: it writes and reads the document with this id.
    pub async fn run(&self, app: &str, document: &str) -> anyhow::Result<Run> {
        let pod = pod(app, &self.image, &["app", "--document", document]);
        let (code, log) = self.run_pod(app, pod).await?;
        Ok(Run {
            outcome: Outcome::from_exit_code(code),
            log,
        })
    }

    /// Tries to connect from a pod of the apps' namespace; what it found, a line each.
    pub async fn reach(&self, open: &[String], closed: &[String]) -> anyhow::Result<String> {
        let mut args = vec!["reach", "--seconds", "10"];
        for (option, addresses) in [("--open", open), ("--closed", closed)] {
            args.extend(addresses.iter().flat_map(|address| [option, address]));
        }
        let pod = bare(STRANGER, &self.image, &args);
        Ok(self.run_pod(STRANGER, pod).await?.1)
    }

    /// Runs a pod to its end, and takes it away; how it ended, and what it said.
    async fn run_pod(&self, app: &str, pod: Value) -> anyhow::Result<(i32, String)> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pod: Pod = serde_json::from_value(pod).context("describe a pod")?;
        let name = pods
            .create(&PostParams::default(), &pod)
            .await
            .with_context(|| format!("start {app}"))?
            .name_any();
        let ended = self.ended(&pods, &name).await;
        let log = pods
            .logs(&name, &LogParams::default())
            .await
            .unwrap_or_default();
        pods.delete(&name, &DeleteParams::default())
            .await
            .context("delete the app's pod")?;
        let code = ended.with_context(|| format!("run {app}; its log: {}", log.trim()))?;
        Ok((code, log.trim().to_owned()))
    }

    /// Starts the app that writes all the while, and waits for its first count.
    pub async fn start_writer(&self, app: &str) -> anyhow::Result<Writer> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pod: Pod = serde_json::from_value(pod(app, &self.image, &["write", "--series", app]))
            .context("describe a pod")?;
        let name = pods
            .create(&PostParams::default(), &pod)
            .await
            .with_context(|| format!("start the writer of {app}"))?
            .name_any();
        let writer = Writer { pods, name };
        writer.progress(0, 1).await?;
        Ok(writer)
    }

    async fn ended(&self, pods: &Api<Pod>, name: &str) -> anyhow::Result<i32> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let pod = pods.get(name).await.context("look at the app's pod")?;
            let state = pod
                .status
                .and_then(|status| status.container_statuses?.into_iter().next()?.state);
            if let Some(ended) = state.as_ref().and_then(|state| state.terminated.as_ref()) {
                return Ok(ended.exit_code);
            }
            if Instant::now() > deadline {
                let waiting = state.and_then(|state| state.waiting);
                let reason = waiting
                    .and_then(|waiting| waiting.reason)
                    .map_or_else(String::new, |reason| {
                        format!("; its container waits: {reason}")
                    });
                bail!("it did not end within {} s{reason}", LIMIT.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// An app that writes.
pub struct Writer {
    pods: Api<Pod>,
    name: String,
}

impl Writer {
    /// All counts so far, the oldest first.
    pub async fn counts(&self) -> anyhow::Result<Vec<Count>> {
        let log = self.log().await?;
        Ok(log.lines().filter_map(Count::parse).collect())
    }

    /// Waits until so many more writes were acknowledged after the first `seen` counts, and tells
    /// what happened since. It is an error if one that was acknowledged is not found.
    pub async fn progress(&self, seen: usize, more: u64) -> anyhow::Result<Progress> {
        let deadline = Instant::now() + LIMIT;
        loop {
            // A pod that has not started has no log.
            let counts = self.counts().await.unwrap_or_default();
            if let Some(progress) = Progress::of(&counts, seen)
                && progress.written >= more
            {
                ensure!(
                    progress.lost == 0,
                    "{}: {} of {} acknowledged writes are lost",
                    self.name,
                    progress.lost,
                    progress.acknowledged
                );
                return Ok(progress);
            }
            if Instant::now() > deadline {
                let log = self.log().await.unwrap_or_default();
                let last = log.lines().next_back().unwrap_or_default();
                bail!(
                    "{} made no progress within {} s; the last line of its log: {last}",
                    self.name,
                    LIMIT.as_secs()
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.pods
            .delete(&self.name, &DeleteParams::default())
            .await
            .context("delete the writer's pod")?;
        Ok(())
    }

    async fn log(&self) -> kube::Result<String> {
        self.pods.logs(&self.name, &LogParams::default()).await
    }
}

/// With the binding of that app.
fn pod(app: &str, image: &str, args: &[&str]) -> Value {
    let args = [args, &["--uri-file", "/binding/uri"]].concat();
    let mut pod = bare(app, image, &args);
    pod["spec"]["volumes"] =
        json!([{"name": "binding", "secret": {"secretName": app, "defaultMode": 0o440}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "binding", "mountPath": "/binding", "readOnly": true}]);
    pod
}

fn bare(app: &str, image: &str, args: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": format!("{app}-"), "labels": {LABEL: DEMO, "app": app}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": args,
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}
