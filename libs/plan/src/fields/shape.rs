//! What may stand in a field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A type, as far as lint needs it. In JSON: a word for a simple one, `#name` for one of the table,
/// `[T]` for a list, `{"*": T}` for a map, and fields by name, with `...` where there may be others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Shape {
    /// Not judged.
    Any,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A whole number, or text: a port.
    IntOrString,
    /// A number, or text: an amount of memory.
    Quantity,
    /// Of one type each.
    List(Box<Shape>),
    /// Keys of any name with values of one type.
    Map(Box<Shape>),
    /// Known fields.
    Object(BTreeMap<String, Shape>),
    /// Known fields, and any others.
    Open(BTreeMap<String, Shape>),
    /// One of the table.
    Type(String),
}

/// The key that stands for all others.
const OTHERS: &str = "...";

const WORDS: [(&str, Shape); 7] = [
    ("any", Shape::Any),
    ("string", Shape::String),
    ("integer", Shape::Integer),
    ("number", Shape::Number),
    ("boolean", Shape::Boolean),
    ("integer or string", Shape::IntOrString),
    ("quantity", Shape::Quantity),
];

impl Shape {
    /// Of a schema of OpenAPI 3, as Kubernetes writes them; the types that it refers to are added to
    /// `wanted`.
    pub(super) fn of_openapi(schema: &Value, wanted: &mut Vec<String>) -> Self {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        // With a default a reference stands in a list of one.
        let reference = schema.pointer("/allOf/0/$ref").and_then(Value::as_str);
        if let Some(reference) = text("$ref").or(reference) {
            let name = reference.rsplit('/').next().unwrap_or(reference);
            wanted.push(name.to_owned());
            return Self::Type(short(name));
        }
        if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
            let has = |kind: &str| choices.iter().any(|choice| choice["type"] == kind);
            return match (has("string"), has("integer"), has("number")) {
                (true, true, false) => Self::IntOrString,
                (true, false, true) => Self::Quantity,
                _ => Self::Any,
            };
        }
        match text("type") {
            Some("string") => Self::String,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            Some("array") => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                Self::List(Box::new(Self::of_openapi(items, wanted)))
            }
            Some("object") => Self::object(schema, wanted),
            _ => Self::Any,
        }
    }

    fn object(schema: &Value, wanted: &mut Vec<String>) -> Self {
        if let Some(Value::Object(fields)) = schema.get("properties") {
            let fields = fields.iter().map(|(name, field)| {
                // What the cluster writes is not what a template says.
                let shape = match name.as_str() {
                    "status" => Self::Any,
                    _ => Self::of_openapi(field, wanted),
                };
                (name.clone(), shape)
            });
            return Self::Object(fields.collect());
        }
        match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => {
                Self::Map(Box::new(Self::of_openapi(values, wanted)))
            }
            _ => Self::Any,
        }
    }

    /// Whether a simple value is of this type.
    pub(super) fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Any | Self::Type(_) => true,
            Self::String => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::IntOrString => value.is_i64() || value.is_u64() || value.is_string(),
            Self::Quantity => value.is_number() || value.is_string(),
            Self::List(_) | Self::Map(_) | Self::Object(_) | Self::Open(_) => false,
        }
    }

    /// In a sentence: "must be …".
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Any | Self::Type(_) => "anything",
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::IntOrString => "an integer or a string",
            Self::Quantity => "a quantity such as 500m or 2Gi",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Object(_) | Self::Open(_) => "a mapping",
        }
    }
}

/// The name of a type without what all have in common.
pub(super) fn short(name: &str) -> String {
    let name = name.strip_prefix("io.k8s.").unwrap_or(name);
    name.strip_prefix("api.").unwrap_or(name).to_owned()
}

impl From<Shape> for Value {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::List(of) => json!([Self::from(*of)]),
            Shape::Map(of) => json!({"*": Self::from(*of)}),
            Shape::Object(fields) => by_name(fields).into(),
            Shape::Open(fields) => {
                let mut fields = by_name(fields);
                fields.insert(OTHERS.to_owned(), Self::from(Shape::Any));
                fields.into()
            }
            Shape::Type(name) => format!("#{name}").into(),
            simple => {
                let word = WORDS.iter().find(|(_, shape)| *shape == simple);
                word.map_or("any", |(word, _)| word).into()
            }
        }
    }
}

fn by_name(fields: BTreeMap<String, Shape>) -> Map<String, Value> {
    let fields = fields.into_iter();
    fields
        .map(|(name, shape)| (name, Value::from(shape)))
        .collect()
}

impl TryFrom<Value> for Shape {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => {
                if let Some(name) = text.strip_prefix('#') {
                    return Ok(Self::Type(name.to_owned()));
                }
                let known = WORDS.into_iter().find(|(word, _)| *word == text);
                let known = known.map(|(_, shape)| shape);
                known.ok_or_else(|| format!("no type is called {text:?}"))
            }
            Value::Array(mut items) if items.len() == 1 => {
                Ok(Self::List(Box::new(items.remove(0).try_into()?)))
            }
            Value::Object(mut fields) => {
                if let (1, Some(of)) = (fields.len(), fields.remove("*")) {
                    return Ok(Self::Map(Box::new(of.try_into()?)));
                }
                let is_open = fields.remove(OTHERS).is_some();
                let fields = fields.into_iter();
                let fields = fields.map(|(name, shape)| Ok((name, shape.try_into()?)));
                let fields = fields.collect::<Result<_, String>>()?;
                Ok(if is_open {
                    Self::Open(fields)
                } else {
                    Self::Object(fields)
                })
            }
            other => Err(format!("{other} is no type")),
        }
    }
}
