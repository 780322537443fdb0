//! The images of the services, made from the Dockerfile and the build context
//! without a container engine, and tagged by what is in them: a cluster never
//! runs an older image under the same name.

pub mod dockerfile;
pub mod sbom;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use testbed::images::ImageSpec;

use dockerfile::Stage;

/// The images, each a stage of the Dockerfile.
pub const NAMES: [&str; 7] = [
    "catalog-svc",
    "provisioner-svc",
    "binder-svc",
    "gateway",
    "identity",
    "mongo-bootstrap",
    "demo",
];

/// Where the manifests say that images come from.
pub const LOCAL: &str = "localhost/mongodb-osb";

/// One image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its stage, and the last part of its name.
    pub name: &'static str,
    /// Its name without a tag.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// What a registry will name it by, where that was asked for.
    pub digest: Option<String>,
    /// The archive that holds it.
    pub archive: PathBuf,
}

impl Image {
    /// Name and tag.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// Name and digest, or the tag as long as there is no digest.
    pub fn pinned(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository),
            None => self.reference(),
        }
    }
}

/// A file of an image.
#[derive(Debug)]
struct File {
    source: PathBuf,
    destination: String,
    mode: u32,
}

/// How images are tagged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// By content.
    Content,
    /// `dev`, as the manifests have it.
    Dev,
    /// As a release is named.
    Given(String),
}

/// Makes all images under `prefix` into archives in `out`.
pub async fn build(
    root: &Path,
    context: &Path,
    prefix: &str,
    tag: &Tag,
    out: &Path,
) -> anyhow::Result<Vec<Image>> {
    build_some(&NAMES, root, context, prefix, tag, out).await
}

/// The same for some of them.
pub async fn build_some(
    names: &[&'static str],
    root: &Path,
    context: &Path,
    prefix: &str,
    tag: &Tag,
    out: &Path,
) -> anyhow::Result<Vec<Image>> {
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    let mut images = Vec::with_capacity(names.len());
    for &name in names {
        let (stage, files) = contents(root, context, name)?;
        let tag = match tag {
            Tag::Content => digest(&files)?,
            Tag::Dev => "dev".to_owned(),
            Tag::Given(tag) => tag.clone(),
        };
        let repository = format!("{prefix}/{name}");
        let archive = out.join(format!("{name}.tar"));
        let spec = spec(&format!("{repository}:{tag}"), &stage, files);
        testbed::images::build_to(&spec, &archive)
            .await
            .with_context(|| format!("make the image of {name}"))?;
        images.push(Image {
            name,
            repository,
            tag,
            digest: None,
            archive,
        });
    }
    Ok(images)
}

/// What the Dockerfile says of one image, and its files.
fn contents(root: &Path, context: &Path, name: &str) -> anyhow::Result<(Stage, Vec<File>)> {
    let path = root.join("Dockerfile");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let stage = dockerfile::parse(&text)?
        .remove(name)
        .with_context(|| format!("no stage {name} in the Dockerfile"))?;
    let files = files(&stage, context).with_context(|| format!("collect the files of {name}"))?;
    Ok((stage, files))
}

fn spec(name: &str, stage: &Stage, files: Vec<File>) -> ImageSpec {
    let entrypoint: Vec<&str> = stage.entrypoint.iter().map(String::as_str).collect();
    let spec = files
        .into_iter()
        .fold(ImageSpec::new(name), |spec, file| {
            spec.file(file.source, &file.destination, file.mode)
        })
        .entrypoint(&entrypoint);
    match &stage.user {
        Some(user) => spec.user(user.clone()),
        None => spec,
    }
}

/// The files of a stage, folders unfolded.
fn files(stage: &Stage, context: &Path) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for (source, destination) in &stage.copies {
        collect(&context.join(source), destination, &mut files)?;
    }
    Ok(files)
}

fn collect(source: &Path, destination: &str, files: &mut Vec<File>) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(source)
        .with_context(|| format!("read {} (made by `make build`)", source.display()))?;
    if metadata.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(source)?.collect::<Result<_, _>>()?;
        // The tag must not depend on the order of a folder.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let below = format!("{destination}/{}", entry.file_name().to_string_lossy());
            collect(&entry.path(), &below, files)?;
        }
        return Ok(());
    }
    let mode = if metadata.permissions().mode() & 0o111 == 0 {
        0o644
    } else {
        0o755
    };
    files.push(File {
        source: source.to_owned(),
        destination: destination.to_owned(),
        mode,
    });
    Ok(())
}

/// The first 12 hex digits of a hash over names, modes and contents.
fn digest(files: &[File]) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(&file.source)?;
        hash.update(format!(
            "{} {:o} {}\n",
            file.destination,
            file.mode,
            content.len()
        ));
        hash.update(content);
    }
    Ok(HEXLOWER.encode(&hash.finalize())[..12].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_follows_the_content_of_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path();
        fs::create_dir_all(context.join("templates/a")).unwrap();
        fs::write(context.join("templates/a/plan.yaml"), "1").unwrap();
        fs::write(context.join("program"), "2").unwrap();
        let stage = Stage {
            copies: vec![
                ("templates".into(), "/templates".into()),
                ("program".into(), "/program".into()),
            ],
            ..Stage::default()
        };
        let found = files(&stage, context).unwrap();
        let destinations: Vec<_> = found.iter().map(|file| file.destination.as_str()).collect();
        assert_eq!(destinations, ["/templates/a/plan.yaml", "/program"]);

        let before = digest(&found).unwrap();
        assert_eq!(before, digest(&files(&stage, context).unwrap()).unwrap());
        fs::write(context.join("templates/a/plan.yaml"), "3").unwrap();
        assert_ne!(before, digest(&files(&stage, context).unwrap()).unwrap());
    }
}
