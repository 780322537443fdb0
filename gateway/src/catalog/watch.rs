//! Keeps the newest catalog in memory: one stream from catalog-svc, opened
//! again whenever it ends. While catalog-svc is away the last catalog stays.

use std::{sync::Arc, time::Duration};

use broker_proto::{
    client::Transport,
    v1::{CatalogSnapshot, WatchCatalogRequest, catalog_client::CatalogClient},
};
use prometheus_client::metrics::gauge::Gauge;
use service::Gate;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::Catalog;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) client: CatalogClient<Transport>,
    pub(crate) slot: watch::Sender<Option<Arc<Catalog>>>,
    /// Opened by the first catalog; never closed again, since an old catalog
    /// serves better than none.
    pub(crate) gate: Gate,
    pub(crate) connected: Gauge,
    /// For a peer that accepts the call and then says nothing.
    pub(crate) first_answer: Duration,
}

impl Follower {
    /// Follows until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut heard = false;
            let ended = tokio::select! {
                ended = self.stream(&mut heard) => ended,
                () = stop.cancelled() => return,
            };
            self.connected.set(0);
            // Streams end by themselves when the server ages its connections.
            if heard {
                pause = FIRST_PAUSE;
            }
            match ended {
                Ok(()) => tracing::debug!("the stream of catalogs ended"),
                Err(status) => tracing::warn!(
                    grpc.code = ?status.code(),
                    grpc.message = status.message(),
                    "the stream of catalogs broke; it will be opened again"
                ),
            }
            // Jitter, so that replicas do not come back in step.
            let jittered = pause.mul_f64(rand::random_range(0.5..1.5));
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Takes snapshots until the stream ends.
    async fn stream(&mut self, heard: &mut bool) -> Result<(), Status> {
        let first_answer = self.first_answer;
        let late = |_| Status::deadline_exceeded("no catalog came");
        let opened = self.client.watch_catalog(WatchCatalogRequest {});
        let mut stream = tokio::time::timeout(first_answer, opened)
            .await
            .map_err(late)??
            .into_inner();
        let mut next = tokio::time::timeout(first_answer, stream.message())
            .await
            .map_err(late)??;
        while let Some(snapshot) = next {
            *heard = true;
            self.connected.set(1);
            self.take(&snapshot);
            next = stream.message().await?;
        }
        Ok(())
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
                    "catalog taken"
                );
                self.slot.send_replace(Some(Arc::new(catalog)));
                self.gate.open();
            }
            Err(error) => tracing::error!(%error, "a catalog could not be rendered"),
        }
    }
}
