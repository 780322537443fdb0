//! Process plumbing that every service shares: arguments, telemetry, request
//! context, admin port, servers, background tasks and shutdown.
//!
//! Knows nothing of what the services do.

pub mod admin;
pub mod args;
pub mod context;
pub mod failpoint;
pub mod grpc;
pub mod http;
mod linger;
pub mod process;
pub mod readiness;
mod settings;
mod supervise;
pub mod telemetry;
pub mod tls;

pub use admin::Admin;
pub use args::{ReplicaArgs, ServiceArgs};
pub use readiness::Readiness;
pub use supervise::{Outcome, Tasks, supervise};
pub use tls::Tls;
