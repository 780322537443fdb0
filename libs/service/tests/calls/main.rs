//! The clients of broker-proto against servers of this crate, over real
//! sockets: replicas that refuse, break, age and are replaced,
//! and who may call them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod access;
mod faults;
mod frames;
mod pki;
mod replaced;
mod replica;
mod rotation;
mod streams;
