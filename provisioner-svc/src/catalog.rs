//! The catalog as this service needs it: the newest snapshot in memory, and
//! bundles by digest, fetched once and kept compiled.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broker_proto::{
    Error as Told, ErrorCode,
    client::Transport,
    v1::{self, catalog_client::CatalogClient},
};
use plan::{Bundle, Loaded, id::Digest};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Why a bundle cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// catalog-svc did not give it.
    #[error("fetch bundle {digest}: {source}")]
    Fetch {
        /// Which.
        digest: String,
        /// As told.
        source: Told,
    },
    /// It is not what its digest says, or this version cannot use it.
    #[error("use bundle {digest}")]
    Unusable {
        /// Which.
        digest: String,
        /// Why.
        #[source]
        source: plan::bundle::Error,
    },
    /// Not the form of a digest.
    #[error("parse digest {0:?}")]
    Digest(String),
}

impl Error {
    /// Whether asking again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => matches!(
                source.code,
                ErrorCode::Unavailable | ErrorCode::DeadlineExceeded
            ),
            Self::Unusable { .. } | Self::Digest(_) => false,
        }
    }
}

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
    bundles: Arc<Mutex<HashMap<String, Arc<Loaded>>>>,
}

impl Catalog {
    /// Asks through `client`.
    pub fn new(client: CatalogClient<Transport>) -> Self {
        Self {
            client,
            snapshot: Arc::new(watch::Sender::new(None)),
            bundles: Arc::default(),
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
    pub async fn bundle(&self, digest: &str) -> Result<Arc<Loaded>, Error> {
        if let Some(known) = self.lock().get(digest) {
            return Ok(Arc::clone(known));
        }
        let parsed: Digest = digest
            .to_owned()
            .try_into()
            .map_err(|_| Error::Digest(digest.to_owned()))?;
        let request = v1::GetBundleRequest {
            digest: digest.to_owned(),
        };
        let answer = self
            .client
            .clone()
            .get_bundle(request)
            .await
            .map_err(|status| Error::Fetch {
                digest: digest.to_owned(),
                source: Told::from_status(&status),
            })?;
        let unusable = |source| Error::Unusable {
            digest: digest.to_owned(),
            source,
        };
        let bundle = Bundle::from_bytes(&answer.into_inner().content, &parsed).map_err(unusable)?;
        let loaded = Arc::new(Loaded::new(Arc::new(bundle)).map_err(unusable)?);
        self.lock().insert(digest.to_owned(), Arc::clone(&loaded));
        Ok(loaded)
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

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Loaded>>> {
        self.bundles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
