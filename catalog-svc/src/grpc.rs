//! The gRPC face: everything is answered from memory, but for a bundle that is
//! no longer served.

use std::{pin::Pin, sync::Arc};

use broker_proto::{
    Error, ErrorCode,
    v1::{
        Bundle, CatalogSnapshot, GetBundleRequest, GetCatalogRequest, ListPlansRequest,
        ListPlansResponse, WatchCatalogRequest, catalog_server::Catalog,
    },
};
use futures::{Stream, StreamExt as _};
use plan::id::Digest;
use service::telemetry::chain;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{published::Published, store::Store};

/// Full name of the service, for health.
pub(crate) const NAME: &str = "mongodb_osb.v1.Catalog";

type Snapshots = Pin<Box<dyn Stream<Item = Result<CatalogSnapshot, Status>> + Send>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Service {
    published: watch::Receiver<Option<Arc<Published>>>,
    store: Store,
    shutdown: CancellationToken,
}

impl Service {
    /// Serves what is published; streams end with `shutdown`.
    pub(crate) fn new(
        published: watch::Receiver<Option<Arc<Published>>>,
        store: Store,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            published,
            store,
            shutdown,
        }
    }

    fn current(&self) -> Result<Arc<Published>, Error> {
        let current = self.published.borrow().clone();
        current.ok_or_else(|| Error::unavailable("The catalog"))
    }
}

#[tonic::async_trait]
impl Catalog for Service {
    #[instrument(skip_all)]
    async fn get_catalog(
        &self,
        _: Request<GetCatalogRequest>,
    ) -> Result<Response<CatalogSnapshot>, Status> {
        Ok(Response::new(self.current()?.snapshot.clone()))
    }

    type WatchCatalogStream = Snapshots;

    #[instrument(skip_all)]
    async fn watch_catalog(
        &self,
        _: Request<WatchCatalogRequest>,
    ) -> Result<Response<Snapshots>, Status> {
        // A slow receiver skips to the newest: the channel holds one value.
        let mut last = String::new();
        let snapshots = WatchStream::new(self.published.clone())
            .filter_map(move |published| {
                let snapshot = published
                    .filter(|published| published.snapshot.generation != last)
                    .map(|published| published.snapshot.clone());
                if let Some(snapshot) = &snapshot {
                    last.clone_from(&snapshot.generation);
                }
                std::future::ready(snapshot.map(Ok))
            })
            .take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(snapshots)))
    }

    #[instrument(skip_all, fields(bundle.digest = %request.get_ref().digest))]
    async fn get_bundle(
        &self,
        request: Request<GetBundleRequest>,
    ) -> Result<Response<Bundle>, Status> {
        let digest: Digest = request.into_inner().digest.parse().map_err(|_| {
            let message = "A digest is the sha256 of a bundle, in lower-case hexadecimal.";
            Error::new(ErrorCode::InvalidArgument, message)
        })?;
        let published = self.published.borrow().clone();
        let served = published.and_then(|published| published.bundles.get(&digest).cloned());
        let content = match served {
            Some(content) => content,
            None => self.read(&digest).await?,
        };
        Ok(Response::new(Bundle {
            digest: digest.into(),
            content: content.to_vec(),
        }))
    }

    #[instrument(skip_all)]
    async fn list_plans(
        &self,
        _: Request<ListPlansRequest>,
    ) -> Result<Response<ListPlansResponse>, Status> {
        let plans = self.current()?.reports.clone();
        Ok(Response::new(ListPlansResponse { plans }))
    }
}

impl Service {
    /// A bundle that is not served now, but may be pinned by a record.
    async fn read(&self, digest: &Digest) -> Result<Arc<[u8]>, Error> {
        match self.store.read(digest).await {
            Ok(Some(content)) => Ok(content.into()),
            Ok(None) => {
                let message = "This version of the plan is not known here yet; try again later.";
                Err(Error::new(ErrorCode::Unavailable, message))
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot read a stored bundle");
                Err(Error::unavailable("The store of plans"))
            }
        }
    }
}
