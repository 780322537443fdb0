//! Counts and durations of requests.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// From a poll out of memory to a synchronous provision, in seconds.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0,
];

/// What a request was; nothing that a client can choose freely.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    /// The route's template, or `unknown`.
    pub(crate) route: &'static str,
    /// The method, or `OTHER`.
    pub(crate) method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    route: &'static str,
    method: &'static str,
    status: u32,
}

/// The gateway's metrics; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<AnswerLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    /// 1 while the stream of catalogs is up.
    pub(crate) catalog_stream: Gauge,
}

impl Metrics {
    /// Makes the metrics and adds them to `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
            catalog_stream: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("osb");
        registry.register(
            "requests",
            "Requests by route, method and status; 499 where the client left",
            metrics.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time from head to answer",
            metrics.durations.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests being served",
            metrics.in_flight.clone(),
        );
        registry.register(
            "catalog_stream_up",
            "1 while the stream of catalogs from catalog-svc is up",
            metrics.catalog_stream.clone(),
        );
        metrics
    }

    /// A request came in.
    pub(crate) fn began(&self) {
        self.in_flight.inc();
    }

    /// A request was answered, or left by its client.
    pub(crate) fn ended(&self, labels: &RouteLabels, status: u16, took: Duration) {
        self.in_flight.dec();
        self.durations
            .get_or_create(labels)
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&AnswerLabels {
                route: labels.route,
                method: labels.method,
                status: status.into(),
            })
            .inc();
    }
}
