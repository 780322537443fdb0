//! The end-to-end tests, on real pods: one cluster and one broker for all of
//! them, brought up before the first and taken down after the last. They share
//! it one after the other, which is why this program is its own harness; it
//! reads and writes what cargo's does.
//!
//! A machine that cannot run pods reports them as ignored, never as passed.

#[path = "e2e/arrows.rs"]
mod arrows;
#[path = "e2e/cases.rs"]
mod cases;
#[path = "e2e/fixture.rs"]
mod fixture;
#[path = "e2e/replica_set.rs"]
mod replica_set;
#[path = "e2e/watcher.rs"]
mod watcher;

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use cases::Case;
use fixture::Fixture;

/// Longer than any case takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let chosen: Vec<Case> = Case::ALL
        .into_iter()
        .filter(|case| {
            words.is_empty() || words.iter().any(|word| case.name().contains(word.as_str()))
        })
        .collect();
    if arguments.iter().any(|word| word == "--list") {
        for case in chosen {
            println!("{}: test", case.name());
        }
        return ExitCode::SUCCESS;
    }
    service::process::install_tls_provider();
    println!("\nrunning {} tests", chosen.len());
    if let Some(reason) = fixture::obstacle() {
        for case in &chosen {
            println!("test {} ... ignored, {reason}", case.name());
        }
        return result(0, 0, chosen.len(), Instant::now());
    }
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(run(&chosen)),
        Err(error) => {
            eprintln!("start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(chosen: &[Case]) -> ExitCode {
    let began = Instant::now();
    if chosen.is_empty() {
        return result(0, 0, 0, began);
    }
    let fixture = match Fixture::up().await {
        Ok(fixture) => fixture,
        Err(error) => {
            println!("test bring_up ... FAILED\n{error:#}");
            Fixture::down().await;
            return result(0, 1, 0, began);
        }
    };
    let mut failed = 0;
    for case in chosen {
        println!("\ncase {}", case.name());
        let ended = match tokio::time::timeout(LIMIT, case.run(&fixture)).await {
            Ok(ended) => ended,
            Err(_) => Err(anyhow::anyhow!("did not end within {} s", LIMIT.as_secs())),
        };
        match ended {
            Ok(()) => println!("test {} ... ok", case.name()),
            Err(error) => {
                failed += 1;
                demo::diagnose::print(&fixture.stage.place).await;
                println!("test {} ... FAILED\n{error:#}", case.name());
            }
        }
    }
    drop(fixture);
    Fixture::down().await;
    result(chosen.len() - failed, failed, 0, began)
}

fn result(passed: usize, failed: usize, ignored: usize, began: Instant) -> ExitCode {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        began.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
