//! PATCH of an instance.

use axum::{extract::State, response::Response};
use broker_proto::v1::UpdateRequest;

use crate::{
    error::{Error, Verb},
    extract::{Body, Call, InstancePath},
    gateway::Shared,
    reply::{Object, Success, metadata},
    version::ApiVersion,
};

/// Changes an instance. What is absent from the body must not change;
/// `previous_values` is informational and never looked at (UPD-06).
pub(crate) async fn patch(
    State(gateway): State<Shared>,
    InstancePath(instance_id): InstancePath,
    call: Call,
    Body(mut fields): Body,
) -> Result<Response, Error> {
    let service_id = fields.required_text("service_id")?;
    let plan_id = fields.optional_text("plan_id")?;
    let request = UpdateRequest {
        instance_id,
        parameters: fields.structure("parameters")?,
        context: fields.structure("context")?,
        maintenance_version: fields.maintenance_version()?,
        accepts_incomplete: call.query.accepts_incomplete()?,
        requester: Some(call.requester()),
        // Without a plan the record's own is meant, which we do not know.
        verdict: plan_id
            .as_deref()
            .map(|plan| gateway.verdict(&service_id, plan))
            .transpose()?,
        service_id,
        plan_id,
    };
    let answer = gateway
        .peers
        .update(request)
        .await
        .map_err(|error| Error::call(error, Verb::Update, call.version))?;
    let success = Success::of(answer.outcome())?;
    let dashboard = Some(answer.dashboard_url)
        .filter(|_| call.version >= ApiVersion::V2_14)
        .unwrap_or_default();
    Ok(Object::default()
        .operation(success, answer.operation)
        .text("dashboard_url", dashboard)
        .value("metadata", metadata(answer.metadata, call.version))
        .reply(success.of_change()))
}
