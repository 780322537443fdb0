//! What a person should know of certificates before they end.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::Leaf;

#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    not_after: Gauge,
    faulty: Gauge,
    refused: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "tls_not_after_seconds",
            "When the certificate ends, as a Unix time",
            metrics.not_after.clone(),
        );
        registry.register(
            "tls_files_faulty",
            "1 while the certificate's folder cannot be read again and the last good one stays",
            metrics.faulty.clone(),
        );
        registry.register(
            "tls_connections_refused",
            "Connections whose handshake failed, such as one without a certificate of an authority of ours",
            metrics.refused.clone(),
        );
        metrics
    }

    pub(super) fn loaded(&self, leaf: &Leaf) {
        self.not_after.set(leaf.not_after().as_second());
        self.sound();
    }

    pub(super) fn sound(&self) {
        self.faulty.set(0);
    }

    pub(super) fn faulty(&self) {
        self.faulty.set(1);
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }
}
