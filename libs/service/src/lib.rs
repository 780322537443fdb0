//! Process plumbing that every service shares: arguments, telemetry, request
//! context, admin port, gRPC server and drain.
//!
//! Knows nothing of what the services do.

pub mod admin;
pub mod args;
pub mod context;
pub mod failpoint;
pub mod grpc;
pub mod http;
pub mod process;
pub mod readiness;
pub mod telemetry;

pub use admin::Admin;
pub use args::ServiceArgs;
pub use readiness::{Gate, Readiness};
