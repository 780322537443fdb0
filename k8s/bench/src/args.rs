//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};

use crate::stack::SERVICES;

/// Measures the broker beside what it stands on: baseline and broker in turn,
/// in one run, on one machine. What it prints are ratios.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Folder with the services' programs, built with optimisation. By default this program's own.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Measures only GET catalog, at a gateway in a pod of the demo's cluster, which must run.
    #[arg(long, conflicts_with_all = ["replicas", "records", "subject"])]
    pub(crate) pod: bool,
    /// Measures nothing: serves this file with a bare handler at 0.0.0.0:8080. The program starts
    /// itself so in a pod.
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) serve: Option<PathBuf>,
    /// Measures nothing: serves a handler that asks a gRPC service, both bare. The program starts
    /// itself so, for the processor time of its own.
    #[arg(long, hide = true)]
    pub(crate) hop: bool,
    /// The checkout: k8s/base is there.
    #[arg(long, default_value = ".")]
    pub(crate) root: PathBuf,
    /// Replicas of each service.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true,
        value_parser = clap::value_parser!(u16).range(1..=5))]
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
    /// Finished instances that are there before anything is measured; 10 by default. The subject
    /// growth has numbers of its own.
    #[arg(long, allow_negative_numbers = true)]
    records: Option<usize>,
    /// Filter of the services' logs.
    #[arg(long, default_value = "info")]
    pub(crate) log: String,
    /// Folder in which the services' logs stay; by default they go with the run.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) logs: Option<PathBuf>,
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
    /// The folder with the services' programs, and what is needed before anything is started.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let base = self.root.join("k8s/base/kustomization.yaml");
        ensure!(
            base.is_file(),
            "no {}: --root is a checkout",
            base.display()
        );
        let programs = self.programs()?;
        for service in SERVICES {
            let program = programs.join(service);
            ensure!(
                program.is_file(),
                "no program {}: see --programs",
                program.display()
            );
        }
        let only_growth = self.subjects() == [Subject::Growth];
        ensure!(
            !only_growth || self.records.is_none(),
            "growth has numbers of records of its own: leave --records out"
        );
        Ok(())
    }

    /// The folder with the services' programs.
    pub(crate) fn programs(&self) -> anyhow::Result<PathBuf> {
        if let Some(programs) = &self.programs {
            return Ok(programs.clone());
        }
        let program = std::env::current_exe().context("find this program")?;
        Ok(program
            .parent()
            .unwrap_or_else(|| Path::new("."))
            .to_owned())
    }

    /// Finished instances that are there before anything is measured.
    pub(crate) fn records(&self) -> usize {
        match self.subjects()[..] {
            [Subject::Growth] => 0,
            _ => self.records.unwrap_or(10),
        }
    }

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
