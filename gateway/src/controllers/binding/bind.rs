//! PUT of a binding; with `predecessor_binding_id` a rotation.

use axum::{extract::State, response::Response};
use broker_proto::v1::BindRequest;

use super::view;
use crate::{
    error::{Error, Verb},
    extract::{BindingPath, Body, Call, Fields},
    gateway::{Gateway, Shared},
    reply::{Object, Success},
};

/// Makes a binding, or answers how the same request before it fared.
pub(crate) async fn put(
    State(gateway): State<Shared>,
    path: BindingPath,
    call: Call,
    Body(fields): Body,
) -> Result<Response, Error> {
    let request = request(&gateway, path, &call, fields)?;
    let answer = gateway
        .peers
        .bind(request)
        .await
        .map_err(|error| Error::call(error, Verb::Create, call.version))?;
    let success = Success::of(answer.outcome())?;
    let body = match (success, answer.binding) {
        // No credentials before the binding is there (BND-06).
        (Success::Accepted, _) => Object::default().operation(success, answer.operation),
        (Success::Done | Success::Unchanged, Some(binding)) => view::binding(binding, call.version),
        (Success::Done | Success::Unchanged, None) => {
            tracing::error!("a bind was answered without the binding");
            return Err(Error::Internal);
        }
    };
    Ok(body.reply(success.of_create()))
}

fn request(
    gateway: &Gateway,
    path: BindingPath,
    call: &Call,
    mut fields: Fields,
) -> Result<BindRequest, Error> {
    let predecessor = fields.optional_text("predecessor_binding_id")?;
    let (service_id, plan_id) = if predecessor.is_some() {
        // All that a rotation must name is its predecessor (ROT-02).
        (
            fields.text("service_id")?.unwrap_or_default(),
            fields.text("plan_id")?.unwrap_or_default(),
        )
    } else {
        (
            fields.required_text("service_id")?,
            fields.required_text("plan_id")?,
        )
    };
    let named = !service_id.is_empty() && !plan_id.is_empty();
    // The deprecated place counts where the new one says nothing (trap 15).
    let mut app_guid = fields.text("app_guid")?;
    let mut bind_resource = None;
    if let Some(resource) = fields.nested("bind_resource")? {
        let newer = resource.text("app_guid")?.filter(|guid| !guid.is_empty());
        app_guid = newer.or(app_guid);
        bind_resource = Some(resource.to_structure()?);
    }
    Ok(BindRequest {
        instance_id: path.instance_id,
        binding_id: path.binding_id,
        app_guid: app_guid.unwrap_or_default(),
        bind_resource,
        context: fields.structure("context")?,
        parameters: fields.structure("parameters")?,
        accepts_incomplete: call.query.accepts_incomplete()?,
        predecessor_binding_id: predecessor.unwrap_or_default(),
        requester: Some(call.requester()),
        verdict: named
            .then(|| gateway.verdict(&service_id, &plan_id))
            .transpose()?,
        service_id,
        plan_id,
    })
}
