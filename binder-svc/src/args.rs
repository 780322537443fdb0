//! What can be configured.

use std::time::Duration;

use clap::Parser;
use cluster::names::State;
use sandbox::SandboxArgs;
use service::{ReplicaArgs, ServiceArgs, args::duration, process::Arguments};
use work::WorkArgs;

/// Owns service bindings: database users and their credentials.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// Listeners, logging and shutdown.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Work on records.
    #[command(flatten)]
    pub work: WorkArgs,

    /// The broker's own namespace, in which its services are.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

    /// Namespace of the bindings' records, their logins and the leases of this
    /// service. By default the broker's own with "-bindings" added.
    #[arg(long, env = "BROKER_BINDINGS_NAMESPACE", value_name = "NAMESPACE")]
    pub bindings_namespace: Option<String>,

    /// Address of catalog-svc, as host:port.
    #[arg(long, env = "BROKER_CATALOG", default_value = "catalog-svc:7000")]
    pub catalog: String,

    /// Address of provisioner-svc, as host:port.
    #[arg(
        long,
        env = "BROKER_PROVISIONER",
        default_value = "provisioner-svc:7000"
    )]
    pub provisioner: String,

    /// What the evaluation of a plan may take.
    #[command(flatten)]
    pub sandbox: SandboxArgs,

    /// The replicas that share the work.
    #[command(flatten)]
    pub replica: ReplicaArgs,

    /// How long a synchronous request waits for its operation; the operation
    /// goes on after that.
    #[arg(long, env = "BROKER_SYNC_DEADLINE", default_value = "20s",
        value_name = "DURATION", value_parser = duration)]
    pub sync_deadline: Duration,

    /// Time after which a bind that has not succeeded fails.
    #[arg(long, env = "BROKER_BIND_DEADLINE", default_value = "600s",
        value_name = "DURATION", value_parser = duration)]
    pub bind_deadline: Duration,

    /// Time after which an unbind succeeds although the database is
    /// unreachable; revocation continues in the background.
    #[arg(long, env = "BROKER_REVOKE_DEADLINE", default_value = "900s",
        value_name = "DURATION", value_parser = duration)]
    pub revoke_deadline: Duration,

    /// How long the results of operations and the records of deleted bindings
    /// are kept.
    #[arg(long, env = "BROKER_KEEP_RESULTS", default_value = "72h",
        value_name = "DURATION", value_parser = duration)]
    pub keep_results: Duration,

    /// Delay after a revocation before the database is checked again for users
    /// that a suspended replica created late. Must be longer than the lifetime
    /// of a lease and the longest call of the database together.
    #[arg(long, env = "BROKER_SECOND_LOOK", default_value = "30s",
        value_name = "DURATION", value_parser = duration)]
    pub second_look: Duration,

    /// Time between two sweeps for Secrets and database users that belong to
    /// no binding.
    #[arg(long, env = "BROKER_SWEEP_INTERVAL", default_value = "600s",
        value_name = "DURATION", value_parser = duration)]
    pub sweep_interval: Duration,
}

impl Args {
    /// The namespace of the bindings' records.
    pub fn bindings_namespace(&self) -> String {
        State::Bindings.named_or_default(self.bindings_namespace.as_ref(), &self.namespace)
    }
}

impl Arguments for Args {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
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
