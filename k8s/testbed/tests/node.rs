//! A cluster with a node: real pods, and nothing left of them.
//!
//! The machine has room for one such cluster, so this is one test after the other, with a harness
//! of its own that reports as ignored, with the reason, what a machine cannot run.

mod node {
    pub(super) mod cluster;
    pub(super) mod machine;
    pub(super) mod objects;
}

use std::process::ExitCode;

use node::{cluster, machine};

/// Everything in one: starting a cluster is what takes the time.
const NAME: &str = "pods_run_on_a_node_and_nothing_is_left_of_it";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let obstacle = machine::obstacle();
    let filters: Vec<&String> = args
        .iter()
        .filter(|arg| !arg.starts_with("--") && *arg != "terse")
        .collect();
    if has("--list") {
        // nextest asks for all tests, then for those that are to be ignored.
        if obstacle.is_some() || !has("--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !filters.is_empty() && !filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        println!("\nrunning 0 tests\n");
        return ExitCode::SUCCESS;
    }
    println!("\nrunning 1 test");
    if let Some(reason) = obstacle {
        println!("test {NAME} ... ignored, {reason}\n");
        println!("test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(cluster::run()) {
        Ok(()) => {
            println!("test {NAME} ... ok\n");
            println!(
                "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("test {NAME} ... FAILED\n\n{error:?}\n");
            println!(
                "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n"
            );
            ExitCode::FAILURE
        }
    }
}
