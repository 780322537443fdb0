//! Gives each service of the broker a certificate, and keeps the authority
//! that signs them. Knows nothing of what the services do.
//!
//! What is stored decides what comes next (`step`): one conditional write at
//! a time, so that this process may be killed anywhere and run twice.

mod app;
mod args;
mod authority;
mod leaf;
mod names;
mod step;
mod store;

pub use app::{App, run};
pub use args::{Args, Lives};
