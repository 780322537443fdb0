//! The catalog as this service needs it: the newest snapshot in memory, and
//! bundles by digest.

use std::{sync::Arc, time::Duration};

use broker_proto::{
    client::Transport,
    v1::{self, catalog_client::CatalogClient},
};
use bundles::Bundles;
use plan::Loaded;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A plan of today's catalog, as far as an update needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentPlan {
    /// Its bundle.
    pub digest: String,
    /// maintenance_info.version; empty if it has none.
    pub maintenance_version: String,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    client: CatalogClient<Transport>,
    snapshot: Arc<watch::Sender<Option<v1::CatalogSnapshot>>>,
    bundles: Bundles,
}

impl Catalog {
    /// Asks through `client`.
    pub fn new(client: CatalogClient<Transport>) -> Self {
        Self {
            bundles: Bundles::new(client.clone()),
            client,
            snapshot: Arc::new(watch::Sender::new(None)),
        }
    }

    /// The plan of that id in today's catalog.
    pub fn current(&self, plan_id: &str) -> Option<CurrentPlan> {
        let snapshot = self.snapshot.borrow();
        let mut plans = snapshot
            .iter()
            .flat_map(|snapshot| &snapshot.offerings)
            .flat_map(|o| &o.plans);
        plans
            .find(|plan| plan.id == plan_id)
            .map(|plan| CurrentPlan {
                digest: plan.bundle_digest.clone(),
                maintenance_version: plan.maintenance_version.clone(),
            })
    }

    /// The bundle of that digest, compiled.
    pub async fn bundle(&self, digest: &str) -> Result<Arc<Loaded>, bundles::Error> {
        self.bundles.get(digest).await
    }

    /// Keeps the snapshot current until `stop`; the last one stays while
    /// catalog-svc is away.
    pub async fn follow(self, stop: CancellationToken) {
        let mut pause = Duration::from_millis(100);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = self.receive() => if received { pause = Duration::from_millis(100) },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// One stream to its end; `true` if it brought anything.
    async fn receive(&self) -> bool {
        let mut received = false;
        let stream = self
            .client
            .clone()
            .watch_catalog(v1::WatchCatalogRequest {})
            .await;
        let mut stream = match stream {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                tracing::debug!(code = ?status.code(), "catalog not watched");
                return false;
            }
        };
        while let Ok(Some(snapshot)) = stream.message().await {
            received = true;
            self.snapshot.send_replace(Some(snapshot));
        }
        received
    }
}
