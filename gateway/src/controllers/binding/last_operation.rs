//! Poll of a binding.

use axum::{extract::State, response::Response};
use broker_proto::v1::LastBindingOperationRequest;

use crate::{
    error::{Error, Verb},
    extract::{BindingPath, Call},
    gateway::Shared,
    operation::{self, Of},
};

/// The state of an operation; of the newest one where none is named.
pub(crate) async fn get(
    State(gateway): State<Shared>,
    path: BindingPath,
    call: Call,
) -> Result<Response, Error> {
    let request = LastBindingOperationRequest {
        instance_id: path.instance_id,
        binding_id: path.binding_id,
        operation: call.query.text("operation")?.unwrap_or_default(),
        platform: call.platform(),
    };
    let status = gateway
        .peers
        .last_binding_operation(request)
        .await
        .map_err(|error| Error::call(error, Verb::Poll, call.version))?;
    operation::reply(status, Of::Binding, call.version, gateway.poll_terminal)
}
