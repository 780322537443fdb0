//! For every program that talks to mongod: options of a client, commands with a deadline, what an
//! error means, and the commands that create and drop users and roles.
//!
//! Knows neither plans nor Kubernetes, and keeps no connections.

mod client;
mod command;
mod failure;
pub mod roles;
pub mod users;

pub use client::{Login, options, tls};
pub use command::{run, run_in};
pub use failure::Failure;
