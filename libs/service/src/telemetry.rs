//! Logs: JSON in a cluster, compact at a terminal, always on standard error.

use anyhow::Context as _;
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::args::{LogFormat, ServiceArgs};

/// What these crates log may hold whole answers of the API server, or values
/// that could not be decoded, Secrets included: nothing of it is ever written,
/// whatever BROKER_LOG says.
const NEVER: [&str; 2] = ["kube_client", "kube_runtime"];

/// Installs the process's subscriber. A filter that does not parse is an error
/// that names its argument.
pub fn init(args: &ServiceArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log_filter)
        .with_context(|| format!("parse BROKER_LOG {:?}", args.log_filter))?;
    let filter = filter.and(filter_fn(|metadata| is_allowed(metadata.target())));
    let layer = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    match args.log_format {
        LogFormat::Json => registry
            .with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_filter(filter),
            )
            .try_init(),
        LogFormat::Compact => registry
            .with(layer.compact().with_filter(filter))
            .try_init(),
    }
    .context("install the log subscriber")
}

fn is_allowed(target: &str) -> bool {
    let is_of = |module: &str| {
        let rest = target.strip_prefix(module);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    !NEVER.into_iter().any(is_of)
}

/// An error with its causes in one line, for the log. What travels in our
/// errors names hosts, objects and rules, never credentials.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_kubernetes_is_never_heard() {
        for target in [
            "kube_client",
            "kube_client::client",
            "kube_runtime::watcher",
        ] {
            assert!(!is_allowed(target), "{target}");
        }
        for target in ["kube_client_of_ours", "kube", "provisioner_svc"] {
            assert!(is_allowed(target), "{target}");
        }
    }
}
