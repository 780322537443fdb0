//! Writes a kustomize overlay that names the images, over one of the checkout.

use std::{
    fmt::Write as _,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    deploy::NAMESPACE,
    images::{Image, LOCAL},
};

/// What an overlay says.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// The overlay beneath, in the checkout.
    pub base: &'a Path,
    /// A label for every object.
    pub label: Option<(&'a str, &'a str)>,
    /// The images that take the places of those that the manifests name.
    pub images: &'a [Image],
}

/// Writes it into that folder.
pub fn write(overlay: &Overlay<'_>, root: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let base = root
        .canonicalize()
        .context("find the work tree")?
        .join(overlay.base);
    let base = relative(&folder.canonicalize()?, &base);
    let path = folder.join("kustomization.yaml");
    fs::write(&path, text(overlay, &base)?).with_context(|| format!("write {}", path.display()))
}

fn text(overlay: &Overlay<'_>, base: &Path) -> anyhow::Result<String> {
    let mut text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - {}\n",
        base.display()
    );
    if let Some((name, value)) = overlay.label {
        write!(text, "labels:\n  - pairs:\n      {name}: {value}\n")?;
    }
    text.push_str("images:\n");
    for image in overlay.images {
        let (field, value) = match &image.digest {
            Some(digest) => ("digest", digest),
            None => ("newTag", &image.tag),
        };
        write!(
            text,
            "  - name: {LOCAL}/{}\n    newName: {}\n    {field}: {value:?}\n",
            image.name, image.repository
        )?;
    }
    let bootstrap = |image: &&Image| image.name == "mongo-bootstrap";
    if let Some(image) = overlay.images.iter().find(bootstrap) {
        write!(
            text,
            "patches:\n  - patch: |\n      apiVersion: apps/v1\n      kind: Deployment\n      metadata:\n        name: provisioner-svc\n        namespace: {NAMESPACE}\n      spec:\n        template:\n          spec:\n            containers:\n              - name: provisioner-svc\n                env:\n                  - name: BROKER_BOOTSTRAP_IMAGE\n                    value: {}\n",
            image.pinned()
        )?;
    }
    Ok(text)
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
        let image = |name, digest| Image {
            name,
            repository: format!("registry:5000/mongodb-osb/{name}"),
            tag: "0123".to_owned(),
            digest,
            archive: PathBuf::new(),
        };
        let written = |digest: Option<&str>| {
            let image = |name| image(name, digest.map(str::to_owned));
            let overlay = Overlay {
                base: Path::new("k8s/overlays/demo"),
                label: Some(("a", "b")),
                images: &[image("gateway"), image("mongo-bootstrap")],
            };
            text(&overlay, Path::new("../x")).unwrap()
        };
        let tagged = written(None);
        let expected = [
            "newName: registry:5000/mongodb-osb/gateway\n    newTag: \"0123\"",
            "value: registry:5000/mongodb-osb/mongo-bootstrap:0123\n",
        ];
        assert!(
            expected.iter().all(|part| tagged.contains(part)),
            "{tagged}"
        );
        let pinned = written(Some("sha256:ab"));
        let expected = [
            "newName: registry:5000/mongodb-osb/gateway\n    digest: \"sha256:ab\"",
            "value: registry:5000/mongodb-osb/mongo-bootstrap@sha256:ab\n",
        ];
        assert!(
            expected.iter().all(|part| pinned.contains(part)),
            "{pinned}"
        );
    }
}
