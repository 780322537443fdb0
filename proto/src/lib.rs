//! The contracts between the broker's services: generated messages, clients
//! and servers ([`v1`]), the closed set of errors ([`error`]), JSON objects on
//! the wire ([`json`]), decisions that all services make alike ([`decide`]), texts
//! for users ([`text`]) and clients ([`client`]).
//!
//! Knows nothing of Kubernetes, MongoDB or HTTP routes.

pub mod client;
pub mod decide;
pub mod error;
pub mod json;
mod redact;
pub mod text;

pub use error::Error;
pub use v1::ErrorCode;

/// Generated from `proto/mongodb_osb/v1/*.proto`; the comments there are the documentation.
#[expect(
    missing_docs,
    clippy::pedantic,
    reason = "generated code; its documentation is in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("mongodb_osb.v1");
}

/// The encoded `FileDescriptorSet` of all contracts, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Who may call what, by the contracts' option `callers`: for each method its path,
/// `/package.Service/Method`, and the services whose certificates may call it.
pub const CALLERS: &[(&str, &[&str])] = include!(concat!(env!("OUT_DIR"), "/callers.rs"));
