//! The gateway's arguments.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use service::{ServiceArgs, args::duration, process::Arguments};

/// Serves the Open Service Broker API 2.17 to platforms.
#[derive(Debug, Clone, Parser)]
#[command(version, mut_arg("listen", |arg| arg.default_value("0.0.0.0:8080")))]
pub struct Args {
    /// Listeners, logging and shutdown.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// The broker's other services.
    #[command(flatten)]
    pub peers: PeerArgs,

    /// The OSB endpoint.
    #[command(flatten)]
    pub http: HttpArgs,
}

impl Arguments for Args {
    fn service(&self) -> &ServiceArgs {
        &self.service
    }
}

/// Where the broker's services are, and how long they may take.
#[derive(Debug, Clone, clap::Args)]
pub struct PeerArgs {
    /// Address of catalog-svc: host:port.
    #[arg(long, env = "BROKER_CATALOG", default_value = "catalog-svc:7000")]
    pub catalog: String,

    /// Address of provisioner-svc, in the same form.
    #[arg(
        long,
        env = "BROKER_PROVISIONER",
        default_value = "provisioner-svc:7000"
    )]
    pub provisioner: String,

    /// Address of binder-svc, in the same form.
    #[arg(long, env = "BROKER_BINDER", default_value = "binder-svc:7000")]
    pub binder: String,

    /// Longest time for a PUT, PATCH or DELETE; then it is answered 504. Must
    /// be longer than BROKER_SYNC_DEADLINE of the other services.
    #[arg(long, env = "BROKER_WRITE_DEADLINE", default_value = "60s",
        value_name = "DURATION", value_parser = duration)]
    pub write_deadline: Duration,

    /// Longest time for a GET; then it is answered 504.
    #[arg(long, env = "BROKER_READ_DEADLINE", default_value = "10s",
        value_name = "DURATION", value_parser = duration)]
    pub read_deadline: Duration,
}

/// How the OSB endpoint behaves.
#[derive(Debug, Clone, clap::Args)]
pub struct HttpArgs {
    /// Directory of the logins that platforms may use: the files "username",
    /// "password" and "platform", or a folder with these three for each login.
    /// Changes take effect while the gateway runs.
    #[arg(
        long,
        env = "BROKER_CREDENTIALS",
        default_value = "/etc/broker/credentials"
    )]
    pub credentials: PathBuf,

    /// Time between two checks of that directory for changes.
    #[arg(long, env = "BROKER_CREDENTIALS_RELOAD", default_value = "5s",
        value_name = "DURATION", value_parser = duration)]
    pub credentials_reload: Duration,

    /// Folder with tls.crt and tls.key, with which platforms are served over HTTPS. It is read again
    /// every BROKER_TLS_RELOAD; changes take effect on new connections. Without it HTTP is plaintext,
    /// and something in front of the gateway must end TLS.
    #[arg(long, env = "BROKER_HTTPS", value_name = "FOLDER")]
    pub https: Option<PathBuf>,

    /// Largest request body in bytes; larger ones are answered 413. At most
    /// 716800: a body can grow six-fold on its way to a service, which takes
    /// messages of 4 MiB.
    #[arg(
        long,
        env = "BROKER_MAX_BODY",
        default_value_t = 512 * 1024,
        value_parser = clap::value_parser!(u32).range(1024..=700 * 1024)
    )]
    pub max_body: u32,

    /// Most requests at a time; further ones are answered 503.
    #[arg(
        long,
        env = "BROKER_MAX_IN_FLIGHT",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    pub max_in_flight: u32,

    /// Most connections at a time; further ones wait to be accepted. Each may take 150 KiB.
    #[arg(
        long,
        env = "BROKER_MAX_CONNECTIONS",
        default_value_t = 384,
        value_parser = clap::value_parser!(u32).range(1..=65_536)
    )]
    pub max_connections: u32,

    /// Answer to a poll after an asynchronous deprovision or unbind has succeeded.
    #[arg(
        long,
        env = "BROKER_DEPROVISION_POLL_TERMINAL",
        default_value = "succeeded"
    )]
    pub deprovision_poll_terminal: PollTerminal,
}

/// The specification allows both answers, and platforms differ in which they
/// expect (cloudfoundry/servicebroker#763).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PollTerminal {
    /// `200` with `{"state": "succeeded"}`.
    Succeeded,
    /// `410 Gone`.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_listens_on_8080_by_default() {
        let args = Args::try_parse_from(["gateway"]).unwrap();
        assert_eq!(args.service.listen.port(), 8080);
        assert_eq!(args.http.max_body, 512 * 1024);
        let args = Args::try_parse_from(["gateway", "--listen", "127.0.0.1:1"]).unwrap();
        assert_eq!(args.service.listen.port(), 1);
    }

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_argument() {
        let error = Args::try_parse_from(["gateway", "--max-body", "1"]).unwrap_err();
        assert!(error.to_string().contains("--max-body"));
    }
}
