//! Bundles by digest, for the services that use plans: each fetched from
//! catalog-svc once and kept compiled. A digest says all about its bundle, so
//! nothing here ever gets old.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use broker_proto::{
    Error as Told, ErrorCode,
    client::Transport,
    v1::{GetBundleRequest, catalog_client::CatalogClient},
};
use plan::{Bundle, Loaded, id::Digest};

/// Bundles in memory; a site has tens of plans.
const KEPT: usize = 64;

/// Why a bundle cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// catalog-svc did not give it.
    #[error("fetch bundle {digest}")]
    Fetch {
        /// Which.
        digest: String,
        /// As told.
        #[source]
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

/// The bundles that this process has used; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bundles {
    client: CatalogClient<Transport>,
    known: Arc<Mutex<HashMap<String, Arc<Loaded>>>>,
}

impl Bundles {
    /// Asks through `client`.
    pub fn new(client: CatalogClient<Transport>) -> Self {
        Self {
            client,
            known: Arc::default(),
        }
    }

    /// The bundle of that digest, compiled.
    pub async fn get(&self, digest: &str) -> Result<Arc<Loaded>, Error> {
        if let Some(loaded) = self.known().get(digest) {
            return Ok(Arc::clone(loaded));
        }
        let expected: Digest = digest
            .parse()
            .map_err(|_| Error::Digest(digest.to_owned()))?;
        let request = GetBundleRequest {
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
        let bundle =
            Bundle::from_bytes(&answer.into_inner().content, &expected).map_err(unusable)?;
        let loaded = Arc::new(Loaded::new(Arc::new(bundle)).map_err(unusable)?);
        let mut known = self.known();
        if known.len() >= KEPT {
            // All are a call away; which one goes matters little.
            known.clear();
        }
        known.insert(digest.to_owned(), Arc::clone(&loaded));
        Ok(loaded)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Loaded>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
