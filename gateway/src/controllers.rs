//! One function for each route and method: request in, call, answer out.

pub(crate) mod binding;
pub(crate) mod catalog;
pub(crate) mod instance;
