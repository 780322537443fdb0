//! The demo's command line. `make demo` and `make down` call it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{images::NAMES, place::Choice};

/// Deploys the broker on a cluster, orders databases through its OSB endpoint as a platform does,
/// and checks what comes back.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// The cluster and the files that are used.
    #[command(flatten)]
    pub world: World,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where things are.
#[derive(Debug, Clone, Args)]
pub struct World {
    /// The checkout, with Dockerfile and k8s/.
    #[arg(long, default_value = ".")]
    pub root: PathBuf,
    /// The build context of the images, which `make build` makes.
    #[arg(long, default_value = "target/image/context")]
    pub images: PathBuf,
    /// A context of your kubeconfig. Without it the demo starts a testbed cluster on this machine.
    #[arg(long)]
    pub context: Option<String>,
    /// The registry that this cluster pulls images from, as host/path; kind clusters need none.
    #[arg(long, requires = "context")]
    pub registry: Option<String>,
    /// Name of the testbed cluster.
    #[arg(long, default_value = "demo", conflicts_with = "context")]
    pub testbed: String,
}

impl World {
    /// The cluster that is meant.
    pub fn choice(&self) -> Choice {
        match &self.context {
            Some(name) => Choice::Context {
                name: name.clone(),
                registry: self.registry.clone(),
            },
            None => Choice::Testbed(self.testbed.clone()),
        }
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Deploys the broker, runs the scenario, and removes everything.
    Demo {
        /// Leave the broker running, and print how to reach it.
        #[arg(long)]
        keep: bool,
    },
    /// Deploys the broker and prints how to reach it.
    Up,
    /// Runs the scenario on a broker that is deployed.
    Run,
    /// Removes the broker that the demo or Tilt deployed, with all its databases,
    /// or the demo's own testbed.
    Down {
        /// Remove the broker whoever deployed it.
        #[arg(long, requires = "context")]
        force: bool,
    },
    /// Writes the images as archives, which `docker load` and `crane push` read.
    Images {
        /// Folder for the archives.
        #[arg(long, default_value = "target/image/archives")]
        out: PathBuf,
        /// Only these.
        #[arg(long, value_delimiter = ',', value_parser = NAMES)]
        only: Vec<String>,
        /// rust-audit-info, with which an SBOM of each image is written beside it.
        #[arg(long)]
        sbom_tool: Option<PathBuf>,
        /// Print the digest that a registry will name each image by.
        #[arg(long)]
        digests: bool,
    },
    /// Writes what a release consists of: images as archives, SBOMs, and manifests in which our
    /// images stand by digest.
    Release {
        /// Folder for all of it.
        #[arg(long)]
        out: PathBuf,
        /// Where the images will be, as host/path.
        #[arg(long)]
        prefix: String,
        /// Their tag.
        #[arg(long)]
        tag: String,
        /// The overlay whose manifests are written, in the checkout.
        #[arg(long, default_value = "k8s/overlays/replicas")]
        overlay: PathBuf,
        /// rust-audit-info.
        #[arg(long)]
        sbom_tool: PathBuf,
    },
    /// The app that uses a binding, inside the cluster: writes a document and reads it back.
    App {
        /// File with the `uri` of the binding's credentials.
        #[arg(long)]
        uri_file: PathBuf,
        /// Id of the document.
        #[arg(long)]
        document: String,
    },
    /// An app that inserts one document after another until it gets SIGTERM. Each second it prints
    /// how many inserts were acknowledged and how many of those documents it finds.
    Write {
        /// File with the `uri` of the binding's credentials.
        #[arg(long)]
        uri_file: PathBuf,
        /// Prefix of the documents' ids.
        #[arg(long)]
        series: String,
    },
    /// Inside the cluster: connects to addresses until each is as said, then prints what it found.
    Reach {
        /// One that must accept, as host:port.
        #[arg(long, value_name = "HOST:PORT")]
        open: Vec<String>,
        /// One that must not.
        #[arg(long, value_name = "HOST:PORT")]
        closed: Vec<String>,
        /// How many seconds it may take until all are as said.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}
