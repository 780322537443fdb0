//! What the broker costs beside what the cluster and the database cost anyway:
//! baseline and broker in turn, in one run, on one machine. `make bench` runs it.
//!
//! Everything is real: API server, controllers, mongod, and the services with
//! the shipped accounts and rights. There is no node, so nothing runs in pods,
//! except with `--pod`, on the demo's cluster.

mod args;
mod bare;
mod database;
mod hop;
mod load;
mod plans;
mod platform;
mod pod;
mod stack;
mod subjects;
mod table;
mod usage;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Args, Subject},
    stack::Stack,
    table::Table,
};

/// Databases of the bindings' measurements.
const DATABASES: usize = 8;
const DATABASES_IF_QUICK: usize = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    service::process::install_tls_provider();
    let ended = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run_or_stop(&args)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench could not run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A signal drops all that runs, and its folders with it.
async fn run_or_stop(args: &Args) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("await SIGTERM")?;
    tokio::select! {
        ended = run(args) => ended,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(file) = &args.serve {
        let bytes = std::fs::read(file);
        let bytes = bytes.with_context(|| format!("read {}", file.display()))?;
        return bare::serve("0.0.0.0:8080", bytes.into(), |_| ()).await;
    }
    if args.hop {
        return hop::serve().await;
    }
    if args.pod {
        return pod::measure(args).await;
    }
    args.check()?;
    let databases = match (args.wants(Subject::Bindings), args.quick) {
        (false, _) => 1,
        (true, true) => DATABASES_IF_QUICK,
        (true, false) => DATABASES,
    };
    let mut stack = filled(args, databases, args.records()).await?;
    let mut table = Table::default();
    for (index, subject) in args.subjects().into_iter().enumerate() {
        if subject == Subject::Growth && index > 0 {
            // What was deleted has left its records: they would count.
            stack.stop().await;
            stack = filled(args, 1, 0).await?;
        }
        subjects::measure(subject, &stack, args, &mut table).await?;
    }
    println!(
        "\n{}, {} of {}, replicas of each service: {}, records: {}, rounds: {}{}\n\n{}",
        jiff::Zoned::now().strftime("%F %R"),
        std::thread::available_parallelism()?,
        processor(),
        args.replicas,
        args.records(),
        args.rounds(),
        if args.quick { ", quick" } else { "" },
        table.markdown()
    );
    Ok(())
}

/// The processor's model: times of different ones cannot be compared.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = text.lines();
    let model = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(
        || "an unknown processor".to_owned(),
        |(_, model)| model.to_owned(),
    )
}

/// All that runs, with the finished instances that are to be there first.
async fn filled(args: &Args, databases: usize, records: usize) -> anyhow::Result<Stack> {
    let stack = Stack::start(args, databases).await?;
    println!("{records} finished instances first");
    subjects::fill(&stack, 0, records).await?;
    Ok(stack)
}
