//! The arguments that every service takes.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for a cluster.
    Json,
    /// For a person at a terminal.
    Compact,
}

/// Listeners, logging and drain.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Address that the service listens on; port 0 takes a free one.
    #[arg(long, env = "BROKER_LISTEN", default_value = "0.0.0.0:7000")]
    pub listen: SocketAddr,

    /// Address of the admin port: /live, /ready, /metrics.
    #[arg(long, env = "BROKER_ADMIN_LISTEN", default_value = "0.0.0.0:9000")]
    pub admin_listen: SocketAddr,

    /// How log lines look.
    #[arg(long, env = "BROKER_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// What is logged, in tracing-subscriber's EnvFilter syntax.
    #[arg(long, env = "BROKER_LOG", default_value = "info")]
    pub log_filter: String,

    /// Seconds between "not ready" and the end of accepting, so that
    /// balancers have heard of it.
    #[arg(long, env = "BROKER_DRAIN_DELAY", default_value = "2", value_parser = seconds)]
    pub drain_delay: Duration,

    /// Seconds that calls in flight have to finish after that.
    #[arg(long, env = "BROKER_DRAIN_DEADLINE", default_value = "20", value_parser = seconds)]
    pub drain_deadline: Duration,

    /// Seconds after which a client's connection is closed gracefully, so that
    /// it finds replicas that came later.
    #[arg(long, env = "BROKER_MAX_CONNECTION_AGE", default_value = "300", value_parser = seconds)]
    pub max_connection_age: Duration,
}

impl ServiceArgs {
    /// Loopback, free ports, readable logs, no waiting: for tests.
    pub fn for_tests() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            log_format: LogFormat::Compact,
            log_filter: "info".to_owned(),
            drain_delay: Duration::ZERO,
            drain_deadline: Duration::from_secs(5),
            max_connection_age: Duration::from_secs(300),
        }
    }
}

/// Parses a duration in seconds, fractions allowed; for clap's `value_parser`.
pub fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("{text:?} is not a number of seconds"))
}
