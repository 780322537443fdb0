//! Deploys the broker with kustomize: a generated overlay over
//! k8s/overlays/demo names the images, marks every object as the demo's, and
//! kubectl applies it.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};
use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use crate::{
    images::Image,
    osb::Login,
    overlay::{self, Overlay},
    place::Place,
};

/// The broker's namespace.
pub const NAMESPACE: &str = "mongodb-osb";
/// On every object that the demo or Tilt applies: by which of them.
pub const LABEL: &str = "mongodb-osb.io/deployed-by";
/// Value of [`LABEL`] for the demo.
pub const DEMO: &str = "demo";
/// Value of [`LABEL`] for Tilt: k8s/overlays/dev.
pub const TILT: &str = "tilt";
/// The four Deployments.
pub const SERVICES: [&str; 4] = ["catalog-svc", "provisioner-svc", "binder-svc", "gateway"];

const CREDENTIALS: &str = "gateway-credentials";
const APPLY_LIMIT: Duration = Duration::from_secs(120);
/// A pod has 30 s to end.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Kubernetes gives up earlier than we do where an image cannot be had.
const ROLLOUT_LIMIT: &str = "--timeout=240s";

/// Applies everything and waits until every replica is ready. Repeatable.
pub async fn deploy(
    place: &Place,
    root: &Path,
    images: &[Image],
    work: &Path,
) -> anyhow::Result<()> {
    let overlay = work.join("overlay");
    let ours = Overlay {
        base: Path::new("k8s/overlays/demo"),
        label: Some((LABEL, DEMO)),
        images,
    };
    overlay::write(&ours, root, &overlay)?;
    let overlay = overlay
        .to_str()
        .context("the work folder's name is not UTF-8")?;
    place
        .kubectl
        .output(
            &[
                "apply",
                "--server-side",
                "--force-conflicts",
                "--field-manager=mongodb-osb-demo",
                "-k",
                overlay,
            ],
            APPLY_LIMIT,
        )
        .await?;
    ensure_login(&place.client).await?;
    for service in SERVICES {
        let deployment = format!("deployment/{service}");
        let args = [
            "--namespace",
            NAMESPACE,
            "rollout",
            "status",
            &deployment,
            ROLLOUT_LIMIT,
        ];
        place.kubectl.show(&args, Duration::from_secs(260)).await?;
    }
    settle(&place.client).await
}

/// Waits until the pods of an earlier deployment are gone: a first request
/// shall meet what was deployed.
async fn settle(client: &kube::Client) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let broker = ListParams::default().labels("app.kubernetes.io/part-of=mongodb-osb");
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let list = pods.list(&broker).await.context("list the broker's pods")?;
        let leaving = list
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some());
        let names: Vec<String> = leaving.map(ResourceExt::name_any).collect();
        if names.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "still there: {}",
            names.join(", ")
        );
        sleep(Duration::from_secs(1)).await;
    }
}

/// The login that the gateway takes.
pub async fn login(client: &kube::Client) -> anyhow::Result<Login> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = secrets
        .get(CREDENTIALS)
        .await
        .context("read the broker's login")?;
    let value = |key: &str| {
        let bytes = secret.data.as_ref()?.get(key)?.0.clone();
        String::from_utf8(bytes).ok()
    };
    Ok(Login {
        username: value("username").context("the broker's login has no username")?,
        password: SecretString::from(
            value("password").context("the broker's login has no password")?,
        ),
    })
}

/// Makes a password at the first deployment, and keeps it at later ones.
async fn ensure_login(client: &kube::Client) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(CREDENTIALS.to_owned()),
            labels: Some([(LABEL.to_owned(), DEMO.to_owned())].into()),
            ..ObjectMeta::default()
        },
        string_data: Some(
            [
                ("platform".to_owned(), "demo".to_owned()),
                ("username".to_owned(), "demo".to_owned()),
                ("password".to_owned(), cluster::names::random(20)),
            ]
            .into(),
        ),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error).context("make the broker's login"),
    }
}
