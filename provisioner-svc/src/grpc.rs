//! The gRPC face: each RPC hands over to its request, and errors become
//! statuses in one place.

use std::{pin::Pin, sync::Arc};

use broker_proto::v1::{self, provisioner_server::Provisioner};
use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{context::Context, error::Error, requests};

/// See [`broker_proto::v1::provisioner_server::Provisioner`].
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) context: Arc<Context>,
    /// Ends the streams, which would hold up the drain.
    pub(crate) shutdown: CancellationToken,
}

fn answer<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    match result {
        Ok(message) => Ok(Response::new(message)),
        Err(error) => Err(error.answer().into()),
    }
}

#[tonic::async_trait]
impl Provisioner for Service {
    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn provision(
        &self,
        request: Request<v1::ProvisionRequest>,
    ) -> Result<Response<v1::ProvisionResponse>, Status> {
        answer(requests::provision::provision(&self.context, request.into_inner()).await)
    }

    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn update(
        &self,
        request: Request<v1::UpdateRequest>,
    ) -> Result<Response<v1::UpdateResponse>, Status> {
        answer(requests::update::update(&self.context, request.into_inner()).await)
    }

    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn deprovision(
        &self,
        request: Request<v1::DeprovisionRequest>,
    ) -> Result<Response<v1::DeprovisionResponse>, Status> {
        answer(requests::deprovision::deprovision(&self.context, request.into_inner()).await)
    }

    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn fetch_instance(
        &self,
        request: Request<v1::FetchInstanceRequest>,
    ) -> Result<Response<v1::FetchInstanceResponse>, Status> {
        answer(requests::fetch::fetch(&self.context, &request.into_inner()).await)
    }

    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn last_operation(
        &self,
        request: Request<v1::LastOperationRequest>,
    ) -> Result<Response<v1::OperationStatus>, Status> {
        answer(requests::poll::poll(&self.context, &request.into_inner()).await)
    }

    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn get_instance(
        &self,
        request: Request<v1::GetInstanceRequest>,
    ) -> Result<Response<v1::Instance>, Status> {
        answer(requests::fetch::describe(&self.context, &request.into_inner().instance_id).await)
    }

    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn hold(
        &self,
        request: Request<v1::HoldRequest>,
    ) -> Result<Response<v1::Instance>, Status> {
        answer(requests::hold::hold(&self.context, &request.into_inner()).await)
    }

    #[instrument(skip_all, fields(instance.id = request.get_ref().instance_id))]
    async fn release_hold(
        &self,
        request: Request<v1::ReleaseHoldRequest>,
    ) -> Result<Response<v1::ReleaseHoldResponse>, Status> {
        let released = requests::hold::release(&self.context, &request.into_inner()).await;
        answer(released.map(|()| v1::ReleaseHoldResponse {}))
    }

    type WatchInstancesStream =
        Pin<Box<dyn Stream<Item = Result<v1::InstanceState, Status>> + Send>>;

    #[instrument(skip_all)]
    async fn watch_instances(
        &self,
        _request: Request<v1::WatchInstancesRequest>,
    ) -> Result<Response<Self::WatchInstancesStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        // Ends when the receiver, which the connection owns, is dropped.
        tokio::spawn(requests::watch::stream(Arc::clone(&self.context), sender));
        let states = ReceiverStream::new(receiver);
        let states = states.take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(states)))
    }
}
