//! The broker's four services, in this process, on a real API server with its
//! controllers and a real mongod: what a platform may ask over HTTP and what
//! must come back. A test that shows a row of the OSB checklist names it;
//! gateway/OSB.md lists which test shows which row, and `rows` checks that.
//!
//! There is no node: instances are ConfigMaps whose readiness a test decides.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test; clippy knows only #[test] functions as tests"
)]

mod plans;
mod platform;
mod stack;

mod bind;
mod catalog;
mod concurrency;
mod deprovision;
mod errors;
mod fetch;
mod headers;
mod open;
mod orphans;
mod poll;
mod provision;
mod rotation;
mod rows;
mod states;
mod unbind;
mod update;
