//! For every program that talks to mongod: options of a client, commands with a deadline, what an
//! error means, and the commands that create and drop users and roles.
//!
//! [`revocation`] is what the binder and mongo-bootstrap say to each other of logins that must go.
//!
//! Knows neither plans nor Kubernetes, and keeps no connections.

mod client;
mod command;
mod failure;
pub mod marks;
pub mod revocation;
pub mod roles;
pub mod users;

pub use client::{Login, options, tls};
pub use command::{run, run_in};
pub use failure::Failure;
