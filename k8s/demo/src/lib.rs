//! The broker's whole job through its OSB endpoint, as a demo and as the end-to-end test.
//!
//! Knows the broker as its users do: by its HTTP API, its manifests and its
//! images. Only the names of its Kubernetes objects are shared with it, to see
//! that nothing is left behind.

pub mod args;

pub mod run;

pub mod place;

pub mod kubectl;

pub mod images;

pub mod overlay;

pub mod release;

pub mod deploy;

pub mod occupancy;

pub mod forward;

pub mod stage;

pub mod scenario;

pub mod osb;

pub mod transcript;

pub mod redact;

pub mod app;

pub mod writer;

pub mod app_pod;

pub mod reach;

pub mod members;

pub mod leftovers;

pub mod secrets;

pub mod diagnose;

pub mod removal;

pub use args::Arguments;
pub use run::run;
