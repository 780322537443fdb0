//! Bundles as the catalog's messages.

use broker_proto::{
    json::{self, to_struct},
    v1,
};
use plan::{Bundle, descriptor::Requires};
use serde_json::{Map, Value, json};

/// A plan as the catalog shows it, or which part of it cannot travel.
pub(crate) fn plan(bundle: &Bundle) -> Result<v1::Plan, String> {
    let carried = |what: &str, object: Map<String, Value>| {
        to_struct(&object).map_err(|error: json::Error| format!("{what}: {error}"))
    };
    let metadata = bundle.metadata();
    Ok(v1::Plan {
        id: bundle.plan_id().to_string(),
        name: bundle.name().to_owned(),
        description: bundle.description(),
        free: bundle.is_free(),
        bindable: bundle.is_bindable(),
        binding_rotatable: bundle.is_binding_rotatable(),
        plan_updateable: Some(bundle.is_updateable()),
        maximum_polling_duration: bundle.maximum_polling_duration(),
        maintenance_version: bundle.version().to_string(),
        maintenance_description: bundle
            .descriptor()
            .version_description
            .clone()
            .unwrap_or_default(),
        metadata: if metadata.is_empty() {
            None
        } else {
            Some(carried("metadata", metadata)?)
        },
        schemas: Some(carried("schemas", schemas(bundle))?),
        bundle_digest: bundle.digest().to_string(),
        provision_async: bundle.provisions_asynchronously(),
        binding_async: bundle.binds_asynchronously(),
        not_orderable_reason: String::new(),
    })
}

/// OSB's Schemas Object.
fn schemas(bundle: &Bundle) -> Map<String, Value> {
    let schemas = bundle.schemas();
    let mut object = Map::new();
    object.insert(
        "service_instance".to_owned(),
        json!({
            "create": {"parameters": schemas.create},
            "update": {"parameters": schemas.update},
        }),
    );
    if bundle.is_bindable() {
        object.insert(
            "service_binding".to_owned(),
            json!({"create": {"parameters": schemas.bind}}),
        );
    }
    object
}

/// An offering as the catalog shows it, by the service.yaml that is in one of
/// its bundles; `any_bindable` says whether one of its plans is.
pub(crate) fn offering(
    bundle: &Bundle,
    any_bindable: bool,
    plans: Vec<v1::Plan>,
) -> Result<v1::Offering, String> {
    let offering = plan::Offering::new(bundle.provider(), bundle.service(), any_bindable);
    let client = offering.dashboard_client.as_ref().map(|client| {
        let redirect = client.redirect_uri.as_deref();
        let pairs = [
            ("id", Some(client.id.as_str())),
            ("secret", Some(&client.secret)),
        ];
        let pairs = pairs.into_iter().chain([("redirect_uri", redirect)]);
        pairs
            .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))))
            .collect::<Map<_, _>>()
    });
    let carried = |what: &str, object: Option<Map<String, Value>>| {
        let carried = object.filter(|object| !object.is_empty());
        let carried = carried.map(|object| to_struct(&object)).transpose();
        carried.map_err(|error| format!("{what}: {error}"))
    };
    Ok(v1::Offering {
        id: bundle.offering_id().to_string(),
        name: offering.name,
        description: offering.description,
        bindable: offering.bindable,
        tags: offering.tags,
        requires: offering.requires.into_iter().map(permission).collect(),
        instances_retrievable: offering.instances_retrievable,
        bindings_retrievable: offering.bindings_retrievable,
        allow_context_updates: offering.allow_context_updates,
        plan_updateable: offering.plan_updateable,
        metadata: carried("metadata", Some(offering.metadata))?,
        dashboard_client: carried("dashboard_client", client)?,
        plans,
    })
}

fn permission(requires: Requires) -> String {
    match requires {
        Requires::SyslogDrain => "syslog_drain",
        Requires::RouteForwarding => "route_forwarding",
        Requires::VolumeMount => "volume_mount",
    }
    .to_owned()
}
