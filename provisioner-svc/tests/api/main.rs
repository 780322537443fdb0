//! The provisioner over gRPC, against a real API server with its controllers.
//! catalog-svc is a fake in this process that serves real bundles.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails where it stands"
)]

mod awaited;
mod budget;
mod claims;
mod confined;
mod crashes;
mod deadlines;
mod harness;
mod life;
mod operations;
mod orphans;
mod paused;
mod permissions;
mod platforms;
mod pool;
mod rendering;
mod replicas;
mod rights;
mod storage;
mod tasks;
mod troubles;
mod unchanged;
