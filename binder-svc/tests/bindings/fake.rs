//! Fakes of the services that the binder asks.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use broker_proto::{
    Error, ErrorCode,
    v1::{
        self, Instance, InstancePhase, InstanceState, catalog_server::Catalog,
        catalog_server::CatalogServer, provisioner_server::Provisioner,
        provisioner_server::ProvisionerServer,
    },
};
use plan::Bundle;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A provisioner that holds what a test puts into it.
#[derive(Debug, Clone)]
pub(crate) struct FakeProvisioner {
    state: Arc<Mutex<BTreeMap<String, Held>>>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) instance: Instance,
    pub(crate) is_kept: bool,
    pub(crate) releases: u32,
    /// Answers holds as if a deletion had just begun.
    pub(crate) refuses: bool,
}

impl FakeProvisioner {
    pub(crate) fn put(&self, instance: Instance) {
        let id = instance.instance_id.clone();
        self.state.lock().unwrap().entry(id).or_default().instance = instance;
        self.changed.send_modify(|version| *version += 1);
    }

    /// As if its record were lost.
    pub(crate) fn forget(&self, id: &str) {
        self.state.lock().unwrap().remove(id);
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn set_phase(&self, id: &str, phase: InstancePhase) {
        self.state
            .lock()
            .unwrap()
            .get_mut(id)
            .unwrap()
            .instance
            .set_phase(phase);
        self.changed.send_modify(|version| *version += 1);
    }

    pub(crate) fn refuse_holds(&self, id: &str) {
        self.state.lock().unwrap().get_mut(id).unwrap().refuses = true;
    }

    pub(crate) fn get(&self, id: &str) -> Held {
        self.state.lock().unwrap()[id].clone()
    }
}

/// A catalog with some bundles.
#[derive(Debug, Clone)]
pub(crate) struct FakeCatalog {
    bundles: Vec<Arc<Bundle>>,
}

/// Both, served on one port.
pub(crate) async fn serve(bundles: Vec<Arc<Bundle>>) -> (FakeProvisioner, SocketAddr) {
    let provisioner = FakeProvisioner {
        state: Arc::default(),
        changed: watch::Sender::new(0),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(ProvisionerServer::new(provisioner.clone()))
        .add_service(CatalogServer::new(FakeCatalog { bundles }))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::spawn(server);
    (provisioner, address)
}

fn not_found() -> Status {
    Error::new(ErrorCode::NotFound, "no such instance").into()
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not used by the binder"))
}

#[tonic::async_trait]
impl Provisioner for FakeProvisioner {
    type WatchInstancesStream =
        Pin<Box<dyn Stream<Item = Result<InstanceState, Status>> + Send + 'static>>;

    async fn get_instance(
        &self,
        request: Request<v1::GetInstanceRequest>,
    ) -> Result<Response<Instance>, Status> {
        let state = self.state.lock().unwrap();
        let held = state
            .get(&request.get_ref().instance_id)
            .ok_or_else(not_found)?;
        Ok(Response::new(held.instance.clone()))
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Result<Response<Instance>, Status> {
        let request = request.into_inner();
        let mut state = self.state.lock().unwrap();
        let held = state.get_mut(&request.instance_id).ok_or_else(not_found)?;
        if held.refuses
            || held.instance.incarnation != request.incarnation
            || matches!(
                held.instance.phase(),
                InstancePhase::Deprovisioning | InstancePhase::Deleted
            )
        {
            return Err(Error::new(ErrorCode::ConcurrencyError, "being deleted").into());
        }
        held.is_kept = true;
        Ok(Response::new(held.instance.clone()))
    }

    async fn release_hold(
        &self,
        request: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        if let Some(held) = state.get_mut(&request.get_ref().instance_id) {
            held.is_kept = false;
            held.releases += 1;
        }
        drop(state);
        self.changed.send_modify(|version| *version += 1);
        Ok(Response::new(v1::ReleaseHoldResponse {}))
    }

    async fn watch_instances(
        &self,
        _: Request<v1::WatchInstancesRequest>,
    ) -> Result<Response<Self::WatchInstancesStream>, Status> {
        let state = Arc::clone(&self.state);
        let states = WatchStream::new(self.changed.subscribe()).map(move |_| {
            let all: Vec<_> = state
                .lock()
                .unwrap()
                .values()
                .map(|held| {
                    Ok(InstanceState {
                        instance_id: held.instance.instance_id.clone(),
                        incarnation: held.instance.incarnation.clone(),
                        phase: held.instance.phase,
                        held: held.is_kept,
                    })
                })
                .collect();
            tokio_stream::iter(all)
        });
        let flat = futures::StreamExt::flatten(states);
        Ok(Response::new(Box::pin(flat)))
    }

    async fn provision(
        &self,
        _: Request<v1::ProvisionRequest>,
    ) -> Result<Response<v1::ProvisionResponse>, Status> {
        unused()
    }

    async fn update(
        &self,
        _: Request<v1::UpdateRequest>,
    ) -> Result<Response<v1::UpdateResponse>, Status> {
        unused()
    }

    async fn deprovision(
        &self,
        _: Request<v1::DeprovisionRequest>,
    ) -> Result<Response<v1::DeprovisionResponse>, Status> {
        unused()
    }

    async fn fetch_instance(
        &self,
        _: Request<v1::FetchInstanceRequest>,
    ) -> Result<Response<v1::FetchInstanceResponse>, Status> {
        unused()
    }

    async fn last_operation(
        &self,
        _: Request<v1::LastOperationRequest>,
    ) -> Result<Response<v1::OperationStatus>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl Catalog for FakeCatalog {
    type WatchCatalogStream =
        Pin<Box<dyn Stream<Item = Result<v1::CatalogSnapshot, Status>> + Send + 'static>>;

    async fn get_bundle(
        &self,
        request: Request<v1::GetBundleRequest>,
    ) -> Result<Response<v1::Bundle>, Status> {
        let digest = request.into_inner().digest;
        let found = self
            .bundles
            .iter()
            .find(|bundle| bundle.digest().as_str() == digest);
        let content = found
            .ok_or_else(|| Error::unavailable("The bundle"))?
            .to_bytes()
            .to_vec();
        Ok(Response::new(v1::Bundle { digest, content }))
    }

    async fn get_catalog(
        &self,
        _: Request<v1::GetCatalogRequest>,
    ) -> Result<Response<v1::CatalogSnapshot>, Status> {
        unused()
    }

    async fn watch_catalog(
        &self,
        _: Request<v1::WatchCatalogRequest>,
    ) -> Result<Response<Self::WatchCatalogStream>, Status> {
        unused()
    }

    async fn list_plans(
        &self,
        _: Request<v1::ListPlansRequest>,
    ) -> Result<Response<v1::ListPlansResponse>, Status> {
        unused()
    }
}
