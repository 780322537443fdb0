//! Counters of operations.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::resource::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Verb {
    Create,
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Result {
    Succeeded,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    verb: Verb,
    result: Result,
}

/// What carries our labels and has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Orphan {
    /// An instance's own namespace.
    Namespace,
    /// The Secret with what an operation aims at.
    Revision,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrphanLabels {
    kind: Orphan,
}

/// Counted by this replica.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    ended: Family<Ended, Counter>,
    orphans: Family<OrphanLabels, Gauge>,
}

impl Metrics {
    /// Adds the metrics to `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "provisioner_operations_ended",
            "Operations on instances that ended, by verb and result",
            metrics.ended.clone(),
        );
        registry.register(
            "provisioner_orphans",
            "Objects of instances without a record, kept and marked; counted by the replica that sweeps",
            metrics.orphans.clone(),
        );
        metrics
    }

    /// How many orphans of this kind the last sweep found.
    pub(crate) fn orphans(&self, kind: Orphan, count: i64) {
        self.orphans
            .get_or_create(&OrphanLabels { kind })
            .set(count);
    }

    /// Counts an operation that ended.
    pub(crate) fn ended(&self, kind: Kind, succeeded: bool) {
        let verb = match kind {
            Kind::Create => Verb::Create,
            Kind::Update => Verb::Update,
            Kind::Delete => Verb::Delete,
        };
        let result = if succeeded {
            Result::Succeeded
        } else {
            Result::Failed
        };
        self.ended.get_or_create(&Ended { verb, result }).inc();
    }
}
