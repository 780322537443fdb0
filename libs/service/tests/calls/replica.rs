//! A replica of a fake provisioner behind the real server, and the list of
//! addresses that stands for DNS.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use broker_proto::{
    client::{Lookup, Target, Transport},
    v1::{self, provisioner_client::ProvisionerClient, provisioner_server},
};
use prometheus_client::registry::Registry;
use service::{
    Admin, Readiness, ServiceArgs, Tls,
    grpc::{Contract, Listeners},
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};
use tokio_stream::{StreamExt as _, wrappers::WatchStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, service::Routes};

/// What a client finds when it looks the service up.
#[derive(Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<Vec<SocketAddr>>>);

impl Addresses {
    pub(crate) fn add(&self, address: SocketAddr) {
        self.0.lock().unwrap().push(address);
    }

    pub(crate) fn remove(&self, address: SocketAddr) {
        self.0.lock().unwrap().retain(|known| *known != address);
    }

    /// A client that looks them up each 100 ms, with a deadline of `deadline` a call.
    pub(crate) fn client(&self, deadline: Duration) -> ProvisionerClient<Transport> {
        self.client_as(&Tls::plaintext(), deadline)
    }

    /// The same, with a certificate.
    pub(crate) fn client_as(&self, tls: &Tls, deadline: Duration) -> ProvisionerClient<Transport> {
        let list = Arc::clone(&self.0);
        let lookup: Lookup = Arc::new(move || {
            let found = list.lock().unwrap().clone();
            Box::pin(async move { io::Result::Ok(found) })
        });
        let mut target = Target::new("provisioner:7000", deadline, Ok);
        target.lookup = Some(lookup);
        target.resolve_every = Duration::from_millis(100);
        target.with_tls(tls.client()).provisioner().unwrap()
    }
}

/// What replicas serve.
pub(crate) const CONTRACT: Contract = Contract {
    descriptors: broker_proto::DESCRIPTORS,
    names: &[provisioner_server::SERVICE_NAME],
    callers: broker_proto::CALLERS,
};

/// An address at which nobody listens.
pub(crate) fn refusing() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Passes on what comes for a replica, and counts the connections.
pub(crate) struct Counted {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Counted {
    pub(crate) async fn before(replica: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut outer, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut inner = TcpStream::connect(replica).await?;
                    tokio::io::copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
        Self {
            address,
            connections,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// How a replica answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    AtOnce,
    /// Each after as long as the other end may take to read the ones before.
    After(Duration),
    Never,
}

/// A replica with a runtime of its own, so that it can be killed.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    /// How many requests it has received.
    pub(crate) received: watch::Receiver<usize>,
    shutdown: CancellationToken,
    ended: watch::Receiver<bool>,
    runtime: Option<Runtime>,
}

impl Replica {
    pub(crate) fn start(answers: Answers) -> Self {
        Self::start_with(answers, |_| ())
    }

    pub(crate) fn start_with(answers: Answers, change: impl FnOnce(&mut ServiceArgs)) -> Self {
        Self::start_as(Tls::plaintext(), answers, change)
    }

    pub(crate) fn start_as(
        tls: Tls,
        answers: Answers,
        change: impl FnOnce(&mut ServiceArgs),
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut args = ServiceArgs::for_tests();
        change(&mut args);
        // Bound without async, since tests call this inside of a runtime.
        let bind = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let (service, admin) = (bind(), bind());
        let address = service.local_addr().unwrap();
        let (count, received) = watch::channel(0);
        let (has_ended, ended) = watch::channel(false);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        runtime.spawn(async move {
            let listeners = Listeners {
                service: tokio::net::TcpListener::from_std(service).unwrap(),
                admin: tokio::net::TcpListener::from_std(admin).unwrap(),
            };
            let fake = Fake {
                answers,
                count,
                stop: stop.clone(),
            };
            let routes = Routes::new(provisioner_server::ProvisionerServer::new(fake));
            service::grpc::serve(
                &args,
                listeners,
                tls,
                routes,
                CONTRACT,
                Admin::new(Readiness::default(), Registry::default()),
                stop,
            )
            .await
            .unwrap();
            has_ended.send_replace(true);
        });
        Self {
            address,
            received,
            shutdown,
            ended,
            runtime: Some(runtime),
        }
    }

    /// Ends it as SIGTERM does, and waits.
    pub(crate) async fn terminate(&mut self) {
        self.shutdown.cancel();
        self.ended.wait_for(|ended| *ended).await.unwrap();
        self.kill();
    }

    /// Ends it as SIGKILL does: its sockets close at once.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn count(&self) -> usize {
        *self.received.borrow()
    }

    pub(crate) async fn receives(&mut self, count: usize) {
        self.received
            .wait_for(|received| *received >= count)
            .await
            .unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Fake {
    answers: Answers,
    count: watch::Sender<usize>,
    stop: CancellationToken,
}

impl Fake {
    async fn answer<T: Default>(&self) -> Result<Response<T>, Status> {
        self.count.send_modify(|count| *count += 1);
        match self.answers {
            Answers::AtOnce => Ok(Response::new(T::default())),
            Answers::After(time) => {
                tokio::time::sleep(time).await;
                Ok(Response::new(T::default()))
            }
            Answers::Never => std::future::pending().await,
        }
    }
}

type States = std::pin::Pin<
    Box<dyn futures::Stream<Item = Result<v1::InstanceState, Status>> + Send + 'static>,
>;

#[tonic::async_trait]
impl provisioner_server::Provisioner for Fake {
    type WatchInstancesStream = States;

    async fn provision(
        &self,
        _: Request<v1::ProvisionRequest>,
    ) -> Result<Response<v1::ProvisionResponse>, Status> {
        self.answer().await
    }

    async fn update(
        &self,
        _: Request<v1::UpdateRequest>,
    ) -> Result<Response<v1::UpdateResponse>, Status> {
        self.answer().await
    }

    async fn deprovision(
        &self,
        _: Request<v1::DeprovisionRequest>,
    ) -> Result<Response<v1::DeprovisionResponse>, Status> {
        self.answer().await
    }

    async fn fetch_instance(
        &self,
        _: Request<v1::FetchInstanceRequest>,
    ) -> Result<Response<v1::FetchInstanceResponse>, Status> {
        self.answer().await
    }

    async fn last_operation(
        &self,
        _: Request<v1::LastOperationRequest>,
    ) -> Result<Response<v1::OperationStatus>, Status> {
        self.answer().await
    }

    async fn get_instance(
        &self,
        _: Request<v1::GetInstanceRequest>,
    ) -> Result<Response<v1::Instance>, Status> {
        self.answer().await
    }

    async fn hold(&self, _: Request<v1::HoldRequest>) -> Result<Response<v1::Instance>, Status> {
        self.answer().await
    }

    async fn release_hold(
        &self,
        _: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        self.answer().await
    }

    /// One message at once, and no end but that of the process.
    async fn watch_instances(
        &self,
        _: Request<v1::WatchInstancesRequest>,
    ) -> Result<Response<States>, Status> {
        self.count.send_modify(|count| *count += 1);
        let (sender, receiver) = watch::channel(());
        let states = WatchStream::new(receiver).map(move |()| {
            let _keep_open = &sender;
            Ok(v1::InstanceState::default())
        });
        let stop = self.stop.clone().cancelled_owned();
        let states = futures::StreamExt::take_until(states, stop);
        Ok(Response::new(Box::pin(states)))
    }
}
