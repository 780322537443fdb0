//! Owns ServiceBinding: a database user, and credentials for it, per binding.
//!
//! A request is decided ([`decide`]), written down ([`resource`], [`ledger`]),
//! then worked by the same loop that finishes what a process that
//! died left behind. What is next is a pure function ([`step`]).

pub mod resource;

pub mod ledger;

pub mod request;

pub mod grant;

pub mod login;

pub mod credentials;

pub mod decide;

pub mod step;

pub mod status;

pub mod error;

pub mod store;

pub mod upstream;

pub mod mongo;

pub mod databases;

pub mod reserve;

mod args;

mod metrics;

mod context;

mod work;

mod cascade;

mod sweep;

mod expiry;

mod requests;

mod grpc;

mod app;

#[cfg(test)]
mod testing;

pub use app::{App, run};
pub use args::Args;
