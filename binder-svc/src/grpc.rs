//! The gRPC face: each call in a span, each error told once to the log and,
//! without its cause, to the caller.

use std::{future::Future, sync::Arc, time::Duration};

use broker_proto::v1::{
    BindRequest, BindResponse, Binding, FetchBindingRequest, LastBindingOperationRequest,
    OperationStatus, UnbindRequest, UnbindResponse, binder_server::Binder,
};
use service::telemetry::chain;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::instrument;

use crate::{
    context::Context,
    error::Error,
    requests::{bind, read, unbind},
};

const GRACE: Duration = Duration::from_secs(1);

/// Serves bindings.
#[derive(Debug)]
pub(crate) struct Server {
    context: Arc<Context>,
}

impl Server {
    /// On these parts.
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.context.times.request
    }
}

/// Bounds a call as a whole; waiting for an outcome ends a little before.
async fn within<T>(
    deadline: Instant,
    answer: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    // On the heap: these futures are large.
    let answer = Box::pin(answer);
    match tokio::time::timeout_at(deadline + GRACE, answer).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut),
    }
}

#[tonic::async_trait]
impl Binder for Server {
    #[instrument(skip_all, fields(
        instance.id = request.get_ref().instance_id, binding.id = request.get_ref().binding_id))]
    async fn bind(&self, request: Request<BindRequest>) -> Result<Response<BindResponse>, Status> {
        let deadline = self.deadline();
        let answer = bind::bind(&self.context, request.get_ref(), deadline);
        respond(within(deadline, answer).await)
    }

    #[instrument(skip_all, fields(
        instance.id = request.get_ref().instance_id, binding.id = request.get_ref().binding_id))]
    async fn unbind(
        &self,
        request: Request<UnbindRequest>,
    ) -> Result<Response<UnbindResponse>, Status> {
        let deadline = self.deadline();
        let answer = unbind::unbind(&self.context, request.get_ref(), deadline);
        respond(within(deadline, answer).await)
    }

    #[instrument(skip_all, fields(
        instance.id = request.get_ref().instance_id, binding.id = request.get_ref().binding_id))]
    async fn fetch_binding(
        &self,
        request: Request<FetchBindingRequest>,
    ) -> Result<Response<Binding>, Status> {
        respond(
            within(
                self.deadline(),
                read::fetch(&self.context, request.get_ref()),
            )
            .await,
        )
    }

    #[instrument(skip_all, fields(
        instance.id = request.get_ref().instance_id, binding.id = request.get_ref().binding_id))]
    async fn last_binding_operation(
        &self,
        request: Request<LastBindingOperationRequest>,
    ) -> Result<Response<OperationStatus>, Status> {
        respond(
            within(
                self.deadline(),
                read::poll(&self.context, request.get_ref()),
            )
            .await,
        )
    }
}

fn respond<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    match result {
        Ok(answer) => Ok(Response::new(answer)),
        Err(error) => {
            let answer = error.answer();
            if answer.code == broker_proto::ErrorCode::Internal {
                tracing::error!(error = chain(&error), "request failed");
            } else {
                tracing::info!(
                    reason = answer.reason(),
                    error = chain(&error),
                    "request refused"
                );
            }
            Err(answer.into())
        }
    }
}
