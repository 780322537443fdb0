//! Counts and times of what the worker does.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{resource::Kind, step::Step};

/// The binder's metrics; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    steps: Family<StepLabels, Counter>,
    operations: Family<OperationLabels, Histogram>,
    failed_sweeps: Counter,
    orphans: Family<OrphanLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
    result: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    kind: &'static str,
    result: Outcome,
}

/// How a step or an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// As intended.
    Succeeded,
    /// Otherwise.
    Failed,
}

/// What is marked as a binding's and has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Orphan {
    /// A Secret with a request or a login.
    Secret,
    /// A database user.
    User,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrphanLabels {
    kind: Orphan,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            steps: Family::default(),
            operations: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 3.0, 10))
            }),
            failed_sweeps: Counter::default(),
            orphans: Family::default(),
        };
        registry.register(
            "binder_steps",
            "Steps by name and result",
            metrics.steps.clone(),
        );
        registry.register(
            "binder_operation_seconds",
            "Time from request to outcome of binds and unbinds",
            metrics.operations.clone(),
        );
        registry.register(
            "binder_failed_sweeps",
            "Instances whose logins could not be looked through; a login that belongs to no \
             binding would stay",
            metrics.failed_sweeps.clone(),
        );
        registry.register(
            "binder_orphans",
            "Secrets and users of bindings without a record, kept; counted by this replica",
            metrics.orphans.clone(),
        );
        metrics
    }

    /// How many orphans of this kind the last sweep found; more than before are logged.
    pub(crate) fn orphans(&self, kind: Orphan, count: i64) {
        let before = self
            .orphans
            .get_or_create(&OrphanLabels { kind })
            .set(count);
        if count > before {
            tracing::warn!(
                ?kind,
                count,
                "bindings have no record; their objects are kept"
            );
        }
    }

    /// A step was tried.
    pub(crate) fn step(&self, step: Step, result: Outcome) {
        let labels = StepLabels {
            step: step.name(),
            result,
        };
        self.steps.get_or_create(&labels).inc();
    }

    /// An operation ended.
    pub(crate) fn operation(&self, kind: Kind, result: Outcome, took: Duration) {
        let labels = OperationLabels {
            kind: kind.word(),
            result,
        };
        self.operations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    /// An instance could not be swept.
    pub(crate) fn sweep_failed(&self) {
        self.failed_sweeps.inc();
    }
}
