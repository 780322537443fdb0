//! The provisioner's arguments.

use std::time::Duration;

use clap::{Args as ClapArgs, Parser};
use service::{ServiceArgs, args::seconds, process::Arguments};

/// Owns service instances: renders, applies, watches, updates and deletes deployments.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Args {
    /// What every service takes.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Where the broker is and what it adds to each rendering.
    #[command(flatten)]
    pub broker: BrokerArgs,

    /// catalog-svc, as host:port.
    #[arg(long, env = "BROKER_CATALOG", default_value = "catalog-svc:7000")]
    pub catalog: String,

    /// This replica's name, unique among the provisioner's replicas.
    #[arg(long, env = "BROKER_REPLICA", default_value = "provisioner-svc-0")]
    pub replica: String,

    /// Seconds between renewals of this replica's lease.
    #[arg(long, env = "BROKER_LEASE_RENEW", default_value = "3", value_parser = seconds)]
    pub lease_renew: Duration,

    /// Seconds after which a replica that does not renew counts as gone and
    /// its work is taken over.
    #[arg(long, env = "BROKER_LEASE_LIFETIME", default_value = "12", value_parser = seconds)]
    pub lease_lifetime: Duration,

    /// Seconds that a synchronous request waits for its operation.
    #[arg(long, env = "BROKER_SYNC_DEADLINE", default_value = "50", value_parser = seconds)]
    pub sync_deadline: Duration,

    /// Seconds that an operation may take if its plan does not say
    /// (maximum_polling_duration).
    #[arg(long, env = "BROKER_OPERATION_DEADLINE", default_value = "1200")]
    pub operation_deadline: u32,

    /// Hours that results of operations, and tombstones, stay readable.
    #[arg(long, env = "BROKER_KEEP_RESULTS_HOURS", default_value = "72")]
    pub keep_results_hours: u32,

    /// Seconds between sweeps for what nobody owns.
    #[arg(long, env = "BROKER_SWEEP_INTERVAL", default_value = "60", value_parser = seconds)]
    pub sweep_interval: Duration,
}

/// Where the broker is and what it adds to each rendering.
#[derive(Debug, Clone, ClapArgs)]
pub struct BrokerArgs {
    /// The broker's own namespace.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

    /// The cluster's DNS domain.
    #[arg(long, env = "BROKER_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// The image that holds mongo-bootstrap.
    #[arg(
        long,
        env = "BROKER_BOOTSTRAP_IMAGE",
        default_value = "localhost/mongodb-osb/mongo-bootstrap:dev"
    )]
    pub bootstrap_image: String,

    /// Namespaces that may reach databases where an instance names none, comma separated.
    #[arg(long, env = "BROKER_ALLOWED_NAMESPACES", value_delimiter = ',')]
    pub allowed_namespaces: Vec<String>,

    /// Network ranges that may reach databases where an instance names none, comma separated.
    #[arg(long, env = "BROKER_ALLOWED_CIDRS", value_delimiter = ',')]
    pub allowed_cidrs: Vec<String>,

    /// The ServiceAccount of the provisioner in the broker's namespace.
    #[arg(
        long,
        env = "BROKER_PROVISIONER_ACCOUNT",
        default_value = "provisioner-svc"
    )]
    pub provisioner_account: String,

    /// The ServiceAccount of the binder in the broker's namespace.
    #[arg(long, env = "BROKER_BINDER_ACCOUNT", default_value = "binder-svc")]
    pub binder_account: String,
}

impl BrokerArgs {
    /// What templates see as `broker`.
    pub fn variables(&self) -> plan::variables::Broker {
        plan::variables::Broker {
            cluster_domain: self.cluster_domain.clone(),
            namespace: self.namespace.clone(),
            bootstrap_image: self.bootstrap_image.clone(),
            allowed_cidrs: self.allowed_cidrs.clone(),
            allowed_namespaces: self.allowed_namespaces.clone(),
        }
    }
}

impl Arguments for Args {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
}
