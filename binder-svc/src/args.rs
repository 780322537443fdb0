//! What can be configured.

use std::time::Duration;

use clap::Parser;
use service::{ServiceArgs, args::seconds, process::Arguments};

/// Owns service bindings: database users and their credentials.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// Listeners, logs, drain.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Namespace of the broker itself: records and credentials live there.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

    /// catalog-svc, as host:port.
    #[arg(long, env = "BROKER_CATALOG", default_value = "catalog-svc:7000")]
    pub catalog: String,

    /// provisioner-svc, as host:port.
    #[arg(
        long,
        env = "BROKER_PROVISIONER",
        default_value = "provisioner-svc:7000"
    )]
    pub provisioner: String,

    /// This replica's name, unique among the replicas: the pod's.
    #[arg(long, env = "BROKER_REPLICA", default_value_t = replica())]
    pub replica: String,

    /// Seconds between renewals of this replica's lease.
    #[arg(long, env = "BROKER_LEASE_RENEW", default_value = "3", value_parser = seconds)]
    pub lease_renew: Duration,

    /// Seconds after which a replica that does not renew counts as gone and
    /// its work is taken over.
    #[arg(long, env = "BROKER_LEASE_LIFETIME", default_value = "12", value_parser = seconds)]
    pub lease_lifetime: Duration,

    /// Seconds that a synchronous request waits for its outcome; the work goes on after it.
    #[arg(long, env = "BROKER_REQUEST_DEADLINE", default_value = "20", value_parser = seconds)]
    pub request_deadline: Duration,

    /// Seconds after which a bind that does not succeed fails.
    #[arg(long, env = "BROKER_BIND_DEADLINE", default_value = "600", value_parser = seconds)]
    pub bind_deadline: Duration,

    /// Seconds after which an unbind whose database does not answer is told to
    /// be done; the revocation is then tried on.
    #[arg(long, env = "BROKER_REVOKE_DEADLINE", default_value = "900", value_parser = seconds)]
    pub revoke_deadline: Duration,

    /// Seconds that tombstones and results of operations are kept.
    #[arg(long, env = "BROKER_KEEP_RESULTS", default_value = "259200", value_parser = seconds)]
    pub keep_results: Duration,

    /// Seconds after a revocation when it is looked once more for users that a
    /// replica made that had slept; above a lease's lifetime plus the longest call.
    #[arg(long, env = "BROKER_SECOND_LOOK", default_value = "30", value_parser = seconds)]
    pub second_look: Duration,

    /// Seconds between sweeps for Secrets and users that no record names.
    #[arg(long, env = "BROKER_SWEEP_INTERVAL", default_value = "600", value_parser = seconds)]
    pub sweep_interval: Duration,
}

impl Arguments for Args {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
}

/// The host's name: in a pod, the pod's.
fn replica() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
