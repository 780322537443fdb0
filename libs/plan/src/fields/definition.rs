//! What a CustomResourceDefinition says of fields, in its `openAPIV3Schema`. Such a schema is
//! structural: each place has one type, which what is beside it can only narrow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::shape::Shape;

/// The type of every object's metadata, in the table of Kubernetes' own kinds.
const OBJECT_META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Nobody's definition is nested deeper; what is below is not judged.
const DEEPEST: usize = 64;

/// What an object may hold. What every object has is added.
pub(crate) fn shape(schema: &Value) -> Shape {
    match any(schema, 0) {
        Shape::Object(fields) => Shape::Object(with_common(fields)),
        Shape::Open(fields) => Shape::Open(with_common(fields)),
        // Without any properties there is nothing to say of it.
        _ => Shape::Any,
    }
}

fn with_common(mut fields: BTreeMap<String, Shape>) -> BTreeMap<String, Shape> {
    for (name, shape) in [
        ("apiVersion", Shape::String),
        ("kind", Shape::String),
        ("metadata", Shape::Type(OBJECT_META.to_owned())),
        // What the cluster writes is not what a template says.
        ("status", Shape::Any),
    ] {
        fields.insert(name.to_owned(), shape);
    }
    fields
}

fn any(schema: &Value, depth: usize) -> Shape {
    if says(schema, "x-kubernetes-int-or-string") {
        return Shape::IntOrString;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => Shape::String,
        Some("integer") => Shape::Integer,
        Some("number") => Shape::Number,
        Some("boolean") => Shape::Boolean,
        _ if depth > DEEPEST => Shape::Any,
        Some("array") => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            Shape::List(Box::new(any(items, depth + 1)))
        }
        Some("object") => object(schema, depth + 1),
        _ => Shape::Any,
    }
}

fn object(schema: &Value, depth: usize) -> Shape {
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let fields = fields(properties, depth);
        let is_open = says(schema, "x-kubernetes-preserve-unknown-fields")
            || says(schema, "x-kubernetes-embedded-resource");
        return if is_open {
            Shape::Open(fields)
        } else {
            Shape::Object(fields)
        };
    }
    match schema.get("additionalProperties") {
        Some(values @ Value::Object(_)) => Shape::Map(Box::new(any(values, depth))),
        _ => Shape::Any,
    }
}

fn fields(properties: &Map<String, Value>, depth: usize) -> BTreeMap<String, Shape> {
    let fields = properties.iter();
    fields
        .map(|(name, schema)| (name.clone(), any(schema, depth)))
        .collect()
}

fn says(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}
