//! What a release consists of: the images as archives, an SBOM of each, and the manifests, in
//! which each image of ours stands by its digest.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use testbed::binaries::{self, Binary};
use tokio::{process::Command, time::timeout};

use crate::{
    images::{self, Image, LOCAL, Tag},
    overlay::{self, Overlay},
};

const LIMIT: Duration = Duration::from_secs(120);
/// The manifests, in the folder of the release.
pub const MANIFESTS: &str = "mongodb-osb.yaml";
/// `<image>@<digest>`, a line each.
pub const DIGESTS: &str = "digests";

/// Where a release comes from and goes to.
#[derive(Debug)]
pub struct Release<'a> {
    /// The checkout.
    pub root: &'a Path,
    /// The build context of the images.
    pub context: &'a Path,
    /// What the images' names begin with.
    pub prefix: &'a str,
    /// Their tag.
    pub tag: &'a str,
    /// The overlay whose manifests these are, in the checkout.
    pub overlay: &'a Path,
    /// Folder for all of it.
    pub out: &'a Path,
}

/// Makes images and manifests.
pub async fn write(release: &Release<'_>) -> anyhow::Result<Vec<Image>> {
    let tag = Tag::Given(release.tag.to_owned());
    let prefix = release.prefix.trim_end_matches('/');
    let mut images =
        images::build(release.root, release.context, prefix, &tag, release.out).await?;
    for image in &mut images {
        image.digest = Some(digest(&image.archive).await?);
    }
    let manifests = manifests(release, &images).await?;
    save(&release.out.join(MANIFESTS), &manifests)?;
    let digests: Vec<String> = images.iter().map(Image::pinned).collect();
    save(&release.out.join(DIGESTS), &(digests.join("\n") + "\n"))?;
    Ok(images)
}

/// The digest that a registry has an archive by once crane has pushed it.
pub async fn digest(archive: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(binaries::provide(Binary::Crane).await?);
    command.arg("digest").arg("--tarball").arg(archive);
    let digest = output(command, "crane digest").await?.trim().to_owned();
    ensure!(
        digest.starts_with("sha256:"),
        "crane digest said {digest:?}"
    );
    Ok(digest)
}

async fn manifests(release: &Release<'_>, images: &[Image]) -> anyhow::Result<String> {
    let folder: PathBuf = release.out.join("overlay");
    let ours = Overlay {
        base: release.overlay,
        label: None,
        images,
    };
    overlay::write(&ours, release.root, &folder)?;
    let mut command = Command::new(binaries::provide(Binary::Kubectl).await?);
    command.arg("kustomize").arg(&folder);
    let manifests = output(command, "kubectl kustomize").await?;
    if let Some(line) = manifests.lines().find(|line| line.contains(LOCAL)) {
        bail!("an image is still named without a digest: {}", line.trim());
    }
    Ok(manifests)
}

fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

async fn output(mut command: Command, what: &str) -> anyhow::Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let Ok(ended) = timeout(LIMIT, command.output()).await else {
        bail!("{what} did not end within {LIMIT:?}");
    };
    let output = ended.with_context(|| format!("start {what}"))?;
    ensure!(
        output.status.success(),
        "{what} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
