//! The OSB REST endpoint: HTTP in, gRPC out.
//!
//! Knows the Open Service Broker API 2.17; knows nothing of Kubernetes,
//! MongoDB or templates. It authenticates, negotiates the version, validates
//! what can be judged without a record, looks the ids up in the catalog that
//! it keeps in memory, and passes the request on with that verdict. Whatever
//! needs a record is decided by the service that owns the record.

mod app;
mod args;
mod paths;
mod routes;

mod middleware;

mod auth;
mod identity;
mod version;

mod extract;

mod catalog;
mod controllers;
mod operation;
mod peers;
mod reply;

mod error;
mod gateway;
mod json;
mod metrics;
mod text;

pub use app::{App, run};
pub use args::{Args, HttpArgs, PeerArgs, PollTerminal};
