//! What is in an image, as CycloneDX: the crates that are linked into its program, as
//! cargo-auditable wrote them there, and the other files. The same image gives the same bytes:
//! no time, no serial number.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{process::Command, time::timeout};

use super::{File, Image, contents};

const LIMIT: Duration = Duration::from_secs(60);
const REGISTRY: &str = "crates.io";

/// What cargo-auditable writes into a program.
#[derive(Debug, Deserialize)]
struct Linked {
    packages: Vec<Package>,
}

/// A crate.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    source: String,
    /// `build` where it only ran during the build.
    #[serde(default)]
    kind: Option<String>,
    /// Their places in the list.
    #[serde(default)]
    dependencies: Vec<usize>,
    /// Whether it is the program's own.
    #[serde(default)]
    root: bool,
}

impl Package {
    fn is_linked(&self) -> bool {
        self.kind.as_deref() != Some("build")
    }

    fn reference(&self) -> String {
        format!("crate:{}@{}", self.name, self.version)
    }

    /// Only crates of the public registry have a package URL: one of ours can have the name of a
    /// crate there that it has nothing to do with.
    fn component(&self) -> Value {
        let mut component = json!({
            "type": if self.root { "application" } else { "library" },
            "bom-ref": self.reference(),
            "name": self.name,
            "version": self.version,
        });
        if self.source == REGISTRY {
            component["purl"] = format!("pkg:cargo/{}@{}", self.name, self.version).into();
        }
        component
    }
}

/// Writes `<name>.cdx.json` beside the image's archive. `tool` is rust-audit-info.
pub async fn write(
    image: &Image,
    root: &Path,
    context: &Path,
    tool: &Path,
) -> anyhow::Result<PathBuf> {
    let (stage, files) = contents(root, context, image.name)?;
    let program = stage.entrypoint.first().context("it starts no program")?;
    let is_program = |file: &&File| &file.destination == program;
    let program = files
        .iter()
        .find(is_program)
        .with_context(|| format!("{program} is not among the files of {}", image.name))?;
    let linked = read(tool, &program.source).await?;
    let described = files.iter().map(describe).collect::<Result<_, _>>()?;
    let sbom = compose(&linked, image, described)
        .with_context(|| format!("list what is in {}", image.name))?;
    let path = image.archive.with_extension("cdx.json");
    let text = serde_json::to_string_pretty(&sbom)? + "\n";
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

async fn read(tool: &Path, program: &Path) -> anyhow::Result<Linked> {
    let mut command = Command::new(tool);
    command.arg(program).stdin(Stdio::null()).kill_on_drop(true);
    let Ok(ended) = timeout(LIMIT, command.output()).await else {
        bail!("{} did not end within {LIMIT:?}", tool.display());
    };
    let output = ended.with_context(|| format!("start {}", tool.display()))?;
    ensure!(
        output.status.success(),
        "{} has no list of what is linked in (`make build` writes it): {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("read what {} wrote", tool.display()))
}

/// A file as a component.
fn describe(file: &File) -> anyhow::Result<Value> {
    let content =
        fs::read(&file.source).with_context(|| format!("read {}", file.source.display()))?;
    Ok(json!({
        "type": "file",
        "bom-ref": format!("file:{}", file.destination),
        "name": file.destination,
        "hashes": [{ "alg": "SHA-256", "content": HEXLOWER.encode(&Sha256::digest(&content)) }],
    }))
}

/// The image contains its program, with what that depends on, and its files.
fn compose(linked: &Linked, image: &Image, files: Vec<Value>) -> anyhow::Result<Value> {
    let packages = &linked.packages;
    let program = packages
        .iter()
        .find(|package| package.root)
        .context("no crate is named as the program's own")?;
    let subject = format!("image:{}", image.name);
    let mut parts = vec![program.reference()];
    parts.extend(
        files
            .iter()
            .filter_map(|file| Some(file["bom-ref"].as_str()?.to_owned())),
    );
    let mut dependencies = vec![json!({ "ref": subject, "dependsOn": parts })];
    let mut components = files;
    for package in packages.iter().filter(|package| package.is_linked()) {
        let mut uses = vec![];
        for &place in &package.dependencies {
            let used = packages
                .get(place)
                .with_context(|| format!("{} depends on no crate of the list", package.name))?;
            uses.extend(used.is_linked().then(|| used.reference()));
        }
        components.push(package.component());
        dependencies.push(json!({ "ref": package.reference(), "dependsOn": uses }));
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "container",
            "bom-ref": subject,
            "name": image.repository,
            "version": image.tag,
        }},
        "components": components,
        "dependencies": dependencies,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image {
            name: "gateway",
            repository: "registry/gateway".to_owned(),
            tag: "1.2.3".to_owned(),
            digest: None,
            archive: PathBuf::new(),
        }
    }

    fn composed(packages: &Value) -> anyhow::Result<Value> {
        let linked: Linked = serde_json::from_value(json!({ "packages": packages })).unwrap();
        let file = json!({ "type": "file", "bom-ref": "file:/a", "name": "/a" });
        compose(&linked, &image(), vec![file])
    }

    #[test]
    fn an_image_is_its_files_and_its_program_with_what_is_linked_in() {
        let sbom = composed(&json!([
            { "name": "backoff", "version": "0.1.0", "source": "local" },
            { "name": "gateway", "version": "0.1.0", "source": "local", "root": true, "dependencies": [0, 2, 3] },
            { "name": "prost-build", "version": "2.0.0", "source": "crates.io", "kind": "build" },
            { "name": "serde", "version": "1.0.0", "source": "crates.io" },
        ]))
        .unwrap();
        assert_eq!(
            sbom["components"],
            json!([
                { "type": "file", "bom-ref": "file:/a", "name": "/a" },
                { "type": "library", "bom-ref": "crate:backoff@0.1.0", "name": "backoff", "version": "0.1.0" },
                { "type": "application", "bom-ref": "crate:gateway@0.1.0", "name": "gateway", "version": "0.1.0" },
                { "type": "library", "bom-ref": "crate:serde@1.0.0", "name": "serde", "version": "1.0.0", "purl": "pkg:cargo/serde@1.0.0" },
            ])
        );
        assert_eq!(
            sbom["dependencies"],
            json!([
                { "ref": "image:gateway", "dependsOn": ["crate:gateway@0.1.0", "file:/a"] },
                { "ref": "crate:backoff@0.1.0", "dependsOn": [] },
                { "ref": "crate:gateway@0.1.0", "dependsOn": ["crate:backoff@0.1.0", "crate:serde@1.0.0"] },
                { "ref": "crate:serde@1.0.0", "dependsOn": [] },
            ])
        );
        assert_eq!(sbom["metadata"]["component"]["version"], "1.2.3");
    }

    #[test]
    fn a_list_that_does_not_fit_together_is_refused() {
        assert!(composed(&json!([])).is_err());
        let stray = json!([{ "name": "a", "version": "1.0.0", "source": "local", "root": true, "dependencies": [7] }]);
        assert!(composed(&stray).is_err());
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_read_is_an_error_that_names_it() {
        let error = read(Path::new("false"), Path::new("/x/program"))
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("/x/program has no list"),
            "{error}"
        );
    }
}
