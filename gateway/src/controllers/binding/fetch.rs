//! GET of a binding.

use axum::{extract::State, http::StatusCode, response::Response};
use broker_proto::{json::from_struct, v1::FetchBindingRequest};
use serde_json::Value;

use super::view;
use crate::{
    error::{Error, Verb},
    extract::{BindingPath, Call},
    gateway::Shared,
};

/// Shows a binding with its credentials. The hints `service_id` and `plan_id`
/// are not needed (GB-06).
pub(crate) async fn get(
    State(gateway): State<Shared>,
    path: BindingPath,
    call: Call,
) -> Result<Response, Error> {
    let request = FetchBindingRequest {
        instance_id: path.instance_id,
        binding_id: path.binding_id,
        platform: call.platform(),
    };
    let mut binding = gateway
        .peers
        .fetch_binding(request)
        .await
        .map_err(|error| Error::call(error, Verb::Fetch, call.version))?;
    let parameters = binding.parameters.take().map(from_struct);
    Ok(view::binding(binding, call.version)
        .value("parameters", parameters.map(Value::Object))
        .reply(StatusCode::OK))
}
