//! The library alone, against a real API server.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails where it stands"
)]

mod barrier;
mod harness;
mod ownership;
mod writing;
