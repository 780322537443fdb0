//! The catalog as this service needs it: the newest snapshot in memory, and
//! bundles by digest.

use std::{pin::pin, sync::Arc};

use broker_proto::{
    client::{Event, Transport, follow},
    v1::{self, catalog_client::CatalogClient},
};
use bundles::Bundles;
use futures::StreamExt as _;
use plan::Loaded;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::decide::Listed;

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

    /// The plan of that id in the newest catalog that was received.
    pub fn listed(&self, plan_id: &str) -> Listed {
        let snapshot = self.snapshot.borrow();
        let Some(snapshot) = snapshot.as_ref() else {
            return Listed::Unknown;
        };
        let mut plans = snapshot.offerings.iter().flat_map(|o| &o.plans);
        match plans.find(|plan| plan.id == plan_id) {
            Some(plan) => Listed::As(CurrentPlan {
                digest: plan.bundle_digest.clone(),
                maintenance_version: plan.maintenance_version.clone(),
            }),
            None => Listed::Dropped,
        }
    }

    /// The bundle of that digest, compiled.
    pub async fn bundle(&self, digest: &str) -> Result<Arc<Loaded>, bundles::Error> {
        self.bundles.get(digest).await
    }

    /// Waits for the first snapshot.
    pub async fn received(&self) {
        let mut snapshot = self.snapshot.subscribe();
        // Not an error: this holds the sender.
        let _ = snapshot.wait_for(Option::is_some).await;
    }

    /// Keeps the snapshot current until `stop`; the last one stays while
    /// catalog-svc is away.
    pub async fn follow(self, stop: CancellationToken) {
        let snapshots = follow("catalog", || {
            let mut client = self.client.clone();
            async move { client.watch_catalog(v1::WatchCatalogRequest {}).await }
        });
        let mut snapshots = pin!(snapshots.take_until(stop.cancelled()));
        while let Some(event) = snapshots.next().await {
            match event {
                Event::Message(snapshot) => {
                    self.snapshot.send_replace(Some(snapshot));
                }
                Event::Lost => {}
            }
        }
    }
}
