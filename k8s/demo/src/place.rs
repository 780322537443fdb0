//! Where the demo runs: on a testbed of its own, or on a cluster that the user
//! names. An exported KUBECONFIG alone changes nothing.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use testbed::binaries::{self, Binary};
use tokio::process::Command;

use crate::{
    images::Image,
    kubectl::{Access, Kubectl},
};

/// How long handing over one image may take.
const LOAD_LIMIT: Duration = Duration::from_secs(300);

/// What was asked for.
#[derive(Debug, Clone)]
pub enum Choice {
    /// A testbed of this name.
    Testbed(String),
    /// A context of the user's kubeconfig, and the registry that it pulls from
    /// (kind clusters need none).
    Context {
        /// Name of the context.
        name: String,
        /// `host/path` that images are pushed to.
        registry: Option<String>,
    },
}

/// A cluster that can be worked on.
pub struct Place {
    /// Calls its API server with all rights.
    pub client: kube::Client,
    /// The same for kubectl.
    pub kubectl: Kubectl,
    delivery: Delivery,
}

/// How images get there.
#[derive(Debug)]
enum Delivery {
    Testbed(Box<testbed::Cluster>),
    Kind(String),
    Registry(String),
}

impl Place {
    /// Brings up the testbed, or connects to the named cluster.
    pub async fn open(choice: &Choice) -> anyhow::Result<Self> {
        match choice {
            Choice::Testbed(name) => Self::testbed(name).await,
            Choice::Context { name, registry } => Self::context(name, registry.as_deref()).await,
        }
    }

    async fn testbed(name: &str) -> anyhow::Result<Self> {
        let cluster = testbed::Cluster::up(testbed::cluster::Options::new(name.parse()?)).await?;
        let kubectl = Kubectl {
            program: binaries::provide(Binary::Kubectl).await?,
            cluster: Access::File(cluster.kubeconfig().to_owned()),
        };
        Ok(Self {
            client: cluster.client(),
            kubectl,
            delivery: Delivery::Testbed(Box::new(cluster)),
        })
    }

    async fn context(name: &str, registry: Option<&str>) -> anyhow::Result<Self> {
        let delivery = match (registry, name.strip_prefix("kind-")) {
            (Some(registry), _) => Delivery::Registry(registry.trim_end_matches('/').to_owned()),
            (None, Some(kind)) => Delivery::Kind(kind.to_owned()),
            (None, None) => bail!(
                "the context {name} is no kind cluster: name a registry that it pulls from (REGISTRY=host/path)"
            ),
        };
        Ok(Self {
            delivery,
            ..Self::connect(name).await?
        })
    }

    /// A cluster of the user's, without a way to bring images there: enough to remove things.
    pub async fn connect(name: &str) -> anyhow::Result<Self> {
        let kubeconfig = Kubeconfig::read().context("read the kubeconfig")?;
        let options = KubeConfigOptions {
            context: Some(name.to_owned()),
            ..KubeConfigOptions::default()
        };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| format!("use the context {name} of the kubeconfig"))?;
        Ok(Self {
            client: kube::Client::try_from(config).context("make a client")?,
            kubectl: Kubectl {
                program: kubectl_of_the_user().await?,
                cluster: Access::Context(name.to_owned()),
            },
            delivery: Delivery::Kind(String::new()),
        })
    }

    /// Whether the cluster is the demo's own, to be taken down as a whole.
    pub fn is_own(&self) -> bool {
        matches!(self.delivery, Delivery::Testbed(_))
    }

    /// What the images' names begin with there.
    pub fn prefix(&self) -> String {
        match &self.delivery {
            Delivery::Registry(registry) => format!("{registry}/mongodb-osb"),
            Delivery::Testbed(_) | Delivery::Kind(_) => crate::images::LOCAL.to_owned(),
        }
    }

    /// Makes the images known to the cluster.
    pub async fn deliver(&self, images: &[Image]) -> anyhow::Result<()> {
        for image in images {
            let archive = image.archive.as_os_str();
            match &self.delivery {
                Delivery::Testbed(cluster) => cluster.load_image(&image.archive).await?,
                Delivery::Kind(name) => {
                    let mut command = Command::new("kind");
                    command
                        .args(["load", "image-archive", "--name", name])
                        .arg(archive);
                    run(command, "kind load image-archive").await?;
                }
                Delivery::Registry(_) => {
                    let mut command = Command::new(binaries::provide(Binary::Crane).await?);
                    command.arg("push").arg(archive).arg(image.reference());
                    run(command, "crane push").await?;
                }
            }
        }
        Ok(())
    }
}

/// The user's kubectl, which may hold their cloud's login helpers; ours if they have none.
async fn kubectl_of_the_user() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|file| file.is_file());
    match found {
        Some(program) => Ok(program),
        None => Ok(binaries::provide(Binary::Kubectl).await?),
    }
}

async fn run(mut command: Command, what: &str) -> anyhow::Result<()> {
    let work = command.kill_on_drop(true).output();
    let Ok(ended) = tokio::time::timeout(LOAD_LIMIT, work).await else {
        bail!("{what} did not end within {} s", LOAD_LIMIT.as_secs());
    };
    let output = ended.with_context(|| format!("start {what}"))?;
    if !output.status.success() {
        bail!(
            "{what} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
