//! `/v2/service_instances/{instance_id}`.

pub(crate) mod deprovision;
pub(crate) mod fetch;
pub(crate) mod last_operation;
pub(crate) mod provision;
pub(crate) mod update;
