//! The provisioner: owns ServiceInstance. Handlers write what was asked,
//! workers make it so, and outcomes are committed by conditional writes.
//!
//! In reading order: the record ([`resource`], [`state`]), what OSB decides
//! on it ([`decide`]), the life of an instance ([`step`]) and the work that
//! follows from it (`work`), who does that work (`reconcile`), and what
//! clears up behind everybody (`sweep`).

pub mod args;
pub mod resource;
pub mod state;

pub mod decide;
pub mod revision;
pub mod step;

mod ca;
pub mod catalog;
mod claims;
mod context;
mod error;
mod grpc;
mod metrics;
mod place;
mod reconcile;
mod requests;
mod storage;
mod sweep;
mod values;
mod work;

mod app;

pub use app::{App, run};
pub use args::Args;
