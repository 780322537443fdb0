//! Calls of the provisioner and the binder, a deadline on each.

use std::time::Duration;

use broker_proto::{
    Error, ErrorCode,
    client::{self, Target, Transport, within},
    v1::{
        BindRequest, BindResponse, Binding, DeprovisionRequest, DeprovisionResponse,
        FetchBindingRequest, FetchInstanceRequest, FetchInstanceResponse,
        LastBindingOperationRequest, LastOperationRequest, OperationStatus, ProvisionRequest,
        ProvisionResponse, UnbindRequest, UnbindResponse, UpdateRequest, UpdateResponse,
        binder_client::BinderClient, provisioner_client::ProvisionerClient,
    },
};
use service::{Tls, context};
use tonic::{Request, Response, Status};

use crate::args::PeerArgs;

/// The services other than the catalog.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    provisioner: ProvisionerClient<Transport>,
    binder: BinderClient<Transport>,
    write_deadline: Duration,
    read_deadline: Duration,
}

impl Peers {
    /// Starts connecting; does not wait for it.
    pub(crate) fn connect(args: &PeerArgs, tls: &Tls) -> Result<Self, client::Error> {
        let target = |address: &str| {
            Target::new(address, args.write_deadline, context::inject).with_tls(tls.client())
        };
        Ok(Self {
            provisioner: target(&args.provisioner).provisioner()?,
            binder: target(&args.binder).binder()?,
            write_deadline: args.write_deadline,
            read_deadline: args.read_deadline,
        })
    }

    /// OSB PUT of an instance.
    pub(crate) async fn provision(
        &self,
        message: ProvisionRequest,
    ) -> Result<ProvisionResponse, Error> {
        let request = self.write(message);
        result(self.provisioner.clone().provision(request)).await
    }

    /// OSB PATCH of an instance.
    pub(crate) async fn update(&self, message: UpdateRequest) -> Result<UpdateResponse, Error> {
        let request = self.write(message);
        result(self.provisioner.clone().update(request)).await
    }

    /// OSB DELETE of an instance.
    pub(crate) async fn deprovision(
        &self,
        message: DeprovisionRequest,
    ) -> Result<DeprovisionResponse, Error> {
        let request = self.write(message);
        result(self.provisioner.clone().deprovision(request)).await
    }

    /// OSB GET of an instance.
    pub(crate) async fn fetch_instance(
        &self,
        message: FetchInstanceRequest,
    ) -> Result<FetchInstanceResponse, Error> {
        let request = self.read(message);
        result(self.provisioner.clone().fetch_instance(request)).await
    }

    /// OSB poll of an instance.
    pub(crate) async fn last_operation(
        &self,
        message: LastOperationRequest,
    ) -> Result<OperationStatus, Error> {
        let request = self.read(message);
        result(self.provisioner.clone().last_operation(request)).await
    }

    /// OSB PUT of a binding.
    pub(crate) async fn bind(&self, message: BindRequest) -> Result<BindResponse, Error> {
        let request = self.write(message);
        result(self.binder.clone().bind(request)).await
    }

    /// OSB DELETE of a binding.
    pub(crate) async fn unbind(&self, message: UnbindRequest) -> Result<UnbindResponse, Error> {
        let request = self.write(message);
        result(self.binder.clone().unbind(request)).await
    }

    /// OSB GET of a binding.
    pub(crate) async fn fetch_binding(
        &self,
        message: FetchBindingRequest,
    ) -> Result<Binding, Error> {
        let request = self.read(message);
        result(self.binder.clone().fetch_binding(request)).await
    }

    /// OSB poll of a binding.
    pub(crate) async fn last_binding_operation(
        &self,
        message: LastBindingOperationRequest,
    ) -> Result<OperationStatus, Error> {
        let request = self.read(message);
        result(self.binder.clone().last_binding_operation(request)).await
    }

    fn read<M>(&self, message: M) -> Request<M> {
        within(self.read_deadline, message)
    }

    fn write<M>(&self, message: M) -> Request<M> {
        within(self.write_deadline, message)
    }
}

/// The answer, or an error that any client may see.
async fn result<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    // Boxed: a client's future is several KiB, and sits in every handler's.
    let status = match Box::pin(call).await {
        Ok(response) => return Ok(response.into_inner()),
        Err(status) => status,
    };
    let error = Error::from_status(&status);
    if matches!(
        error.code,
        ErrorCode::Internal | ErrorCode::Unavailable | ErrorCode::DeadlineExceeded
    ) {
        // The status names addresses and causes, for us alone; the client gets
        // a fixed text. A service's own cause is in its log, by the request id.
        tracing::warn!(
            grpc.code = ?status.code(),
            grpc.message = status.message(),
            "call to a service failed"
        );
    }
    Err(error)
}
