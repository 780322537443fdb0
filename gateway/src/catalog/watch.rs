//! Keeps the newest catalog in memory. While catalog-svc is away the last
//! catalog stays.

use std::{pin::pin, sync::Arc};

use broker_proto::{
    client::{Event, Transport, follow},
    v1::{CatalogSnapshot, WatchCatalogRequest, catalog_client::CatalogClient},
};
use futures::StreamExt as _;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Catalog;

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) client: CatalogClient<Transport>,
    pub(crate) slot: watch::Sender<Option<Arc<Catalog>>>,
    pub(crate) connected: Gauge,
}

impl Follower {
    /// Follows until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let snapshots = follow("catalog", || {
            let mut client = self.client.clone();
            async move { client.watch_catalog(WatchCatalogRequest {}).await }
        });
        let mut snapshots = pin!(snapshots.take_until(stop.cancelled()));
        while let Some(event) = snapshots.next().await {
            match event {
                Event::Message(snapshot) => {
                    self.connected.set(1);
                    self.take(&snapshot);
                }
                Event::Lost => {
                    self.connected.set(0);
                }
            }
        }
    }

    fn take(&self, snapshot: &CatalogSnapshot) {
        let known = self
            .slot
            .borrow()
            .as_ref()
            .is_some_and(|catalog| catalog.generation() == snapshot.generation);
        if known && !snapshot.generation.is_empty() {
            return;
        }
        match Catalog::new(snapshot) {
            Ok(catalog) => {
                tracing::info!(
                    catalog.generation = %snapshot.generation,
                    catalog.offerings = snapshot.offerings.len(),
                    "new catalog received"
                );
                self.slot.send_replace(Some(Arc::new(catalog)));
            }
            Err(error) => tracing::error!(%error, "catalog not usable, the last one stays"),
        }
    }
}
