//! The parameters that a user may send, as written: three JSON Schemas, which may inherit from one
//! another.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The parameters of a plan. What is left out takes none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// For a new instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<ParameterSchema>,
    /// For an update: a JSON Merge Patch on what was sent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<ParameterSchema>,
    /// For a binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<ParameterSchema>,
}

/// A JSON Schema (draft-04) of an object, closed unless it says `additionalProperties`. A
/// property may say `x-immutable: true`: an update cannot change it. One with an enum may say
/// `x-ordered: true`: an update may move it to the enum's next value, neither back nor over one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ParameterSchema {
    /// Takes another operation's schema as its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<Inherit>,
    /// The schema's own keys: `properties`, `required`, …
    #[serde(flatten)]
    pub schema: Map<String, Value>,
}

/// The operation whose schema is inherited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Inherit {
    /// That of a new instance.
    Create,
    /// That of an update.
    Update,
}

/// For editors: the keywords that [`crate::schema::keywords`] knows, at each depth.
#[cfg(test)]
mod editors {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde_json::{Map, Value, json};

    use super::{Inherit, ParameterSchema};
    use crate::schema::keywords::{KEYWORDS, TYPES};

    /// One parameter, or what it is made of.
    struct Property;

    impl JsonSchema for ParameterSchema {
        fn schema_name() -> Cow<'static, str> {
            "ParameterSchema".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let mut keys = keywords(generator);
            let inherit = generator.subschema_for::<Inherit>();
            keys.insert("inherit".to_owned(), inherit.to_value());
            json_schema!({
                "type": "object",
                "description": "A JSON Schema (draft-04) of an object, closed unless it says \
                                additionalProperties. `inherit` takes another operation's as its base.",
                "properties": keys,
                "patternProperties": {"^x-": {}},
                "additionalProperties": false,
            })
        }
    }

    impl JsonSchema for Property {
        fn schema_name() -> Cow<'static, str> {
            "ParameterProperty".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": "object",
                "description": "A JSON Schema (draft-04). `x-immutable: true`: an update cannot change \
                                it. `x-ordered: true`, with an enum: an update moves to the next value.",
                "properties": keywords(generator),
                "patternProperties": {"^x-": {}},
                "additionalProperties": false,
            })
        }
    }

    fn keywords(generator: &mut SchemaGenerator) -> Map<String, Value> {
        let one = generator.subschema_for::<Property>().to_value();
        let each =
            json!({"type": "object", "additionalProperties": {"anyOf": [one, {"type": "null"}]}});
        let many = json!({"type": "array", "items": one, "minItems": 1});
        let texts = json!({"type": "array", "items": {"type": "string"}});
        let kinds = json!({"enum": TYPES});
        let value = |keyword: &str| match keyword {
            "properties" | "patternProperties" | "definitions" => each.clone(),
            "allOf" | "anyOf" | "oneOf" => many.clone(),
            "not" => one.clone(),
            "items" => json!({"anyOf": [one, many]}),
            "additionalProperties" | "additionalItems" => {
                json!({"anyOf": [{"type": "boolean"}, one]})
            }
            "required" => texts.clone(),
            "enum" | "examples" => json!({"type": "array", "minItems": 1}),
            "type" => json!({"anyOf": [kinds, {"type": "array", "items": kinds, "minItems": 1}]}),
            "pattern" | "title" | "description" | "format" | "$ref" | "$schema" | "id" => {
                json!({"type": "string"})
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" => json!({"type": "integer", "minimum": 0}),
            "minimum" | "maximum" | "multipleOf" => json!({"type": "number"}),
            "exclusiveMinimum" | "exclusiveMaximum" | "uniqueItems" | "readOnly"
            | "x-immutable" | "x-ordered" => json!({"type": "boolean"}),
            "dependencies" => json!({"type": "object"}),
            _ => json!({}),
        };
        let keys = KEYWORDS.iter();
        keys.map(|key| ((*key).to_owned(), value(key))).collect()
    }
}
