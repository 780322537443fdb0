//! What can be configured.

use std::{path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand};
use service::{ServiceArgs, args::duration, process::Arguments};

use crate::command::PlanCommand;

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
    /// Work on plan folders, without a cluster.
    #[command(subcommand)]
    Plan(PlanCommand),
}

impl Cli {
    /// The command about plan folders, if one was asked for.
    pub fn plan(self) -> Option<PlanCommand> {
        match self.command {
            Some(Command::Plan(command)) => Some(command),
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

/// Arguments of the service.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    /// Listeners, logging and drain.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Where plans come from.
    #[command(flatten)]
    pub templates: TemplateArgs,

    /// What `*.url` files may name.
    #[command(flatten)]
    pub url: UrlArgs,

    /// The broker's own namespace: bundles are stored there, and plans in
    /// ConfigMaps are read from there.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

    /// Time between two checks of the template folders for changes.
    #[arg(long, env = "BROKER_TEMPLATES_POLL", default_value = "2s",
        value_name = "DURATION", value_parser = duration)]
    pub poll: Duration,

    /// Time between two checks of what the cluster serves and allows, which
    /// decide whether a plan can be ordered.
    #[arg(long, env = "BROKER_RECHECK", default_value = "60s",
        value_name = "DURATION", value_parser = duration)]
    pub recheck: Duration,

    /// Whether the ClusterRole mongodb-osb-plans decides what can be ordered.
    /// "false" suits a developer whose own rights the services run with.
    #[arg(long, env = "BROKER_CHECK_RIGHTS", default_value = "true", action = clap::ArgAction::Set)]
    pub check_rights: bool,
}

impl Args {
    /// These roots, no waiting, and every other default: for tests.
    pub fn for_tests(templates: Vec<PathBuf>, namespace: &str) -> Self {
        Self {
            service: ServiceArgs::for_tests(),
            templates: TemplateArgs { templates },
            url: UrlArgs::default(),
            namespace: namespace.to_owned(),
            poll: Duration::from_millis(200),
            recheck: Duration::from_secs(1),
            check_rights: false,
        }
    }
}

/// Where plans come from.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct TemplateArgs {
    /// Folders of templates, `<service provider>/<plan>/` below each. A plan in a
    /// later one overrides that of the same name in an earlier one. Repeat it,
    /// or separate with ":".
    #[arg(
        long,
        env = "BROKER_TEMPLATES",
        default_value = "/templates:/site-templates",
        value_delimiter = ':'
    )]
    pub templates: Vec<PathBuf>,
}

/// What `*.url` files may name.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct UrlArgs {
    /// Hosts that `*.url` files may name; none by default. Repeat it, or
    /// separate with ",".
    #[arg(long = "url-allow", env = "BROKER_URL_ALLOW", value_delimiter = ',')]
    pub allow: Vec<String>,

    /// A PEM file of certificate authorities that these hosts are verified by,
    /// instead of the system's.
    #[arg(long = "url-ca", env = "BROKER_URL_CA")]
    pub ca: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
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
