//! The demo's command line. `make demo` and `make down` call it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::place::Choice;

/// The MongoDB broker's demo.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Where it runs and what it runs.
    #[command(flatten)]
    pub world: World,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where things are.
#[derive(Debug, Clone, Args)]
pub struct World {
    /// The work tree: Dockerfile and k8s/ are there.
    #[arg(long, default_value = ".")]
    pub root: PathBuf,
    /// The images' build context, made by `make build`.
    #[arg(long, default_value = "target/image/context")]
    pub images: PathBuf,
    /// A context of your kubeconfig; a testbed of the demo's own if absent.
    #[arg(long)]
    pub context: Option<String>,
    /// Where that cluster pulls images from, as host/path; kind clusters need none.
    #[arg(long, requires = "context")]
    pub registry: Option<String>,
    /// Name of the demo's own testbed.
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
    /// Deploys, runs the scenario and removes everything.
    Demo {
        /// Leave the broker running and print how to reach it.
        #[arg(long)]
        keep: bool,
    },
    /// Deploys the broker and prints how to reach it.
    Up,
    /// Runs the scenario on a broker that is up.
    Run,
    /// Removes the broker, and the testbed under it.
    Down,
    /// Makes the images as archives.
    Images {
        /// Folder for the archives.
        #[arg(long, default_value = "target/image/archives")]
        out: PathBuf,
    },
    /// The demo's app, inside of the cluster: writes and reads a document.
    App {
        /// File with the binding's URI.
        #[arg(long)]
        uri_file: PathBuf,
        /// The document's id.
        #[arg(long)]
        document: String,
    },
    /// An app that writes, one document after the other, until it is told to end, and says every
    /// second how many were acknowledged and how many of those are found.
    Write {
        /// File with the binding's URI.
        #[arg(long)]
        uri_file: PathBuf,
        /// What its documents' ids begin with.
        #[arg(long)]
        series: String,
    },
}
