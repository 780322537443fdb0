//! The broker's way with Kubernetes: names and labels, records with their
//! operations, creation as a gate, rights, and the sharing of work among
//! replicas. What is done with rendered objects is in libs/objects.
//!
//! Knows nothing of OSB's HTTP, of plans or of MongoDB.

pub mod names;

pub mod error;

pub mod list;

pub mod audit;

pub mod operation;

pub mod records;

pub mod cache;

pub mod revision;

pub mod gate;

pub mod orphan;

pub mod age;

pub mod event;

pub mod share;

pub use error::Error;

/// Field manager of everything that the broker applies.
pub const FIELD_MANAGER: &str = "mongodb-osb";

/// Deadline of one call to the API server.
pub const CALL_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
