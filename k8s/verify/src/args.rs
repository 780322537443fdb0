//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Runs the broker under faults and checks what must hold whatever happens.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Folder with debug builds of the services: these have crash points.
    #[arg(long, default_value = "target/debug")]
    pub(crate) programs: PathBuf,
    /// The checkout: k8s/base is there.
    #[arg(long, default_value = ".")]
    pub(crate) root: PathBuf,
    /// Seed of all random choices; another one in each run by default.
    #[arg(long, default_value_t = u64::from(rand::random::<u32>()), hide_default_value = true)]
    pub(crate) seed: u64,
    /// Only these phases.
    #[arg(long, value_delimiter = ',')]
    phase: Vec<Phase>,
    /// Only rows whose text contains this.
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Lifecycles under random kills.
    #[arg(long, default_value_t = 200)]
    pub(crate) lives: usize,
    /// Filter of the services' logs.
    #[arg(long, default_value = "info")]
    pub(crate) log: String,
}

/// A part of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Phase {
    /// Kill and pause at every step of every operation.
    Steps,
    /// Faults of each connection while lifecycles go through it.
    Links,
    /// Many lifecycles while services are killed and paused at random.
    Kills,
}

impl Args {
    /// The phases to run, in order.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        if self.phase.is_empty() {
            return Phase::value_variants().to_vec();
        }
        self.phase.clone()
    }

    /// Whether a row is wanted.
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|text| row.contains(text.as_str()))
    }
}
