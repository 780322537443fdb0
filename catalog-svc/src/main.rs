//! Wires the program: a command about plan folders, or the service.

use std::process::ExitCode;

use catalog_svc::{Cli, run};
use clap::Parser as _;

fn main() -> ExitCode {
    if let Some(code) = sandbox::asked_for() {
        return code;
    }
    if let Some(command) = Cli::try_parse().ok().and_then(Cli::plan) {
        return command.run();
    }
    // Reports wrong arguments, too.
    service::process::main(|cli: Cli, shutdown| run(cli.into_args(), shutdown))
}
