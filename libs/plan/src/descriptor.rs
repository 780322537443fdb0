//! `service.yaml` and `plan.yaml` as types. Unknown keys are errors; what is left out has the
//! default that is named here. The JSON Schemas for editors are made from these types.

mod binding;
mod generate;
mod kind;
mod parameters;
mod plan;
mod service;
mod text;

#[cfg(test)]
mod schema_files;

pub use binding::{Admin, Binding, Method, Server, Tls};
pub use generate::{Duration, DurationError, Generate};
pub use kind::{KindError, KindRef};
pub use parameters::{Inherit, ParameterSchema, Parameters};
pub use plan::{
    Bootstrap, ClaimRule, Cost, Deadline, Deletion, Namespace, Output, Plan, PodSecurity,
    Provision, ReadyRule, Scope, SecretInput,
};
pub use service::{DashboardClient, Requires, Service};
pub use text::{Expression, Text};

/// The JSON Schema of `plan.yaml`, for editors.
pub const PLAN_SCHEMA: &str = include_str!("../schema/plan.json");

/// The JSON Schema of `service.yaml`, for editors.
pub const SERVICE_SCHEMA: &str = include_str!("../schema/service.json");
