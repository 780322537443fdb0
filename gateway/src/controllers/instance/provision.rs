//! PUT of an instance.

use axum::{extract::State, response::Response};
use broker_proto::v1::ProvisionRequest;

use crate::{
    error::{Error, Verb},
    extract::{Body, Call, InstancePath},
    gateway::Shared,
    reply::{Object, Success, metadata},
};

/// Makes an instance, or answers how the same request before it fared.
pub(crate) async fn put(
    State(gateway): State<Shared>,
    InstancePath(instance_id): InstancePath,
    call: Call,
    Body(mut fields): Body,
) -> Result<Response, Error> {
    let service_id = fields.required_text("service_id")?;
    let plan_id = fields.required_text("plan_id")?;
    let request = ProvisionRequest {
        instance_id,
        organization_guid: fields.required_text("organization_guid")?,
        space_guid: fields.required_text("space_guid")?,
        context: fields.structure("context")?,
        parameters: fields.structure("parameters")?,
        maintenance_version: fields.maintenance_version()?,
        accepts_incomplete: call.query.accepts_incomplete()?,
        requester: Some(call.requester()),
        verdict: Some(gateway.verdict(&service_id, &plan_id)?),
        service_id,
        plan_id,
    };
    let answer = gateway
        .peers
        .provision(request)
        .await
        .map_err(|error| Error::call(error, Verb::Create, call.version))?;
    let success = Success::of(answer.outcome())?;
    Ok(Object::default()
        .operation(success, answer.operation)
        .text("dashboard_url", answer.dashboard_url)
        .value("metadata", metadata(answer.metadata, call.version))
        .reply(success.of_create()))
}
