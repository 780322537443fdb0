//! An API server with k8s/base.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use testbed::{
    ControlPlane, Controllers,
    binaries::{self, Binary},
};
use tokio::process::Command;

/// The broker's namespace.
pub const NAMESPACE: &str = "mongodb-osb";

/// Kinds of k8s/base that are not applied: the services run as processes.
const NOT_APPLIED: [&str; 2] = ["Deployment", "PodDisruptionBudget"];

/// Starts an API server with its controllers and applies k8s/base of the
/// checkout at `root`, without the pods.
pub async fn control_plane(root: &Path) -> anyhow::Result<ControlPlane> {
    let control_plane = ControlPlane::builder()
        .controllers(Controllers::Manager)
        .start()
        .await?;
    let kubectl = binaries::provide(Binary::Kubectl).await?;
    let base = root.join("k8s/base");
    let output = Command::new(&kubectl)
        .arg("kustomize")
        .arg(&base)
        .output()
        .await
        .context("start kubectl")?;
    ensure!(
        output.status.success(),
        "kubectl kustomize {}: {}",
        base.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("read the manifests")?;
    let applied: Vec<&str> = text
        .split("\n---\n")
        .filter(|document| {
            let is = |kind: &&str| document.lines().any(|line| line == format!("kind: {kind}"));
            !NOT_APPLIED.iter().any(is)
        })
        .collect();
    let file = control_plane.folder().join("base.yaml");
    fs::write(&file, applied.join("\n---\n")).context("write the manifests")?;
    let file = file.display().to_string();
    for arguments in [
        &["apply", "--server-side", "-f", &file][..],
        &["wait", "--for=condition=Established", "crd", "--all"],
    ] {
        let output = Command::new(&kubectl)
            .arg("--kubeconfig")
            .arg(control_plane.kubeconfig())
            .args(arguments)
            .output()
            .await
            .context("start kubectl")?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(control_plane)
}
