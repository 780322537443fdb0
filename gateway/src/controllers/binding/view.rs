//! A binding as OSB shows it: the same on PUT and GET.

use broker_proto::{
    json::from_struct,
    v1::{Binding, Endpoint},
};
use serde_json::{Map, Value, json};

use crate::{reply::Object, version::ApiVersion};

/// Credentials; endpoints since 2.15, `expires_at` since 2.16, `renew_before`
/// since 2.17.
pub(super) fn binding(binding: Binding, version: ApiVersion) -> Object {
    let mut metadata = Map::new();
    for (key, value, since) in [
        ("expires_at", binding.expires_at, ApiVersion::V2_16),
        ("renew_before", binding.renew_before, ApiVersion::V2_17),
    ] {
        if version >= since && !value.is_empty() {
            metadata.insert(key.to_owned(), Value::String(value));
        }
    }
    let endpoints: Vec<Value> = binding.endpoints.iter().map(endpoint).collect();
    let shows_endpoints = version >= ApiVersion::V2_15 && !endpoints.is_empty();
    Object::default()
        .value(
            "credentials",
            binding.credentials.map(from_struct).map(Value::Object),
        )
        .value(
            "endpoints",
            shows_endpoints.then_some(Value::Array(endpoints)),
        )
        .value(
            "metadata",
            (!metadata.is_empty()).then_some(Value::Object(metadata)),
        )
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let mut shown = json!({ "host": endpoint.host, "ports": endpoint.ports });
    if !endpoint.protocol.is_empty() {
        shown["protocol"] = json!(endpoint.protocol);
    }
    shown
}
