//! Owns ServiceBinding: database users and credentials.

pub mod bootstrap;
