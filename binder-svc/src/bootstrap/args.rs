//! The command line. In a pod everything comes from the environment.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Parser, Subcommand};
use service::{ServiceArgs, process::Arguments};

use super::member::{MemberNames, Ordinal, ordinal_of_pod};

/// Runs beside mongod: initiates the replica set, owns its membership, answers probes.
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
    /// Copies files that mongod wants for itself, and ends.
    Init(InitArgs),
    /// Runs beside mongod until it is told to end.
    Run(Box<RunArgs>),
}

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// A file and where its copy goes, readable for the owner alone; may be repeated.
    #[arg(long, value_name = "FROM=TO", required = true)]
    pub copy: Vec<Copy>,
}

/// A file and where its copy goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The file that is there, such as a key of a mounted Secret.
    pub from: PathBuf,
    /// The file that is made or replaced.
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
    /// Name of this pod; its ordinal is what follows the last dash.
    #[arg(long, env = "BROKER_POD_NAME")]
    pub pod: String,

    /// Namespace of this pod.
    #[arg(long, env = "BROKER_POD_NAMESPACE")]
    pub namespace: String,

    /// The ConfigMap with the wanted number of members.
    #[arg(long, env = "BROKER_TOPOLOGY", default_value = "mdb-topology")]
    pub topology: String,

    /// The ConfigMap with the wanted feature compatibility version. Without it nothing is done
    /// about that.
    #[arg(
        long,
        env = "BROKER_COMPATIBILITY",
        default_value = "mdb-compatibility"
    )]
    pub compatibility: String,

    /// Name of the replica set.
    #[arg(long, env = "BROKER_REPLICA_SET", default_value = "mdb")]
    pub replica_set: String,

    /// Host and port of a member as the others and the applications see it, with `{ordinal}` in
    /// the place of its number: `mdb-{ordinal}.mdb.NAMESPACE.svc.cluster.local:27017`.
    #[arg(long, env = "BROKER_MEMBERS", value_name = "HOST:PORT")]
    pub members: MemberNames,

    /// Host and port of this pod's mongod; a loopback address, or there is no localhost exception.
    #[arg(
        long,
        env = "BROKER_MONGOD",
        default_value = "127.0.0.1:27017",
        value_name = "HOST:PORT"
    )]
    pub mongod: String,

    /// File with the certificate authority. If it is given, all connections to mongod use TLS.
    #[arg(long, env = "BROKER_MONGOD_CA")]
    pub ca: Option<PathBuf>,

    /// Name of the user that administers the set.
    #[arg(long, env = "BROKER_ADMIN_USER", default_value = "osb-admin")]
    pub admin_user: String,

    /// File with that user's password. It is read when it is needed, so it may change.
    #[arg(long, env = "BROKER_ADMIN_PASSWORD_FILE")]
    pub admin_password_file: PathBuf,

    /// Seconds without any contact, after there was one, from which `/live` fails.
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
