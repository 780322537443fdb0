//! The provisioner's arguments.

use std::time::Duration;

use ::work::WorkArgs;
use clap::{Args as ClapArgs, Parser};
use cluster::names::State;
use sandbox::SandboxArgs;
use service::{ReplicaArgs, ServiceArgs, args::duration, process::Arguments};

/// Owns service instances: renders, applies, watches, updates and deletes deployments.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Args {
    /// Listeners, logging and shutdown.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Where the broker is and what it adds to each rendering.
    #[command(flatten)]
    pub broker: BrokerArgs,

    /// Address of catalog-svc, as host:port.
    #[arg(long, env = "BROKER_CATALOG", default_value = "catalog-svc:7000")]
    pub catalog: String,

    /// The replicas that share the work.
    #[command(flatten)]
    pub replica: ReplicaArgs,

    /// How much work at once.
    #[command(flatten)]
    pub work: WorkArgs,

    /// What one rendering may take.
    #[command(flatten)]
    pub sandbox: SandboxArgs,

    /// How long a synchronous request waits for its operation; the operation
    /// goes on after that.
    #[arg(long, env = "BROKER_SYNC_DEADLINE", default_value = "50s",
        value_name = "DURATION", value_parser = duration)]
    pub sync_deadline: Duration,

    /// How long the results of operations and the records of deleted
    /// instances are kept.
    #[arg(long, env = "BROKER_KEEP_RESULTS", default_value = "72h",
        value_name = "DURATION", value_parser = duration)]
    pub keep_results: Duration,

    /// Time between two sweeps for objects that belong to no instance.
    #[arg(long, env = "BROKER_SWEEP_INTERVAL", default_value = "60s",
        value_name = "DURATION", value_parser = duration)]
    pub sweep_interval: Duration,

    /// A Service, as host:port, that the broker's own NetworkPolicy closes to
    /// this one. The log says at the start if it can be reached all the same:
    /// nothing enforces NetworkPolicies there. Empty: not tried.
    #[arg(
        long,
        env = "BROKER_POLICY_PROBE",
        default_value = "",
        value_name = "HOST:PORT"
    )]
    pub policy_probe: String,

    /// How long after its RoleBinding was made a missing right counts as one
    /// that the API servers have not learnt of yet.
    #[arg(long, env = "BROKER_RIGHTS_DELAY", default_value = "30s",
        value_name = "DURATION", value_parser = duration)]
    pub rights_delay: Duration,
}

/// Where the broker is and what it adds to each rendering.
#[derive(Debug, Clone, ClapArgs)]
pub struct BrokerArgs {
    /// The broker's own namespace, in which its services and their accounts are.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

    /// Namespace of the instances' records, their revisions, the databases' CA
    /// and the leases of this service. By default the broker's own with
    /// "-instances" added.
    #[arg(long, env = "BROKER_INSTANCES_NAMESPACE", value_name = "NAMESPACE")]
    pub instances_namespace: Option<String>,

    /// Namespace of the catalog's bundles, of which this service deletes old
    /// ones. By default the broker's own with "-bundles" added.
    #[arg(long, env = "BROKER_BUNDLES_NAMESPACE", value_name = "NAMESPACE")]
    pub bundles_namespace: Option<String>,

    /// Namespace of the Secrets that plans read. By default the broker's own
    /// with "-plans" added.
    #[arg(long, env = "BROKER_PLANS_NAMESPACE", value_name = "NAMESPACE")]
    pub plans_namespace: Option<String>,

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
    /// The namespace of the instances' records.
    pub fn instances_namespace(&self) -> String {
        State::Instances.named_or_default(self.instances_namespace.as_ref(), &self.namespace)
    }

    /// The namespace of the catalog's bundles.
    pub fn bundles_namespace(&self) -> String {
        State::Bundles.named_or_default(self.bundles_namespace.as_ref(), &self.namespace)
    }

    /// The namespace of the Secrets that plans read.
    pub fn plans_namespace(&self) -> String {
        State::Plans.named_or_default(self.plans_namespace.as_ref(), &self.namespace)
    }

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
