//! The limits as settings.

use std::{path::PathBuf, time::Duration};

use clap::Args;

/// What the evaluation of a plan may take.
#[derive(Debug, Clone, Args)]
pub struct SandboxArgs {
    /// Memory that the check or the rendering of one plan may take, in MiB. A service has at most
    /// two such processes: twice this and its own memory have to fit its pod's limit.
    #[arg(id = "sandbox-memory", long = "sandbox-memory", env = "BROKER_SANDBOX_MEMORY",
        default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=4096))]
    pub memory: u64,

    /// Processor time that the check of a plan, or one rendering, may take, in seconds. By the
    /// clock it may be six times that.
    #[arg(id = "sandbox-time", long = "sandbox-time", env = "BROKER_SANDBOX_TIME",
        default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub seconds: u64,

    /// Where evaluations take place.
    #[arg(skip)]
    pub program: Program,
}

impl Default for SandboxArgs {
    fn default() -> Self {
        Self {
            memory: 64,
            seconds: 5,
            program: Program::default(),
        }
    }
}

impl SandboxArgs {
    /// Processor time of one evaluation.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// Where evaluations take place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Program {
    /// In a process of the program that runs.
    #[default]
    Own,
    /// In a process of this program: for tests, whose own program is another one.
    At(PathBuf),
    /// In this very process, without a limit: for tests that have no program at hand.
    Here,
}
