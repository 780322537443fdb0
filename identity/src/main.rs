//! Wires the program.

use std::process::ExitCode;

use identity::{Args, run};

fn main() -> ExitCode {
    service::process::main(|args: Args, shutdown| run(args, shutdown))
}
