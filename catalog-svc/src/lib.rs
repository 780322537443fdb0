//! Discovers plan folders, validates them and serves the catalog.
//!
//! What plans mean is `libs/plan`'s; here are the sources they come from, the
//! store of their bundles, the decision what is served, and the gRPC service.

mod app;
mod args;
mod cli;
mod command;
mod discovery;
mod events;
#[cfg(test)]
mod every_key;
mod grpc;
mod metrics;
mod orderable;
mod published;
mod served;
mod snapshot;
mod source;
mod store;
mod wire;

pub use app::{App, run};
pub use args::{Args, TemplateArgs};
pub use cli::Cli;
pub use command::PlanCommand;
pub use source::url::UrlArgs;
