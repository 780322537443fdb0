//! DELETE of a binding.

use axum::{extract::State, response::Response};
use broker_proto::v1::UnbindRequest;

use crate::{
    error::{Error, Verb},
    extract::{BindingPath, Call},
    gateway::Shared,
    reply::{Object, Success},
};

/// Revokes a binding. `service_id` and `plan_id` are required, but an unknown
/// binding is 410 even without them (a public suite insists), so the service
/// that knows the bindings judges their absence.
pub(crate) async fn delete(
    State(gateway): State<Shared>,
    path: BindingPath,
    call: Call,
) -> Result<Response, Error> {
    let service_id = call.query.text("service_id")?.unwrap_or_default();
    let plan_id = call.query.text("plan_id")?.unwrap_or_default();
    let named = !service_id.is_empty() && !plan_id.is_empty();
    let request = UnbindRequest {
        instance_id: path.instance_id,
        binding_id: path.binding_id,
        accepts_incomplete: call.query.accepts_incomplete()?,
        requester: Some(call.requester()),
        verdict: named
            .then(|| gateway.verdict(&service_id, &plan_id))
            .transpose()?,
        service_id,
        plan_id,
    };
    let answer = gateway
        .peers
        .unbind(request)
        .await
        .map_err(|error| Error::call(error, Verb::Unbind, call.version))?;
    let success = Success::of(answer.outcome())?;
    Ok(Object::default()
        .operation(success, answer.operation)
        .reply(success.of_change()))
}
