//! From `main` to `run`: arguments, logs, signals, exit codes.

use std::{future::Future, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{args::ServiceArgs, settings, telemetry};

/// Exit code for a configuration that cannot be used (sysexits' EX_USAGE).
const USAGE: u8 = 64;
/// Kubernetes shows this file's content in the pod's status.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Arguments of a service: [`ServiceArgs`] flattened into its own.
pub trait Arguments: Parser {
    /// The shared part.
    fn service(&self) -> &ServiceArgs;
}

/// Runs a service to its end: parses the arguments (64 if they are wrong),
/// installs logs and the TLS provider, and calls `run` with a token that
/// SIGTERM or SIGINT cancels; a second signal ends the process at once.
pub fn main<A, F, R>(run: F) -> ExitCode
where
    A: Arguments,
    F: FnOnce(A, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Also prints --help and --version, which are no failure.
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    if let Err(error) = telemetry::init(args.service()) {
        eprintln!("{error:#}");
        return ExitCode::from(USAGE);
    }
    settings::warn_of_unknown(&A::command());
    install_tls_provider();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fatal(&anyhow::Error::new(error).context("start the runtime")),
    };
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(await_signals(shutdown.clone()));
        run(args, shutdown).await
    });
    // Blocking tasks and connections that did not end in time end here.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fatal(&error),
    }
}

/// Chooses ring for rustls; harmless if it was chosen before.
pub fn install_tls_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn fatal(error: &anyhow::Error) -> ExitCode {
    tracing::error!(error = format!("{error:#}"), "service failed");
    // Absent outside of a pod.
    let _ = std::fs::write(TERMINATION_LOG, format!("{error:#}\n"));
    ExitCode::FAILURE
}

async fn await_signals(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!(
            "signal handlers not installed, SIGTERM will end the process without draining"
        );
        return;
    };
    let mut wait = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = wait().await;
    tracing::info!(signal = name, "shutting down");
    shutdown.cancel();
    let name = wait().await;
    tracing::warn!(signal = name, "second signal, exiting at once");
    std::process::exit(130);
}
