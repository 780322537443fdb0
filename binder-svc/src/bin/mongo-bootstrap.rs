//! The program that runs beside mongod; see `binder_svc::bootstrap`.

use std::process::ExitCode;

use binder_svc::bootstrap::{self, args::Args};

fn main() -> ExitCode {
    service::process::main::<Args, _, _>(bootstrap::run)
}
