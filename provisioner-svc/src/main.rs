//! The provisioner's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::process::main(provisioner_svc::run)
}
