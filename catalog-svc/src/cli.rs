//! The command line: which command, and with what.

use clap::{Parser, Subcommand};
use service::{ServiceArgs, process::Arguments};

use crate::{args::Args, command::PlanCommand};

/// Discovers plan folders, validates them and serves the catalog.
#[derive(Debug, Parser)]
#[command(name = "catalog-svc", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Arguments of the service; it is what runs when no command is named.
    #[command(flatten)]
    serve: Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the catalog over gRPC (the default).
    Serve(Box<Args>),
    /// Check, render and describe plans; needs no cluster.
    #[command(subcommand)]
    Plan(Box<PlanCommand>),
}

impl Cli {
    /// The command about plan folders, if one was asked for.
    pub fn plan(self) -> Option<PlanCommand> {
        match self.command {
            Some(Command::Plan(command)) => Some(*command),
            Some(Command::Serve(_)) | None => None,
        }
    }

    /// The arguments of the service.
    pub fn into_args(self) -> Args {
        match self.command {
            Some(Command::Serve(args)) => *args,
            Some(Command::Plan(_)) | None => self.serve,
        }
    }
}

impl Arguments for Cli {
    fn service(&self) -> &ServiceArgs {
        match &self.command {
            Some(Command::Serve(args)) => &args.service,
            Some(Command::Plan(_)) | None => &self.serve.service,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn no_command_and_serve_take_the_same_arguments() {
        for line in [
            &["catalog-svc", "--templates", "a:b", "--namespace", "n"][..],
            &[
                "catalog-svc",
                "serve",
                "--templates",
                "a",
                "--templates",
                "b",
                "--namespace",
                "n",
            ],
        ] {
            let args = Cli::try_parse_from(line).unwrap().into_args();
            assert_eq!(
                args.templates.templates,
                [PathBuf::from("a"), PathBuf::from("b")]
            );
            assert_eq!(args.namespace, "n");
        }
    }

    #[test]
    fn a_plan_command_is_told_from_serving() {
        let line = ["catalog-svc", "plan", "lint", "templates"];
        assert!(Cli::try_parse_from(line).unwrap().plan().is_some());
        assert!(
            Cli::try_parse_from(["catalog-svc"])
                .unwrap()
                .plan()
                .is_none()
        );
    }
}
