//! Deploys the broker with kustomize: a generated overlay over
//! k8s/overlays/demo names the images, marks every object as the demo's, and
//! kubectl applies it.

use std::{
    fmt::Write as _,
    fs,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams},
};
use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use crate::{
    images::{Image, LOCAL},
    osb::Login,
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
    write_overlay(root, images, &overlay)?;
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

fn write_overlay(root: &Path, images: &[Image], folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let base = root
        .canonicalize()
        .context("find the work tree")?
        .join("k8s/overlays/demo");
    let base = relative(&folder.canonicalize()?, &base);
    let mut text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - {}\nlabels:\n  - pairs:\n      {LABEL}: {DEMO}\nimages:\n",
        base.display()
    );
    for image in images {
        write!(
            text,
            "  - name: {LOCAL}/{}\n    newName: {}\n    newTag: {:?}\n",
            image.name, image.repository, image.tag
        )?;
    }
    if let Some(image) = images.iter().find(|image| image.name == "mongo-bootstrap") {
        write!(
            text,
            "patches:\n  - patch: |\n      apiVersion: apps/v1\n      kind: Deployment\n      metadata:\n        name: provisioner-svc\n        namespace: {NAMESPACE}\n      spec:\n        template:\n          spec:\n            containers:\n              - name: provisioner-svc\n                env:\n                  - name: BROKER_BOOTSTRAP_IMAGE\n                    value: {}\n",
            image.reference()
        )?;
    }
    let path = folder.join("kustomization.yaml");
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

/// kustomize takes no absolute paths.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kustomize_gets_a_relative_path() {
        let path = |from, to| {
            relative(Path::new(from), Path::new(to))
                .display()
                .to_string()
        };
        assert_eq!(path("/a/target/x", "/a/k8s"), "../../k8s");
        assert_eq!(path("/tmp", "/a/k8s"), "../a/k8s");
    }

    #[test]
    fn the_overlay_names_the_images_of_this_run() {
        let folder = tempfile::tempdir().unwrap();
        let image = |name| Image {
            name,
            repository: format!("registry:5000/mongodb-osb/{name}"),
            tag: "0123".to_owned(),
            archive: PathBuf::new(),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        write_overlay(
            &root,
            &[image("gateway"), image("mongo-bootstrap")],
            folder.path(),
        )
        .unwrap();
        let text = fs::read_to_string(folder.path().join("kustomization.yaml")).unwrap();
        assert!(
            text.contains("newName: registry:5000/mongodb-osb/gateway\n    newTag: \"0123\""),
            "{text}"
        );
        assert!(
            text.contains("value: registry:5000/mongodb-osb/mongo-bootstrap:0123"),
            "{text}"
        );
    }
}
