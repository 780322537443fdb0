//! Logs: JSON in a cluster, compact at a terminal, always on standard error.

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::args::{LogFormat, ServiceArgs};

/// Installs the process's subscriber. A filter that does not parse is an error
/// that names its argument.
pub fn init(args: &ServiceArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log_filter)
        .with_context(|| format!("parse BROKER_LOG {:?}", args.log_filter))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => registry
            .with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            )
            .try_init(),
        LogFormat::Compact => registry.with(layer.compact()).try_init(),
    }
    .context("install the log subscriber")
}

/// An error with its causes in one line, for the log. What travels in our
/// errors names hosts, objects and rules, never credentials.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
