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
pub mod process;
pub mod readiness;
mod settings;
mod supervise;
pub mod telemetry;

pub use admin::Admin;
pub use args::{ReplicaArgs, ServiceArgs};
pub use readiness::Readiness;
pub use supervise::{Outcome, Tasks, supervise};

/// A request makes dozens of small allocations, many of which another thread
/// frees: the C library's allocator spends a third of a poll's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
