//! What a pool counts.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Of one pool; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Records that have a worker.
    pub(crate) in_work: Gauge,
    /// Records whose worker holds one of the places.
    pub(crate) active: Gauge,
    /// Panics.
    pub(crate) panics: Counter,
    /// Records that cannot be read.
    pub(crate) unreadable: Gauge,
}

impl Metrics {
    /// Adds them to `registry`, named after the service.
    pub fn register(registry: &mut Registry, service: &str) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix(service);
        registry.register(
            "records_in_work",
            "Records that have a worker in this replica",
            metrics.in_work.clone(),
        );
        registry.register(
            "records_active",
            "Records whose worker is doing a step; the others wait",
            metrics.active.clone(),
        );
        registry.register(
            "worker_panics",
            "Workers that panicked; their records are marked and tried again after a pause",
            metrics.panics.clone(),
        );
        registry.register(
            "records_unreadable",
            "Records that are left alone because they cannot be read",
            metrics.unreadable.clone(),
        );
        metrics
    }
}
