//! The crate from outside: folders in, catalogs and manifests out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod case;
mod catalog;
mod faults;
mod folder;
mod golden;
mod instance_display;
mod lifecycle;
mod rendering;
mod secrecy;
mod shell;
mod support;
