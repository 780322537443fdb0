//! GET of an instance.

use axum::{extract::State, http::StatusCode, response::Response};
use broker_proto::{json::from_struct, v1::FetchInstanceRequest};
use serde_json::{Value, json};

use crate::{
    error::{Error, Verb},
    extract::{Call, InstancePath},
    gateway::Shared,
    reply::{Object, metadata},
};

/// Shows an instance as it was last applied. The hints `service_id` and
/// `plan_id` are not needed (GI-05).
pub(crate) async fn get(
    State(gateway): State<Shared>,
    InstancePath(instance_id): InstancePath,
    call: Call,
) -> Result<Response, Error> {
    let instance = gateway
        .peers
        .fetch_instance(FetchInstanceRequest {
            instance_id,
            platform: call.platform(),
        })
        .await
        .map_err(|error| Error::call(error, Verb::Fetch, call.version))?;
    let maintenance = instance.maintenance_version;
    Ok(Object::default()
        .text("service_id", instance.service_id)
        .text("plan_id", instance.plan_id)
        .text("dashboard_url", instance.dashboard_url)
        .value(
            "parameters",
            instance.parameters.map(from_struct).map(Value::Object),
        )
        .value(
            "maintenance_info",
            (!maintenance.is_empty()).then(|| json!({ "version": maintenance })),
        )
        .value("metadata", metadata(instance.metadata, call.version))
        .reply(StatusCode::OK))
}
