//! The clients of broker-proto against servers of this crate, over real
//! sockets: replicas that refuse, break, age and are replaced.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod faults;
mod frames;
mod replaced;
mod replica;
mod streams;
