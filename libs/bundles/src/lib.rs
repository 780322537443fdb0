//! Bundles by digest, for the services that use plans: each fetched from
//! catalog-svc once and kept compiled. A digest says all about its bundle, so
//! nothing here ever gets old.

pub mod stored;

use std::sync::Arc;

use broker_proto::{
    Error as ApiError, ErrorCode,
    client::Transport,
    v1::{GetBundleRequest, catalog_client::CatalogClient},
};
use plan::{Bundle, Loaded, id::Digest};
use quick_cache::sync::Cache;

/// Bundles in memory: a site has tens of plans, and their older versions.
const KEPT: usize = 128;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// catalog-svc did not send it.
    #[error("fetch bundle {digest}")]
    Fetch {
        /// The bundle.
        digest: String,
        /// What catalog-svc answered.
        #[source]
        source: ApiError,
    },
    /// It does not have its digest, or this version of the broker cannot use it.
    #[error("use bundle {digest}")]
    Unusable {
        /// The bundle.
        digest: String,
        /// The reason.
        #[source]
        source: plan::bundle::Error,
    },
    /// It was not compiled, since the process is about to end.
    #[error("compile bundle {digest}")]
    Interrupted {
        /// The bundle.
        digest: String,
        /// The reason.
        #[source]
        source: tokio::task::JoinError,
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
            Self::Interrupted { .. } => true,
            Self::Unusable { .. } | Self::Digest(_) => false,
        }
    }
}

/// The bundles that this process has used; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bundles {
    client: CatalogClient<Transport>,
    compiled: Arc<Cache<String, Arc<Loaded>>>,
}

impl Bundles {
    /// Asks through `client`.
    pub fn new(client: CatalogClient<Transport>) -> Self {
        Self {
            client,
            compiled: Arc::new(Cache::new(KEPT)),
        }
    }

    /// The bundle of that digest, compiled. Whoever asks while it is being
    /// fetched waits for that; if it fails, the next one fetches it again.
    pub async fn get(&self, digest: &str) -> Result<Arc<Loaded>, Error> {
        let load = self.load(digest);
        self.compiled.get_or_insert_async(digest, load).await
    }

    async fn load(&self, digest: &str) -> Result<Arc<Loaded>, Error> {
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
                source: ApiError::from_status(&status),
            })?;
        let content = answer.into_inner().content;
        // Too long for a thread that answers calls.
        let compiled = tokio::task::spawn_blocking(move || compile(&content, &expected)).await;
        compiled
            .map_err(|source| Error::Interrupted {
                digest: digest.to_owned(),
                source,
            })?
            .map_err(|source| Error::Unusable {
                digest: digest.to_owned(),
                source,
            })
    }
}

fn compile(content: &[u8], expected: &Digest) -> Result<Arc<Loaded>, plan::bundle::Error> {
    let bundle = Bundle::from_bytes(content, expected)?;
    Loaded::new(Arc::new(bundle)).map(Arc::new)
}
