//! The provisioner's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = sandbox::asked_for() {
        return code;
    }
    service::process::main(provisioner_svc::run)
}
