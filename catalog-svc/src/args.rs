//! What can be configured of the service.

use std::{path::PathBuf, time::Duration};

use clap::Args as ClapArgs;
use cluster::names::State;
use sandbox::{Program, SandboxArgs};
use service::{ServiceArgs, args::duration};

use crate::source::url::UrlArgs;

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

    /// What the check of a plan may take.
    #[command(flatten)]
    pub sandbox: SandboxArgs,

    /// The broker's own namespace, in which its services are.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

    /// Namespace in which bundles are stored. By default the broker's own with
    /// "-bundles" added.
    #[arg(long, env = "BROKER_BUNDLES_NAMESPACE", value_name = "NAMESPACE")]
    pub bundles_namespace: Option<String>,

    /// Namespace of the ConfigMaps with the site's plans. By default the
    /// broker's own with "-plans" added.
    #[arg(long, env = "BROKER_PLANS_NAMESPACE", value_name = "NAMESPACE")]
    pub plans_namespace: Option<String>,

    /// Time between two checks of the directories of plans for changes.
    #[arg(long, env = "BROKER_TEMPLATES_POLL", default_value = "2s",
        value_name = "DURATION", value_parser = duration)]
    pub poll: Duration,

    /// Time between two checks of the APIs that the cluster serves and of the
    /// ClusterRole mongodb-osb-plans. A plan that needs more than they give
    /// cannot be ordered.
    #[arg(long, env = "BROKER_RECHECK", default_value = "60s",
        value_name = "DURATION", value_parser = duration)]
    pub recheck: Duration,

    /// Whether a plan can be ordered only if the ClusterRole mongodb-osb-plans
    /// covers its kinds. Use "false" where the services run with the rights of
    /// a developer.
    #[arg(long, env = "BROKER_CHECK_RIGHTS", default_value = "true", action = clap::ArgAction::Set)]
    pub check_rights: bool,
}

impl Args {
    /// The namespace in which bundles are stored.
    pub fn bundles_namespace(&self) -> String {
        State::Bundles.named_or_default(self.bundles_namespace.as_ref(), &self.namespace)
    }

    /// The namespace of the ConfigMaps with the site's plans.
    pub fn plans_namespace(&self) -> String {
        State::Plans.named_or_default(self.plans_namespace.as_ref(), &self.namespace)
    }

    /// These roots, one namespace for everything, no waiting, plans checked in
    /// this process, and every other default: for tests.
    pub fn for_tests(templates: Vec<PathBuf>, namespace: &str) -> Self {
        Self {
            service: ServiceArgs::for_tests(),
            templates: TemplateArgs { templates },
            url: UrlArgs::default(),
            sandbox: SandboxArgs {
                program: Program::Here,
                ..SandboxArgs::default()
            },
            namespace: namespace.to_owned(),
            bundles_namespace: Some(namespace.to_owned()),
            plans_namespace: Some(namespace.to_owned()),
            poll: Duration::from_millis(200),
            recheck: Duration::from_secs(1),
            check_rights: false,
        }
    }
}

/// Where plans come from.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct TemplateArgs {
    /// Directories of plans, `<service provider>/<plan>/` below each. A plan in a
    /// later directory replaces the plan of the same name in an earlier one.
    /// Repeat the option, or separate with ":".
    #[arg(
        long,
        env = "BROKER_TEMPLATES",
        default_value = "/templates:/site-templates",
        value_delimiter = ':'
    )]
    pub templates: Vec<PathBuf>,
}
