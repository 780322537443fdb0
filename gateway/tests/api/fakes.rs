//! Doubles of the services: they record what they were asked and answer what
//! a test told them to.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use broker_proto::{
    Error, ErrorCode,
    v1::{self, binder_server, catalog_server, provisioner_server},
};
use futures::Stream;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{
    StreamExt as _,
    wrappers::{TcpListenerStream, WatchStream},
};
use tonic::{Request, Response, Status, transport::Server};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One method: what it was asked, and what it answers.
pub(crate) struct Method<Q, A>(Mutex<State<Q, A>>);

struct State<Q, A> {
    asked: Vec<(Q, Option<String>)>,
    answer: Result<A, Status>,
    delay: Duration,
}

impl<Q: Clone, A: Clone> Method<Q, A> {
    fn new(answer: A) -> Self {
        Self(Mutex::new(State {
            asked: Vec::new(),
            answer: Ok(answer),
            delay: Duration::ZERO,
        }))
    }

    pub(crate) fn answer(&self, answer: A) {
        self.0.lock().unwrap().answer = Ok(answer);
    }

    pub(crate) fn fail(&self, code: ErrorCode) {
        self.fail_with(Error::new(code, "What the user should know."));
    }

    pub(crate) fn fail_with(&self, status: impl Into<Status>) {
        self.0.lock().unwrap().answer = Err(status.into());
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.0.lock().unwrap().delay = delay;
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    /// The newest request.
    pub(crate) fn asked(&self) -> Q {
        let state = self.0.lock().unwrap();
        state.asked.last().expect("the method was called").0.clone()
    }

    /// The request id that came with it.
    pub(crate) fn request_id(&self) -> Option<String> {
        self.0.lock().unwrap().asked.last()?.1.clone()
    }

    async fn call(&self, request: Request<Q>) -> Result<Response<A>, Status> {
        let id = request.metadata().get("x-request-id");
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let (answer, delay) = {
            let mut state = self.0.lock().unwrap();
            state.asked.push((request.into_inner(), id));
            (state.answer.clone(), state.delay)
        };
        tokio::time::sleep(delay).await;
        answer.map(Response::new)
    }
}

/// The catalog: streams whatever `snapshot` holds, as long as it is up.
pub(crate) struct FakeCatalog {
    pub(crate) up: watch::Sender<bool>,
    pub(crate) snapshot: watch::Sender<Option<v1::CatalogSnapshot>>,
}

#[tonic::async_trait]
impl catalog_server::Catalog for FakeCatalog {
    type WatchCatalogStream = Streamed<v1::CatalogSnapshot>;

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
        if !*self.up.borrow() {
            return Err(Status::unavailable("away"));
        }
        let mut up = self.up.subscribe();
        let away = async move { up.wait_for(|up| !up).await.map(drop) };
        let snapshots = WatchStream::new(self.snapshot.subscribe()).filter_map(|it| it.map(Ok));
        let stream = futures::StreamExt::take_until(snapshots, Box::pin(away));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_bundle(
        &self,
        _: Request<v1::GetBundleRequest>,
    ) -> Result<Response<v1::Bundle>, Status> {
        unused()
    }

    async fn list_plans(
        &self,
        _: Request<v1::ListPlansRequest>,
    ) -> Result<Response<v1::ListPlansResponse>, Status> {
        unused()
    }
}

/// The provisioner, as far as the gateway calls it.
pub(crate) struct FakeProvisioner {
    pub(crate) provision: Method<v1::ProvisionRequest, v1::ProvisionResponse>,
    pub(crate) update: Method<v1::UpdateRequest, v1::UpdateResponse>,
    pub(crate) deprovision: Method<v1::DeprovisionRequest, v1::DeprovisionResponse>,
    pub(crate) fetch: Method<v1::FetchInstanceRequest, v1::FetchInstanceResponse>,
    pub(crate) poll: Method<v1::LastOperationRequest, v1::OperationStatus>,
}

impl FakeProvisioner {
    fn new() -> Self {
        let accepted = v1::Outcome::Accepted.into();
        Self {
            provision: Method::new(v1::ProvisionResponse {
                outcome: accepted,
                operation: "create-1-a".into(),
                ..Default::default()
            }),
            update: Method::new(v1::UpdateResponse {
                outcome: accepted,
                operation: "update-2-b".into(),
                ..Default::default()
            }),
            deprovision: Method::new(v1::DeprovisionResponse {
                outcome: accepted,
                operation: "delete-3-c".into(),
            }),
            fetch: Method::new(v1::FetchInstanceResponse::default()),
            poll: Method::new(status("create-1-a", v1::OperationState::InProgress)),
        }
    }
}

/// What a poll may be answered.
pub(crate) fn status(operation: &str, state: v1::OperationState) -> v1::OperationStatus {
    v1::OperationStatus {
        operation: operation.into(),
        state: state.into(),
        description: "2 of 3 members ready".into(),
        retry_after_seconds: 7,
        ..Default::default()
    }
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not called by the gateway"))
}

#[tonic::async_trait]
impl provisioner_server::Provisioner for FakeProvisioner {
    type WatchInstancesStream = Streamed<v1::InstanceState>;

    async fn provision(
        &self,
        request: Request<v1::ProvisionRequest>,
    ) -> Result<Response<v1::ProvisionResponse>, Status> {
        self.provision.call(request).await
    }

    async fn update(
        &self,
        request: Request<v1::UpdateRequest>,
    ) -> Result<Response<v1::UpdateResponse>, Status> {
        self.update.call(request).await
    }

    async fn deprovision(
        &self,
        request: Request<v1::DeprovisionRequest>,
    ) -> Result<Response<v1::DeprovisionResponse>, Status> {
        self.deprovision.call(request).await
    }

    async fn fetch_instance(
        &self,
        request: Request<v1::FetchInstanceRequest>,
    ) -> Result<Response<v1::FetchInstanceResponse>, Status> {
        self.fetch.call(request).await
    }

    async fn last_operation(
        &self,
        request: Request<v1::LastOperationRequest>,
    ) -> Result<Response<v1::OperationStatus>, Status> {
        self.poll.call(request).await
    }

    async fn get_instance(
        &self,
        _: Request<v1::GetInstanceRequest>,
    ) -> Result<Response<v1::Instance>, Status> {
        unused()
    }

    async fn hold(&self, _: Request<v1::HoldRequest>) -> Result<Response<v1::Instance>, Status> {
        unused()
    }

    async fn release_hold(
        &self,
        _: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        unused()
    }

    async fn watch_instances(
        &self,
        _: Request<v1::WatchInstancesRequest>,
    ) -> Result<Response<Self::WatchInstancesStream>, Status> {
        unused()
    }
}

/// The binder.
pub(crate) struct FakeBinder {
    pub(crate) bind: Method<v1::BindRequest, v1::BindResponse>,
    pub(crate) unbind: Method<v1::UnbindRequest, v1::UnbindResponse>,
    pub(crate) fetch: Method<v1::FetchBindingRequest, v1::Binding>,
    pub(crate) poll: Method<v1::LastBindingOperationRequest, v1::OperationStatus>,
}

impl FakeBinder {
    fn new() -> Self {
        Self {
            bind: Method::new(v1::BindResponse {
                outcome: v1::Outcome::Accepted.into(),
                operation: "bind-1-a".into(),
                binding: None,
            }),
            unbind: Method::new(v1::UnbindResponse {
                outcome: v1::Outcome::Done.into(),
                operation: String::new(),
            }),
            fetch: Method::new(v1::Binding::default()),
            poll: Method::new(status("bind-1-a", v1::OperationState::InProgress)),
        }
    }
}

#[tonic::async_trait]
impl binder_server::Binder for FakeBinder {
    async fn bind(
        &self,
        request: Request<v1::BindRequest>,
    ) -> Result<Response<v1::BindResponse>, Status> {
        self.bind.call(request).await
    }

    async fn unbind(
        &self,
        request: Request<v1::UnbindRequest>,
    ) -> Result<Response<v1::UnbindResponse>, Status> {
        self.unbind.call(request).await
    }

    async fn fetch_binding(
        &self,
        request: Request<v1::FetchBindingRequest>,
    ) -> Result<Response<v1::Binding>, Status> {
        self.fetch.call(request).await
    }

    async fn last_binding_operation(
        &self,
        request: Request<v1::LastBindingOperationRequest>,
    ) -> Result<Response<v1::OperationStatus>, Status> {
        self.poll.call(request).await
    }
}

/// All three, behind one port.
pub(crate) struct Fakes {
    pub(crate) catalog: Arc<FakeCatalog>,
    pub(crate) provisioner: Arc<FakeProvisioner>,
    pub(crate) binder: Arc<FakeBinder>,
    pub(crate) target: String,
}

impl Fakes {
    pub(crate) async fn start(snapshot: Option<v1::CatalogSnapshot>) -> Self {
        Self::start_at("127.0.0.1:0", snapshot).await
    }

    pub(crate) async fn start_at(address: &str, snapshot: Option<v1::CatalogSnapshot>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let fakes = Self {
            catalog: Arc::new(FakeCatalog {
                up: watch::Sender::new(true),
                snapshot: watch::Sender::new(snapshot),
            }),
            provisioner: Arc::new(FakeProvisioner::new()),
            binder: Arc::new(FakeBinder::new()),
            target: listener.local_addr().unwrap().to_string(),
        };
        let server = Server::builder()
            .add_service(catalog_server::CatalogServer::from_arc(Arc::clone(
                &fakes.catalog,
            )))
            .add_service(provisioner_server::ProvisionerServer::from_arc(Arc::clone(
                &fakes.provisioner,
            )))
            .add_service(binder_server::BinderServer::from_arc(Arc::clone(
                &fakes.binder,
            )))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        fakes
    }
}
