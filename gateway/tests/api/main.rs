//! The gateway against in-process doubles of the three services, over real
//! gRPC. A test that shows a row of the specification's checklist names it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test; clippy knows only #[test] functions as tests"
)]

mod app;
mod fakes;

mod auth;
mod bindings;
mod bodies;
mod bounds;
mod catalog;
mod errors;
mod headers;
mod https;
mod instances;
mod malformed;
mod openapi;
mod platforms;
mod polls;
mod process;
