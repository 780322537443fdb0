//! Wires the service: see the crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = sandbox::asked_for() {
        return code;
    }
    service::process::main::<binder_svc::Args, _, _>(binder_svc::run)
}
