//! What can be configured.

use std::time::Duration;

use clap::Parser;
use service::{ServiceArgs, args::duration, process::Arguments};

/// Gives the broker's services their certificates.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Args {
    /// Admin port, logging and shutdown; it serves nothing else.
    #[command(flatten)]
    pub service: ServiceArgs,

    /// Namespace of the broker's pods, with a Secret for each certificate.
    #[arg(long, env = "BROKER_NAMESPACE", default_value = "mongodb-osb")]
    pub namespace: String,

    /// Namespace of the authority's key, which nobody else may read.
    #[arg(
        long,
        env = "BROKER_AUTHORITY_NAMESPACE",
        default_value = "mongodb-osb-authority"
    )]
    pub authority_namespace: String,

    /// How long things last.
    #[command(flatten)]
    pub lives: Lives,

    /// Time between two looks at what is stored.
    #[arg(long, env = "BROKER_RECHECK", default_value = "60s",
        value_name = "DURATION", value_parser = duration)]
    pub recheck: Duration,
}

/// How long certificates and authorities last.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Lives {
    /// How long a service's certificate is valid.
    #[arg(long = "leaf-lifetime", env = "BROKER_LEAF_LIFETIME", default_value = "720h",
        value_name = "DURATION", value_parser = duration)]
    pub leaf: Duration,

    /// Age at which it is replaced.
    #[arg(long, env = "BROKER_LEAF_RENEW_AFTER", default_value = "480h",
        value_name = "DURATION", value_parser = duration)]
    pub leaf_renew_after: Duration,

    /// How long an authority is valid.
    #[arg(long = "authority-lifetime", env = "BROKER_AUTHORITY_LIFETIME", default_value = "8760h",
        value_name = "DURATION", value_parser = duration)]
    pub authority: Duration,

    /// Age at which the next authority is made.
    #[arg(long, env = "BROKER_AUTHORITY_RENEW_AFTER", default_value = "5840h",
        value_name = "DURATION", value_parser = duration)]
    pub authority_renew_after: Duration,

    /// How long services have to read that there is a new authority before it
    /// signs. Must be longer than a mounted Secret takes to reach every pod,
    /// about two minutes.
    #[arg(long = "authority-overlap", env = "BROKER_AUTHORITY_OVERLAP", default_value = "1h",
        value_name = "DURATION", value_parser = duration)]
    pub overlap: Duration,
}

impl Lives {
    /// Refuses what would renew for ever or too late.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.leaf_renew_after < self.leaf,
            "BROKER_LEAF_RENEW_AFTER must be less than BROKER_LEAF_LIFETIME"
        );
        anyhow::ensure!(
            self.authority_renew_after + self.overlap + self.leaf <= self.authority,
            "BROKER_AUTHORITY_LIFETIME must be at least BROKER_AUTHORITY_RENEW_AFTER, \
             BROKER_AUTHORITY_OVERLAP and BROKER_LEAF_LIFETIME together: an authority must not end \
             before the last certificate that it has signed"
        );
        Ok(())
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
        let args = Args::try_parse_from(["identity"]).unwrap();
        args.lives.check().unwrap();
        let args = Args::try_parse_from(["identity", "--leaf-renew-after", "720h"]).unwrap();
        assert!(args.lives.check().is_err());
        let args = Args::try_parse_from(["identity", "--authority-lifetime", "6000h"]).unwrap();
        assert!(args.lives.check().is_err());
    }
}
