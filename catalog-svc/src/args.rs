//! What can be configured of the service.

use std::{path::PathBuf, time::Duration};

use clap::Args as ClapArgs;
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

    /// The broker's namespace: bundles are stored there, and ConfigMaps with
    /// plans are read from there.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

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
