//! Wires the service: see the crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::process::main::<binder_svc::Args, _, _>(binder_svc::run)
}
