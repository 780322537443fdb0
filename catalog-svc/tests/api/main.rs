//! The service over real sockets, against a real API server.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a helper cannot do fails the test that called it"
)]

mod api_server_away;
mod bundles;
mod catalog;
mod command;
mod faults;
mod fields;
mod fixture;
mod guide;
mod hostile;
mod kinds;
mod orderable;
mod plan_test;
mod rights;
mod sources;
mod tasks;
mod urls;
