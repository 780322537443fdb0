//! Wires arguments to mongo-bootstrap.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::process::main::<mongo_bootstrap::args::Args, _, _>(mongo_bootstrap::run)
}
