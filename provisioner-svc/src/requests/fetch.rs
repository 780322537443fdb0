//! OSB fetch, and what the binder must know of an instance.

use broker_proto::{
    json,
    v1::{FetchInstanceRequest, FetchInstanceResponse, Instance, InstancePhase},
};
use cluster::names;
use serde_json::{Map, Value};

use super::shown;
use crate::{
    context::Context,
    decide,
    error::Error,
    revision::Revision,
    state::{Applied, Phase, Record},
    work::generated_secret,
};

/// The instance as last applied.
pub(crate) async fn fetch(
    context: &Context,
    request: &FetchInstanceRequest,
) -> Result<FetchInstanceResponse, Error> {
    let name = names::instance_record(&request.instance_id);
    let record = context.current(&name).await?;
    let record = record.filter(|record| record.is_of(&request.platform));
    let record = decide::fetch(record.as_ref())?;
    let Some(applied) = &record.state.applied else {
        return Err(decide::absent().into());
    };
    let revision: Revision = context.revisions.recall(&applied.revision).await?;
    let shown = shown::applied(context, record).await?;
    Ok(FetchInstanceResponse {
        service_id: record.resource.spec.service_id.clone(),
        plan_id: applied.plan_id.clone(),
        dashboard_url: shown.dashboard_url,
        parameters: Some(json::to_struct(&revision.parameters.sent)?),
        maintenance_version: maintenance_version(context, applied).await?,
        metadata: shown.metadata,
    })
}

/// A record of before plans without a version had one says none: then it is that of what was applied.
async fn maintenance_version(context: &Context, applied: &Applied) -> Result<String, Error> {
    if !applied.maintenance_version.is_empty() {
        return Ok(applied.maintenance_version.clone());
    }
    let loaded = context.catalog.bundle(&applied.bundle).await?;
    Ok(loaded.bundle().version().to_string())
}

/// An instance in whatever phase: a tombstone is the proof that it ended,
/// which an absent record is not.
pub(crate) async fn describe(context: &Context, instance_id: &str) -> Result<Instance, Error> {
    let record = context
        .current(&names::instance_record(instance_id))
        .await?;
    match record {
        Some(record) => message(context, &record).await,
        None => Err(decide::absent().into()),
    }
}

/// The message for a record.
pub(super) async fn message(context: &Context, record: &Record) -> Result<Instance, Error> {
    let spec = &record.resource.spec;
    let mut instance = Instance {
        instance_id: spec.instance_id.clone(),
        incarnation: spec.incarnation.clone(),
        phase: phase(record.phase()).into(),
        service_id: spec.service_id.clone(),
        plan_id: spec.plan_id.clone(),
        namespace: spec.namespace.clone(),
        generated_secret: generated_secret(&spec.incarnation),
        organization_guid: spec.organization_guid.clone(),
        space_guid: spec.space_guid.clone(),
        platform: spec.platform.clone(),
        name: names::object(record.instance()),
        ..Instance::default()
    };
    if let Some(applied) = record
        .state
        .applied
        .as_ref()
        .filter(|_| !record.is_tombstone())
    {
        let revision: Revision = context.revisions.recall(&applied.revision).await?;
        instance.plan_id.clone_from(&applied.plan_id);
        instance.bundle_digest.clone_from(&applied.bundle);
        instance.outputs = Some(json::to_struct(&applied.outputs)?);
        instance.parameters = Some(json::to_struct(&revision.parameters.effective)?);
        instance.context = Some(json::to_struct(&revision.context)?);
        instance.broker = Some(json::to_struct(&as_object(&revision.broker))?);
    }
    Ok(instance)
}

fn as_object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The phase on the wire.
pub(super) fn phase(phase: Phase) -> InstancePhase {
    match phase {
        Phase::Provisioning => InstancePhase::Provisioning,
        Phase::Ready => InstancePhase::Ready,
        Phase::ProvisionFailed => InstancePhase::ProvisionFailed,
        Phase::Updating => InstancePhase::Updating,
        Phase::UpdateFailed => InstancePhase::UpdateFailed,
        Phase::Deprovisioning => InstancePhase::Deprovisioning,
        Phase::DeprovisionFailed => InstancePhase::DeprovisionFailed,
        Phase::Deleted => InstancePhase::Deleted,
        // Its bindings stay as they are, until there is a record again.
        Phase::Orphaning => InstancePhase::Unspecified,
    }
}
