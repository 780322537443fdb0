//! Discovers plan folders, validates them and serves the catalog.
//!
//! What plans mean is `libs/plan`'s; here are the sources they come from, the
//! store of their bundles, the decision what is served, and the gRPC service.

mod app;
mod args;
mod command;
mod discovery;
mod grpc;
mod metrics;
mod orderable;
mod published;
mod snapshot;
mod source;
mod store;
mod wire;

pub use app::{App, run};
pub use args::{Args, Cli, TemplateArgs, UrlArgs};
pub use command::PlanCommand;
