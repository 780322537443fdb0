//! From `parameters` to three draft-04 schemas: closed by default, inheritance resolved.

use serde_json::{Map, Value, json};

use super::Schemas;
use crate::descriptor::{Inherit, ParameterSchema, Parameters};

const DIALECT: &str = "http://json-schema.org/draft-04/schema#";

/// Builds the schemas. The error names the operation and what is wrong with it.
pub(crate) fn build(parameters: &Parameters) -> Result<Schemas, String> {
    let create = match &parameters.create {
        None => Map::new(),
        Some(own) => match own.inherit {
            None => own.schema.clone(),
            Some(_) => return Err("parameters.create cannot inherit".to_owned()),
        },
    };
    let update = match &parameters.update {
        None => Map::new(),
        Some(own) => match own.inherit {
            Some(Inherit::Update) => {
                return Err("parameters.update cannot inherit from itself".to_owned());
            }
            Some(Inherit::Create) => inherit(&create, own),
            None => own.schema.clone(),
        },
    };
    let bind = match &parameters.bind {
        None => Map::new(),
        Some(own) => match own.inherit {
            Some(Inherit::Create) => inherit(&create, own),
            Some(Inherit::Update) => inherit(&update, own),
            None => own.schema.clone(),
        },
    };
    Ok(Schemas {
        create: finish(create),
        update: finish(partial(update)),
        bind: finish(bind),
    })
}

/// The inherited schema with the own keys laid over it; properties merge by name.
fn inherit(base: &Map<String, Value>, own: &ParameterSchema) -> Map<String, Value> {
    let mut merged = base.clone();
    for (key, value) in &own.schema {
        match (merged.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) if key == "properties" => {
                for (name, property) in new {
                    if property.is_null() {
                        old.remove(name);
                    } else {
                        old.insert(name.clone(), property.clone());
                    }
                }
            }
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}

/// An update is a patch: nothing is required and nothing has a default, at any depth.
fn partial(mut schema: Map<String, Value>) -> Map<String, Value> {
    schema.remove("required");
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Object(property) = property {
                property.remove("default");
                *property = partial(std::mem::take(property));
            }
        }
    }
    schema
}

fn finish(mut schema: Map<String, Value>) -> Value {
    close(&mut schema);
    schema.insert("$schema".to_owned(), json!(DIALECT));
    schema.insert("type".to_owned(), json!("object"));
    schema.entry("properties").or_insert_with(|| json!({}));
    schema.entry("additionalProperties").or_insert(json!(false));
    Value::Object(schema)
}

/// Objects with properties are closed at every depth, unless they say otherwise.
fn close(schema: &mut Map<String, Value>) {
    if schema.contains_key("properties") {
        schema.entry("additionalProperties").or_insert(json!(false));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for property in properties.values_mut() {
            if let Value::Object(property) = property {
                close(property);
            }
        }
    }
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        close(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(value: Value) -> Parameters {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn schemas_are_closed_and_an_update_requires_nothing() {
        let schemas = build(&parameters(json!({
            "create": {
                "required": ["a"],
                "properties": {
                    "a": {"type": "string"},
                    "o": {"required": ["x"], "properties": {"x": {"default": 1}}},
                },
            },
            "update": {"inherit": "create", "properties": {"b": {"type": "number"}}},
        })))
        .unwrap();
        assert_eq!(schemas.create["additionalProperties"], json!(false));
        assert_eq!(
            schemas.create["properties"]["o"]["additionalProperties"],
            json!(false)
        );
        assert_eq!(schemas.create["$schema"], json!(DIALECT));
        assert_eq!(schemas.update.get("required"), None);
        assert_eq!(
            schemas.update["properties"]["o"]["properties"]["x"],
            json!({})
        );
        assert_eq!(schemas.update["properties"]["b"], json!({"type": "number"}));
        assert_eq!(schemas.bind["properties"], json!({}));
    }

    #[test]
    fn create_cannot_inherit() {
        assert!(build(&parameters(json!({"create": {"inherit": "update"}}))).is_err());
    }
}
