//! Each bundle is fetched once, from a catalog-svc of this test's own.

#![expect(
    clippy::unwrap_used,
    reason = "what a helper cannot do fails the test that called it"
)]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker_proto::{
    client::Target,
    v1::{
        self, CatalogSnapshot, GetBundleRequest, GetCatalogRequest, ListPlansRequest,
        ListPlansResponse, WatchCatalogRequest,
        catalog_server::{Catalog, CatalogServer},
    },
};
use bundles::{Bundles, Error};
use plan::{Bundle, Tree, catalog};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// Answers with bundles, one for each permit of the gate.
#[derive(Clone)]
struct Source {
    bundles: Arc<Vec<Arc<Bundle>>>,
    asked: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    is_down: Arc<AtomicBool>,
}

impl Source {
    fn new(number: usize) -> Self {
        let mut tree = Tree::new();
        for plan in 0..number {
            tree.insert(
                &format!("p/a{plan}/1.yaml"),
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
            );
        }
        let catalog = catalog::build(&[tree]);
        assert_eq!(catalog.faults, []);
        Self {
            bundles: Arc::new(catalog.plans),
            asked: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            is_down: Arc::default(),
        }
    }

    fn digest(&self, number: usize) -> String {
        self.bundles[number].digest().to_string()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn start(&self) -> Bundles {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let server = Server::builder().add_service(CatalogServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let target = Target::new(address.to_string(), Duration::from_secs(60), Ok);
        Bundles::new(target.catalog().unwrap())
    }
}

#[tonic::async_trait]
impl Catalog for Source {
    async fn get_catalog(
        &self,
        _: Request<GetCatalogRequest>,
    ) -> Result<Response<CatalogSnapshot>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    type WatchCatalogStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<CatalogSnapshot, Status>> + Send>>;

    async fn watch_catalog(
        &self,
        _: Request<WatchCatalogRequest>,
    ) -> Result<Response<Self::WatchCatalogStream>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_bundle(
        &self,
        request: Request<GetBundleRequest>,
    ) -> Result<Response<v1::Bundle>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Status::internal("down"));
        }
        let digest = request.into_inner().digest;
        let mut bundles = self.bundles.iter();
        let bundle = bundles.find(|bundle| bundle.digest().as_str() == digest);
        Ok(Response::new(v1::Bundle {
            content: bundle.unwrap().to_bytes().to_vec(),
            digest,
        }))
    }

    async fn list_plans(
        &self,
        _: Request<ListPlansRequest>,
    ) -> Result<Response<ListPlansResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }
}

#[tokio::test]
async fn many_who_want_a_bundle_at_once_cause_one_fetch() {
    let source = Source::new(1);
    let bundles = source.start().await;
    let digest = source.digest(0);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (bundles, digest) = (bundles.clone(), digest.clone());
            tokio::spawn(async move {
                bundles
                    .get(&digest)
                    .await
                    .map(|loaded| Arc::as_ptr(&loaded) as usize)
            })
        })
        .collect();
    // As many answers as anybody could ask for.
    source.gate.add_permits(20);
    let mut compiled = Vec::new();
    for task in waiting {
        compiled.push(task.await.unwrap().unwrap());
    }
    compiled.dedup();
    assert_eq!((compiled.len(), source.asked()), (1, 1));
}

#[tokio::test]
async fn a_fetch_that_failed_is_tried_again_by_the_next_who_asks() {
    let source = Source::new(1);
    let bundles = source.start().await;
    let digest = source.digest(0);
    source.gate.add_permits(2);
    source.is_down.store(true, Ordering::SeqCst);
    assert!(matches!(
        bundles.get(&digest).await,
        Err(Error::Fetch { .. })
    ));
    source.is_down.store(false, Ordering::SeqCst);
    assert!(bundles.get(&digest).await.is_ok());
    assert_eq!(source.asked(), 2);
}

#[tokio::test]
async fn one_bundle_more_than_fits_does_not_push_all_others_out() {
    const IN_USE: usize = 129;
    let source = Source::new(IN_USE);
    let bundles = source.start().await;
    source.gate.add_permits(2 * IN_USE);
    for number in 0..IN_USE {
        bundles.get(&source.digest(number)).await.unwrap();
    }
    assert_eq!(source.asked(), IN_USE);
    for number in 0..IN_USE {
        bundles.get(&source.digest(number)).await.unwrap();
    }
    let again = source.asked() - IN_USE;
    assert!(again < IN_USE / 2, "{again} of {IN_USE} were fetched twice");
}
