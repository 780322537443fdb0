//! `/v2/service_instances/{instance_id}/service_bindings/{binding_id}`.

pub(crate) mod bind;
pub(crate) mod fetch;
pub(crate) mod last_operation;
pub(crate) mod unbind;
mod view;
