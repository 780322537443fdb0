//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures the broker beside what it stands on: baseline and broker in turn,
/// in one run, on one machine. What it prints are ratios.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Folder with the services' programs, built with optimisation.
    #[arg(long, default_value = ".")]
    pub(crate) programs: PathBuf,
    /// Measures only GET catalog, at a gateway in a pod of the demo's cluster, which must run.
    #[arg(long, conflicts_with_all = ["replicas", "records", "subject"])]
    pub(crate) pod: bool,
    /// Measures nothing: serves this file with a bare handler at 0.0.0.0:8080.
    #[arg(long, conflicts_with_all = ["pod", "replicas", "records", "subject"])]
    pub(crate) serve: Option<PathBuf>,
    /// The checkout: k8s/base is there.
    #[arg(long, default_value = ".")]
    pub(crate) root: PathBuf,
    /// Replicas of each service.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=5))]
    pub(crate) replicas: u16,
    /// How often each pair of measurements is repeated. The median counts.
    #[arg(long, default_value_t = 3, conflicts_with = "quick", value_parser = clap::value_parser!(u16).range(1..=20))]
    pub(crate) rounds: u16,
    /// Fewer and shorter measurements, for a first impression.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these subjects.
    #[arg(long, value_delimiter = ',')]
    subject: Vec<Subject>,
    /// Finished instances that are there before anything is measured.
    #[arg(long, default_value_t = 10)]
    pub(crate) records: usize,
    /// Filter of the services' logs.
    #[arg(long, default_value = "info")]
    pub(crate) log: String,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// From the start of the processes until they are ready.
    Start,
    /// GET catalog beside a bare handler of the same bytes.
    Catalog,
    /// Provision until 202, beside raw creates.
    Accept,
    /// Polls and fetches.
    Reads,
    /// Instances beside raw server-side apply of their objects.
    Instances,
    /// Bindings beside raw createUser and dropUser.
    Bindings,
    /// From a changed ConfigMap of a plan to the catalog.
    Plans,
    /// What the services have after all of it.
    End,
    /// Provision until 202, polls and memory with more and more records, in a
    /// cluster of its own.
    Growth,
}

impl Args {
    /// Whether a subject is wanted.
    pub(crate) fn wants(&self, subject: Subject) -> bool {
        self.subject.is_empty() || self.subject.contains(&subject)
    }

    /// What is wanted, in the order in which it is measured.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let all = Subject::value_variants().iter().copied();
        all.filter(|subject| self.wants(*subject)).collect()
    }

    /// How often each pair is measured.
    pub(crate) fn rounds(&self) -> u16 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Instances in a crowd.
    pub(crate) fn crowd(&self) -> usize {
        if self.quick { 30 } else { 100 }
    }
}
