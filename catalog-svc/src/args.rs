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
