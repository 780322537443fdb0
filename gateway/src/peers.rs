//! Calls of the broker's services: a deadline on each, and a second try where
//! the call only reads.

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
use tonic::{Request, Response, Status};

use crate::args::PeerArgs;

/// The transport ends a call at its deadline; this much later it is given up,
/// for calls that wait for a first address and never reach the transport.
const GRACE: Duration = Duration::from_millis(250);
/// Pauses before a read is tried again, while a replica is being replaced.
const READ_RETRIES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

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
        let mut client = self.provisioner.clone();
        let request = timed(message, self.sync_deadline);
        within(self.sync_deadline, client.provision(request)).await
    }

    /// OSB PATCH of an instance.
    pub(crate) async fn update(&self, message: UpdateRequest) -> Result<UpdateResponse, Error> {
        let mut client = self.provisioner.clone();
        let request = timed(message, self.sync_deadline);
        within(self.sync_deadline, client.update(request)).await
    }

    /// OSB DELETE of an instance.
    pub(crate) async fn deprovision(
        &self,
        message: DeprovisionRequest,
    ) -> Result<DeprovisionResponse, Error> {
        let mut client = self.provisioner.clone();
        let request = timed(message, self.sync_deadline);
        within(self.sync_deadline, client.deprovision(request)).await
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
        let mut client = self.binder.clone();
        let request = timed(message, self.sync_deadline);
        within(self.sync_deadline, client.bind(request)).await
    }

    /// OSB DELETE of a binding.
    pub(crate) async fn unbind(&self, message: UnbindRequest) -> Result<UnbindResponse, Error> {
        let mut client = self.binder.clone();
        let request = timed(message, self.sync_deadline);
        within(self.sync_deadline, client.unbind(request)).await
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

    /// Calls once, and again while nobody answers; all within one deadline.
    async fn read<M, T, F>(&self, message: M, call: impl Fn(Request<M>) -> F) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let attempts = async {
            for pause in READ_RETRIES {
                match call(timed(message.clone(), self.read_deadline)).await {
                    Err(status) if is_unavailable(&status) => tokio::time::sleep(pause).await,
                    answer => return answer,
                }
            }
            call(timed(message.clone(), self.read_deadline)).await
        };
        within(self.read_deadline, attempts).await
    }
}

fn is_unavailable(status: &Status) -> bool {
    Error::from_status(status).code == ErrorCode::Unavailable
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
