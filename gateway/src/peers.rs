//! Calls of the broker's services: a deadline on each, and another try where
//! a replica that is being replaced was hit and nothing can happen twice.

use std::{future::Future, time::Duration};

use broker_proto::{
    Error, ErrorCode,
    client::{self, Target, Transport},
    v1::{
        BindRequest, BindResponse, Binding, DeprovisionRequest, DeprovisionResponse,
        FetchBindingRequest, FetchInstanceRequest, FetchInstanceResponse,
        LastBindingOperationRequest, LastOperationRequest, OperationStatus, ProvisionRequest,
        ProvisionResponse, UnbindRequest, UnbindResponse, UpdateRequest, UpdateResponse,
        binder_client::BinderClient, provisioner_client::ProvisionerClient,
    },
};
use service::context;
use tonic::{Code, Request, Response, Status};

use crate::args::PeerArgs;

/// The transport ends a call at its deadline; this much later it is given up,
/// for calls that wait for a first address and never reach the transport.
const GRACE: Duration = Duration::from_millis(250);
/// Pauses before further tries; another replica is likely to be picked.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
];

/// The services behind, other than the catalog.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    provisioner: ProvisionerClient<Transport>,
    binder: BinderClient<Transport>,
    sync_deadline: Duration,
    read_deadline: Duration,
}

impl Peers {
    /// Starts connecting; does not wait for it.
    pub(crate) fn connect(args: &PeerArgs) -> Result<Self, client::Error> {
        let target = |address: &str| Target::new(address, args.sync_deadline, context::inject);
        Ok(Self {
            provisioner: target(&args.provisioner).provisioner()?,
            binder: target(&args.binder).binder()?,
            sync_deadline: args.sync_deadline,
            read_deadline: args.read_deadline,
        })
    }

    /// OSB PUT of an instance.
    pub(crate) async fn provision(
        &self,
        message: ProvisionRequest,
    ) -> Result<ProvisionResponse, Error> {
        self.write(message, |request| {
            let mut client = self.provisioner.clone();
            async move { client.provision(request).await }
        })
        .await
    }

    /// OSB PATCH of an instance.
    pub(crate) async fn update(&self, message: UpdateRequest) -> Result<UpdateResponse, Error> {
        self.write(message, |request| {
            let mut client = self.provisioner.clone();
            async move { client.update(request).await }
        })
        .await
    }

    /// OSB DELETE of an instance.
    pub(crate) async fn deprovision(
        &self,
        message: DeprovisionRequest,
    ) -> Result<DeprovisionResponse, Error> {
        self.write(message, |request| {
            let mut client = self.provisioner.clone();
            async move { client.deprovision(request).await }
        })
        .await
    }

    /// OSB GET of an instance.
    pub(crate) async fn fetch_instance(
        &self,
        message: FetchInstanceRequest,
    ) -> Result<FetchInstanceResponse, Error> {
        self.read(message, |request| {
            let mut client = self.provisioner.clone();
            async move { client.fetch_instance(request).await }
        })
        .await
    }

    /// OSB poll of an instance.
    pub(crate) async fn last_operation(
        &self,
        message: LastOperationRequest,
    ) -> Result<OperationStatus, Error> {
        self.read(message, |request| {
            let mut client = self.provisioner.clone();
            async move { client.last_operation(request).await }
        })
        .await
    }

    /// OSB PUT of a binding.
    pub(crate) async fn bind(&self, message: BindRequest) -> Result<BindResponse, Error> {
        self.write(message, |request| {
            let mut client = self.binder.clone();
            async move { client.bind(request).await }
        })
        .await
    }

    /// OSB DELETE of a binding.
    pub(crate) async fn unbind(&self, message: UnbindRequest) -> Result<UnbindResponse, Error> {
        self.write(message, |request| {
            let mut client = self.binder.clone();
            async move { client.unbind(request).await }
        })
        .await
    }

    /// OSB GET of a binding.
    pub(crate) async fn fetch_binding(
        &self,
        message: FetchBindingRequest,
    ) -> Result<Binding, Error> {
        self.read(message, |request| {
            let mut client = self.binder.clone();
            async move { client.fetch_binding(request).await }
        })
        .await
    }

    /// OSB poll of a binding.
    pub(crate) async fn last_binding_operation(
        &self,
        message: LastBindingOperationRequest,
    ) -> Result<OperationStatus, Error> {
        self.read(message, |request| {
            let mut client = self.binder.clone();
            async move { client.last_binding_operation(request).await }
        })
        .await
    }

    /// A call that changes nothing: it may be sent twice.
    async fn read<M: Clone, T, F>(
        &self,
        message: M,
        call: impl Fn(Request<M>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let again = |status: &Status| was_never_sent(status) || was_not_answered(status);
        within(
            self.read_deadline,
            tried(self.read_deadline, message, call, again),
        )
        .await
    }

    /// A call that changes something: it is sent once.
    async fn write<M: Clone, T, F>(
        &self,
        message: M,
        call: impl Fn(Request<M>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        within(
            self.sync_deadline,
            tried(self.sync_deadline, message, call, was_never_sent),
        )
        .await
    }
}

/// Calls, and calls again as long as `again` allows and tries are left.
async fn tried<M: Clone, T, F>(
    deadline: Duration,
    message: M,
    call: impl Fn(Request<M>) -> F,
    again: impl Fn(&Status) -> bool,
) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    for pause in PAUSES {
        match call(timed(message.clone(), deadline)).await {
            Err(status) if again(&status) => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    call(timed(message, deadline)).await
}

/// No connection came about, so nobody has seen the request.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The connection broke. A service that is up and says "unavailable" of
/// something behind it names its error, and asking it again at once is no use.
fn was_not_answered(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.details().is_empty()
}

/// A request that tells its deadline to the peer.
fn timed<M>(message: M, deadline: Duration) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

/// The answer, or an error that any client may see.
async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    // Boxed: a client's future is several KiB, and sits in every handler's.
    let answer = tokio::time::timeout(deadline + GRACE, Box::pin(call)).await;
    let status = match answer {
        Ok(Ok(response)) => return Ok(response.into_inner()),
        Ok(Err(status)) => status,
        Err(_) => Status::deadline_exceeded("no answer"),
    };
    let error = Error::from_status(&status);
    if matches!(
        error.code,
        ErrorCode::Internal | ErrorCode::Unavailable | ErrorCode::DeadlineExceeded
    ) {
        // The transport's text is for us alone; the client gets a fixed one.
        tracing::warn!(
            grpc.code = ?status.code(),
            grpc.message = status.message(),
            "a service did not answer as it should"
        );
    }
    Err(error)
}
