//! Wires arguments to the gateway.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::process::main::<gateway::Args, _, _>(gateway::run)
}
