//! The command line. In a pod everything comes from the environment.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Parser, Subcommand};
use service::{ServiceArgs, process::Arguments};

use super::member::{MemberNames, Ordinal, ordinal_of_pod};

/// Sidecar of mongod in a replica set: initiates the set, adds and removes members, reports the
/// state of the set, and answers the pod's probes.
#[derive(Debug, Parser)]
#[command(name = "mongo-bootstrap", version)]
pub struct Args {
    /// Logging, and the address of the probes (`--admin-listen`).
    #[command(flatten)]
    pub service: ServiceArgs,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments for Args {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copy files, such as mongod's keyfile, with permissions that mongod accepts; then exit.
    Init(InitArgs),
    /// Run beside mongod until SIGTERM.
    Run(Box<RunArgs>),
}

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// A file and the path of its copy, which only its owner can read (mode 0400). May be repeated.
    #[arg(long, value_name = "FROM=TO", required = true)]
    pub copy: Vec<Copy>,
}

/// A file and the path of its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The source, such as a key of a mounted Secret.
    pub from: PathBuf,
    /// The copy, which is made or replaced.
    pub to: PathBuf,
}

impl FromStr for Copy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Self {
                from: from.into(),
                to: to.into(),
            }),
            _ => Err(format!("{text:?} is not FROM=TO")),
        }
    }
}

/// Arguments of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// Name of this pod, such as mdb-0. The member's ordinal follows the last dash.
    #[arg(long, env = "BROKER_POD_NAME")]
    pub pod: String,

    /// Namespace of this pod.
    #[arg(long, env = "BROKER_POD_NAMESPACE")]
    pub namespace: String,

    /// Name of the ConfigMap with the wanted number of members. The state of the set is reported in
    /// its annotations.
    #[arg(long, env = "BROKER_TOPOLOGY", default_value = "mdb-topology")]
    pub topology: String,

    /// Name of the ConfigMap with the wanted feature compatibility version. While it does not exist
    /// the version is left alone.
    #[arg(
        long,
        env = "BROKER_COMPATIBILITY",
        default_value = "mdb-compatibility"
    )]
    pub compatibility: String,

    /// Name of the ConfigMap with the logins that the broker wants revoked and gets no connection
    /// for. While it does not exist there are none.
    #[arg(
        long,
        env = "BROKER_REVOCATIONS",
        default_value = mongo::revocation::OBJECT
    )]
    pub revocations: String,

    /// Name of the replica set.
    #[arg(long, env = "BROKER_REPLICA_SET", default_value = "mdb")]
    pub replica_set: String,

    /// Host and port under which members and applications reach a member, with {ordinal} for its
    /// number: mdb-{ordinal}.mdb.NAMESPACE.svc.cluster.local:27017
    #[arg(long, env = "BROKER_MEMBERS", value_name = "HOST:PORT")]
    pub members: MemberNames,

    /// Host and port of this pod's mongod. It must be a loopback address: the admin user is created
    /// through the localhost exception.
    #[arg(
        long,
        env = "BROKER_MONGOD",
        default_value = "127.0.0.1:27017",
        value_name = "HOST:PORT"
    )]
    pub mongod: String,

    /// PEM file with the certificate authority of the members' certificates. If given, all
    /// connections to mongod use TLS.
    #[arg(long, env = "BROKER_MONGOD_CA")]
    pub ca: Option<PathBuf>,

    /// Name of the admin user, which is created in the database admin.
    #[arg(long, env = "BROKER_ADMIN_USER", default_value = "osb-admin")]
    pub admin_user: String,

    /// File with the admin user's password. It is read at each login.
    #[arg(long, env = "BROKER_ADMIN_PASSWORD_FILE")]
    pub admin_password_file: PathBuf,

    /// Time after mongod's last answer from which /live fails, such as 10m; a plain number is in
    /// seconds. It never fails before mongod has answered once.
    #[arg(long, env = "BROKER_DEAD_AFTER", default_value = "600",
          value_parser = service::args::duration)]
    pub dead_after: Duration,
}

impl RunArgs {
    /// This pod's ordinal and its name as a member.
    pub fn member(&self) -> anyhow::Result<(Ordinal, String)> {
        let ordinal = ordinal_of_pod(&self.pod)?;
        Ok((ordinal, self.members.host(ordinal)))
    }
}
