//! The one cluster, and the one instance that several cases look at.

use std::{env, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use demo::{
    args::World,
    forward::Forward,
    kubectl::Kubectl,
    osb::{Client, Offer},
    scenario,
    stage::Stage,
    transcript::Transcript,
};
use tokio::{process::Command, sync::OnceCell};

use crate::watcher::Watcher;

/// Name of the cluster.
pub(crate) const NAME: &str = "e2e";
/// Set to leave the cluster running, to look at it.
const KEEP: &str = "E2E_KEEP";

/// What the cases work with.
pub(crate) struct Fixture {
    pub(crate) stage: Stage,
    pub(crate) osb: Client,
    pub(crate) watcher: Watcher,
    pub(crate) twins: OnceCell<String>,
    _forward: Forward,
}

/// Why pods cannot run here.
pub(crate) fn obstacle() -> Option<&'static str> {
    // The folder belongs to the process, so its owner is the effective user.
    use std::os::unix::fs::MetadataExt as _;
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    (!root).then_some("pods need root")
}

impl Fixture {
    pub(crate) async fn up() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()?;
        build(&root).await?;
        // A relative one is relative to the work tree.
        let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let world = World {
            images: root.join(target).join("image/context"),
            root,
            context: None,
            registry: None,
            testbed: NAME.to_owned(),
        };
        let stage = Stage::up(&world, Transcript::default()).await?;
        let watcher = Watcher::start(stage.place.client.clone());
        let (osb, forward) = stage.osb().await?;
        Ok(Self {
            stage,
            osb,
            watcher,
            twins: OnceCell::new(),
            _forward: forward,
        })
    }

    /// Takes the cluster down; says so where that fails.
    pub(crate) async fn down() {
        if env::var_os(KEEP).is_some() {
            return println!("the cluster {NAME} is left running ({KEEP})");
        }
        let down = async { testbed::Cluster::down(&NAME.parse()?).await };
        if let Err(error) = down.await {
            println!("the cluster {NAME} could not be taken down: {error:#}");
        }
    }

    /// A plan by its names.
    pub(crate) async fn offer(&self, plan: &str) -> anyhow::Result<Offer> {
        let answer = self.osb.catalog().await?.expect(&[200])?;
        Offer::find(&answer.body, scenario::SERVICE, plan)
            .with_context(|| format!("the catalog has no plan {plan}"))
    }

    /// kubectl in the broker's namespace.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        kubectl(&self.stage.place.kubectl, args).await
    }
}

async fn kubectl(kubectl: &Kubectl, args: &[&str]) -> anyhow::Result<String> {
    let args = [&["--namespace", demo::deploy::NAMESPACE], args].concat();
    kubectl.output(&args, Duration::from_secs(150)).await
}

/// `make build`: nothing to do where `make test` did it. Cargo's own variables
/// would make build scripts run again.
async fn build(root: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(root)
        .args(["--no-print-directory", "build"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let cargos =
            text.starts_with("CARGO") && !matches!(&*text, "CARGO_HOME" | "CARGO_TARGET_DIR");
        if cargos
            || matches!(
                &*text,
                "LD_LIBRARY_PATH" | "MAKEFLAGS" | "MAKELEVEL" | "MFLAGS"
            )
        {
            command.env_remove(&name);
        }
    }
    let status = command.status().await.context("start make build")?;
    ensure!(status.success(), "make build failed ({status})");
    Ok(())
}
