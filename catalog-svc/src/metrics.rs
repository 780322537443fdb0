//! Metrics of the catalog.

use std::sync::atomic::AtomicI64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Numbers without labels: which plan has a fault is for `ListPlans` and the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    /// Plans in the catalog.
    pub(crate) plans_served: Gauge<i64, AtomicI64>,
    /// Of these, older versions whose newest has faults.
    pub(crate) plans_last_good: Gauge<i64, AtomicI64>,
    /// Of these, plans that cannot be ordered on this cluster.
    pub(crate) plans_not_orderable: Gauge<i64, AtomicI64>,
    /// Faults found in plan folders.
    pub(crate) plan_faults: Gauge<i64, AtomicI64>,
    /// Catalogs published since the start.
    pub(crate) catalogs_published: Counter,
    /// Attempts to store bundles that failed.
    pub(crate) bundle_store_failures: Counter,
}

impl Metrics {
    /// Adds them to what the admin port shows.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, gauge) in [
            (
                "plans_served",
                "Plans in the catalog",
                &metrics.plans_served,
            ),
            (
                "plans_last_good",
                "Plans served in an older version, since the newest has faults",
                &metrics.plans_last_good,
            ),
            (
                "plans_not_orderable",
                "Plans that are listed but cannot be ordered on this cluster",
                &metrics.plans_not_orderable,
            ),
            (
                "plan_faults",
                "Faults found in plan folders",
                &metrics.plan_faults,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "catalogs_published",
            "Catalogs published since the start",
            metrics.catalogs_published.clone(),
        );
        registry.register(
            "bundle_store_failures",
            "Attempts to store bundles that failed",
            metrics.bundle_store_failures.clone(),
        );
        metrics
    }
}
