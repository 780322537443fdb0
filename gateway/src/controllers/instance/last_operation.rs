//! Poll of an instance.

use axum::{extract::State, response::Response};
use broker_proto::v1::LastOperationRequest;

use crate::{
    error::{Error, Verb},
    extract::{Call, InstancePath},
    gateway::Shared,
    operation::{self, Of},
};

/// The state of an operation; of the newest one where none is named.
pub(crate) async fn get(
    State(gateway): State<Shared>,
    InstancePath(instance_id): InstancePath,
    call: Call,
) -> Result<Response, Error> {
    let request = LastOperationRequest {
        instance_id,
        operation: call.query.text("operation")?.unwrap_or_default(),
        platform: call.platform(),
    };
    let status = gateway
        .peers
        .last_operation(request)
        .await
        .map_err(|error| Error::call(error, Verb::Poll, call.version))?;
    operation::reply(status, Of::Instance, call.version, gateway.poll_terminal)
}
