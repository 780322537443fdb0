//! The paths of the OSB endpoint, as routes and as labels of metrics.

/// The catalog.
pub(crate) const CATALOG: &str = "/v2/catalog";
/// An instance.
pub(crate) const INSTANCE: &str = "/v2/service_instances/{instance_id}";
/// The last operation of an instance.
pub(crate) const INSTANCE_OPERATION: &str = "/v2/service_instances/{instance_id}/last_operation";
/// A binding.
pub(crate) const BINDING: &str =
    "/v2/service_instances/{instance_id}/service_bindings/{binding_id}";
/// The last operation of a binding.
pub(crate) const BINDING_OPERATION: &str =
    "/v2/service_instances/{instance_id}/service_bindings/{binding_id}/last_operation";

/// All of them.
pub(crate) const ALL: [&str; 5] = [
    CATALOG,
    INSTANCE,
    INSTANCE_OPERATION,
    BINDING,
    BINDING_OPERATION,
];
