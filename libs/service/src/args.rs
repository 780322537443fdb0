//! The arguments that every service takes.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use crate::supervise::RESERVE;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for a cluster.
    Json,
    /// For a person at a terminal.
    Compact,
}

/// Listeners, logging and shutdown.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Address to serve on; port 0 takes a free one.
    #[arg(long, env = "BROKER_LISTEN", default_value = "0.0.0.0:7000")]
    pub listen: SocketAddr,

    /// Address of the admin port, which serves /live, /ready and /metrics.
    #[arg(long, env = "BROKER_ADMIN_LISTEN", default_value = "0.0.0.0:9000")]
    pub admin_listen: SocketAddr,

    /// Format of log lines.
    #[arg(long, env = "BROKER_LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// What is logged: a level, or an EnvFilter of tracing-subscriber like
    /// "info,gateway=debug".
    #[arg(long, env = "BROKER_LOG", default_value = "info")]
    pub log_filter: String,

    /// How long a replica that shuts down still accepts connections, so that
    /// clients and load balancers can learn that it goes. Must be longer than
    /// the 5 s between two DNS look-ups of the broker's own clients.
    #[arg(long, env = "BROKER_DRAIN_DELAY", default_value = "7s",
        value_name = "DURATION", value_parser = duration)]
    pub drain_delay: Duration,

    /// Longest time from SIGTERM to the end of the process. The drain delay
    /// and 5 s for the lease and other clean-up are part of it; requests in
    /// flight get the rest. Must be less than the pod's
    /// terminationGracePeriodSeconds.
    #[arg(long, env = "BROKER_SHUTDOWN_DEADLINE", default_value = "28s",
        value_name = "DURATION", value_parser = duration)]
    pub shutdown_deadline: Duration,

    /// Age at which a client's connection is closed gracefully, so that the
    /// client finds replicas that were added later.
    #[arg(long, env = "BROKER_MAX_CONNECTION_AGE", default_value = "300s",
        value_name = "DURATION", value_parser = duration)]
    pub max_connection_age: Duration,

    /// How long calls on a gRPC connection that is closed for its age may still
    /// take: longer than any call. Streams end with it, and are opened again.
    #[arg(long, env = "BROKER_MAX_CONNECTION_GRACE", default_value = "120s",
        value_name = "DURATION", value_parser = duration)]
    pub max_connection_grace: Duration,

    /// Folder with tls.crt, tls.key and ca.crt: who this service is to the
    /// broker's others, and the authorities that it believes. Changes take
    /// effect on new connections. Without it gRPC is plaintext, and anybody
    /// may call.
    #[arg(long, env = "BROKER_TLS", value_name = "FOLDER")]
    pub tls: Option<PathBuf>,

    /// Time between two checks of that folder for changes.
    #[arg(long, env = "BROKER_TLS_RELOAD", default_value = "5s",
        value_name = "DURATION", value_parser = duration)]
    pub tls_reload: Duration,

    /// Describes the service to those who ask by gRPC reflection, as grpcurl does.
    #[arg(long, env = "BROKER_REFLECTION")]
    pub reflection: bool,
}

/// What identifies a replica among those that share its work.
#[derive(Debug, Clone, Args)]
pub struct ReplicaArgs {
    /// Name of this replica, unique among the replicas of its service. By
    /// default the host name, which in a pod is the pod's name.
    #[arg(long, env = "BROKER_REPLICA", default_value_t = host_name(), hide_default_value = true)]
    pub replica: String,

    /// Time between two renewals of this replica's lease.
    #[arg(long, env = "BROKER_LEASE_RENEW", default_value = "3s",
        value_name = "DURATION", value_parser = duration)]
    pub lease_renew: Duration,

    /// Time without a renewal after which a replica counts as gone and others
    /// take its work over.
    #[arg(long, env = "BROKER_LEASE_LIFETIME", default_value = "12s",
        value_name = "DURATION", value_parser = duration)]
    pub lease_lifetime: Duration,
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
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
            shutdown_deadline: Duration::from_secs(10),
            max_connection_age: Duration::from_secs(300),
            max_connection_grace: Duration::from_secs(120),
            tls: None,
            tls_reload: Duration::from_millis(50),
            reflection: true,
        }
    }

    /// The part of the shutdown deadline in which requests in flight may finish.
    pub(crate) fn drain_time(&self) -> Duration {
        self.shutdown_deadline
            .saturating_sub(self.drain_delay)
            .saturating_sub(RESERVE)
    }

    /// How long a gRPC connection lives at most.
    pub(crate) fn longest_connection(&self) -> Duration {
        self.max_connection_age
            .saturating_add(self.max_connection_grace)
    }
}

/// Parses a duration like `72h`, `1m 30s` or `250ms`; a number without a unit
/// is in seconds. For clap's `value_parser`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let seconds = || Duration::try_from_secs_f64(text.parse().ok()?).ok();
    let friendly = || Duration::try_from(text.parse::<jiff::SignedDuration>().ok()?).ok();
    seconds()
        .or_else(friendly)
        .ok_or_else(|| "expected a duration like 90s, 1h 30m or 500ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_seconds() {
        for (text, millis) in [
            ("90", 90_000),
            ("0.5", 500),
            ("90s", 90_000),
            ("72h", 259_200_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "-5s", "soon", "3 fortnights", "inf", "NaN"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_shutdown_deadline_is_divided_and_never_exceeded() {
        let args = ServiceArgs {
            drain_delay: Duration::from_secs(7),
            shutdown_deadline: Duration::from_secs(28),
            ..ServiceArgs::for_tests()
        };
        assert_eq!(args.drain_time(), Duration::from_secs(16));
        let short = ServiceArgs {
            shutdown_deadline: Duration::from_secs(9),
            ..args
        };
        assert_eq!(short.drain_time(), Duration::ZERO);
    }
}
