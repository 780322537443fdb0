//! The command `testbed`: a real Kubernetes cluster on a bare machine.

mod cli;

use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    cli::run(cli::Args::parse()).await
}
