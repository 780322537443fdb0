//! The broker under faults: all four services as processes of their own on a
//! real API server and a real mongod, with a proxy before everything that they
//! call, and a platform that orders, changes and deletes through OSB.
//!
//! It knows the broker as its users do: by the OSB API, by the objects in
//! Kubernetes and by the users in the database. `make verify` runs it; it
//! prints a table and fails if one of its invariants does not hold.

mod args;
mod check;
mod database;
mod faults;
mod life;
mod phases;
mod plans;
mod platform;
mod proxy;
mod table;
mod world;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Args, table::Table, world::World};

fn main() -> ExitCode {
    let args = Args::parse();
    service::process::install_tls_provider();
    let ended = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(&args)));
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("verify could not run: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let seed = args.seed;
    println!(
        "seed {seed} (--seed {seed} makes the same choices; what runs at the same time is not repeated)"
    );
    let world = World::start(args).await?;
    let table = Table::default();
    for phase in args.phases() {
        phases::run(phase, &world, args, &table).await;
    }
    table.print();
    if table.faults() == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    // The logs are what explains a fault.
    println!("logs: {}", world.keep_logs().display());
    Ok(ExitCode::FAILURE)
}
