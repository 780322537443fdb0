//! See [`demo::run`].

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = demo::Arguments::parse();
    service::process::install_tls_provider();
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(demo::run(arguments)),
        Err(error) => {
            eprintln!("start the runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
