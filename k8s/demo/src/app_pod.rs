//! Runs the app in the cluster: a namespace of its own, a Secret with the
//! binding's URI, a pod that ends.

use std::time::Duration;

use anyhow::{Context as _, bail};
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
};

/// Where apps live.
pub const NAMESPACE: &str = "demo-app";

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
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pod: Pod =
            serde_json::from_value(pod(app, &self.image, document)).context("describe a pod")?;
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
        Ok(Run {
            outcome: Outcome::from_exit_code(code),
            log: log.trim().to_owned(),
        })
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
                let waiting = state
                    .and_then(|state| state.waiting)
                    .and_then(|waiting| waiting.reason);
                bail!(
                    "it did not end within {} s (waiting: {waiting:?})",
                    LIMIT.as_secs()
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

fn pod(app: &str, image: &str, document: &str) -> Value {
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
                "args": ["app", "--uri-file", "/binding/uri", "--document", document],
                "volumeMounts": [{"name": "binding", "mountPath": "/binding", "readOnly": true}],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
            "volumes": [{"name": "binding", "secret": {"secretName": app, "defaultMode": 0o440}}],
        },
    })
}
