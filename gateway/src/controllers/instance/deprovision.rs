//! DELETE of an instance.

use axum::{extract::State, response::Response};
use broker_proto::v1::DeprovisionRequest;

use crate::{
    error::{Error, Verb},
    extract::{Call, InstancePath},
    gateway::Shared,
    reply::{Object, Success},
};

/// Deletes an instance and all that belongs to it.
pub(crate) async fn delete(
    State(gateway): State<Shared>,
    InstancePath(instance_id): InstancePath,
    call: Call,
) -> Result<Response, Error> {
    let service_id = call.query.required("service_id")?;
    let plan_id = call.query.required("plan_id")?;
    let request = DeprovisionRequest {
        instance_id,
        accepts_incomplete: call.query.accepts_incomplete()?,
        requester: Some(call.requester()),
        verdict: Some(gateway.verdict(&service_id, &plan_id)?),
        service_id,
        plan_id,
    };
    let answer = gateway
        .peers
        .deprovision(request)
        .await
        .map_err(|error| Error::call(error, Verb::Deprovision, call.version))?;
    let success = Success::of(answer.outcome())?;
    Ok(Object::default()
        .operation(success, answer.operation)
        .reply(success.of_change()))
}
