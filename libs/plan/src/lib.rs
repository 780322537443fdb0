//! The plan format: from a folder of templates to a catalog of bundles, and from a bundle and
//! parameters to manifests.
//!
//! Pure: files come in as data ([`source::Tree`]), time as an argument, and nothing here knows
//! Kubernetes clients or OSB's HTTP. The way through the crate:
//!
//! 1. [`catalog::build`] lays the roots over each other, resolves `extends`, checks every plan
//!    and makes a [`bundle::Bundle`] of each that has no fault.
//! 2. [`bundle::Bundle`] judges parameters ([`bundle::Bundle::create_parameters`] …) and is what
//!    is stored and pinned, by digest.
//! 3. [`loaded::Loaded`] renders files, judges readiness and works out outputs and the database
//!    of a binding.

pub mod id;

pub mod fault;
pub mod source;

mod node;
mod yaml;

pub mod descriptor;
pub mod fields;
pub mod kinds;
pub mod schema;

pub mod language;
pub mod variables;

mod expr;
mod redact;
pub mod render;

pub mod binding;
pub mod claims;
pub mod display;
pub mod outputs;
pub mod ready;

mod canonical;

pub mod bundle;
pub mod case;
pub mod catalog;
mod lasting;
mod lint;
pub mod loaded;
pub mod rbac;
mod reach;

pub use bundle::{Bundle, Offering};
pub use case::Case;
pub use catalog::Catalog;
pub use fault::Fault;
pub use loaded::Loaded;
pub use source::Tree;
pub use variables::Variables;
