//! The provisioner: owns ServiceInstance. Handlers write what was asked,
//! workers make it so, and outcomes are committed by conditional writes.
//!
//! In reading order: the record ([`resource`], [`state`]), what OSB decides
//! on it ([`decide`]), the life of an instance ([`step`]), the work that
//! follows from it (`work`; the pool of libs/work decides who does it), and
//! what is cleared up later (`sweep`).

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
mod policy_probe;
mod requests;
mod storage;
mod sweep;
mod values;
mod work;

mod app;

pub use app::{App, run};
pub use args::Args;
