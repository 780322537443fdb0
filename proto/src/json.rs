//! JSON objects on the wire: `google.protobuf.Struct`, so that a person can
//! type them into grpcurl.
//!
//! A Struct knows only doubles. Integral values within ±2^53 come back as
//! integers; other integers, and nesting beyond [`MAX_DEPTH`], are refused
//! with a JSON pointer rather than sent on changed.

use std::fmt::Write as _;

use prost_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Number, Value};

/// How deep objects and lists may nest, the outermost object counted.
pub const MAX_DEPTH: usize = 16;

const MAX_INTEGER: u64 = 1 << 53;

/// Why a JSON object cannot travel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An integer that a double cannot hold exactly.
    #[error("the integer at {pointer} is beyond ±2^53; send it as a string")]
    Integer {
        /// JSON pointer (RFC 6901).
        pointer: String,
    },
    /// Nested too deeply.
    #[error("the value at {pointer} nests deeper than {MAX_DEPTH} levels")]
    Depth {
        /// JSON pointer (RFC 6901).
        pointer: String,
    },
}

/// The message for a JSON object.
pub fn to_struct(object: &Map<String, Value>) -> Result<Struct, Error> {
    encode_object(object, &mut Vec::new())
}

/// The JSON object of a message; integral numbers are integers again.
pub fn from_struct(message: Struct) -> Map<String, Value> {
    message
        .fields
        .into_iter()
        .map(|(key, value)| (key, decode(value)))
        .collect()
}

fn encode_object(object: &Map<String, Value>, path: &mut Vec<String>) -> Result<Struct, Error> {
    let mut fields = std::collections::BTreeMap::new();
    for (key, value) in object {
        path.push(key.clone());
        fields.insert(key.clone(), encode(value, path)?);
        path.pop();
    }
    Ok(Struct { fields })
}

fn encode(value: &Value, path: &mut Vec<String>) -> Result<Wire, Error> {
    if path.len() >= MAX_DEPTH && (value.is_object() || value.is_array()) {
        return Err(Error::Depth {
            pointer: pointer(path),
        });
    }
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(encode_number(number, path)?),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            let mut values = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                values.push(encode(item, path)?);
                path.pop();
            }
            Kind::ListValue(ListValue { values })
        }
        Value::Object(object) => Kind::StructValue(encode_object(object, path)?),
    };
    Ok(Wire { kind: Some(kind) })
}

fn encode_number(number: &Number, path: &[String]) -> Result<f64, Error> {
    let exact = match (number.as_u64(), number.as_i64()) {
        (Some(positive), _) => positive <= MAX_INTEGER,
        (None, Some(negative)) => negative.unsigned_abs() <= MAX_INTEGER,
        (None, None) => true,
    };
    number
        .as_f64()
        .filter(|_| exact)
        .ok_or_else(|| Error::Integer {
            pointer: pointer(path),
        })
}

fn decode(value: Wire) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(flag),
        Some(Kind::NumberValue(number)) => decode_number(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(decode).collect(),
        Some(Kind::StructValue(object)) => Value::Object(from_struct(object)),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "guarded: integral and within ±2^53, where the cast is exact"
)]
fn decode_number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= MAX_INTEGER as f64 {
        Value::from(number as i64)
    } else {
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }
}

/// A part of a JSON pointer (RFC 6901).
pub fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

fn pointer(path: &[String]) -> String {
    path.iter().fold(String::new(), |mut text, part| {
        let part = escape(part);
        // Writing to a String cannot fail.
        let _ = write!(text, "/{part}");
        text
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("not an object: {other}"),
        }
    }

    #[test]
    fn objects_come_back_as_they_were_sent() {
        let sent = object(json!({
            "int": 3, "negative": -7, "max": 9_007_199_254_740_992_u64, "float": 1.5,
            "null": null, "list": [1, "a", {"b": true}], "empty": {}
        }));
        assert_eq!(from_struct(to_struct(&sent).unwrap()), sent);
    }

    #[test]
    fn an_integral_float_comes_back_as_an_integer() {
        let back = from_struct(to_struct(&object(json!({"a": 2.0}))).unwrap());
        assert_eq!(back["a"], json!(2));
    }

    #[test]
    fn integers_that_a_double_would_change_are_refused_with_their_place() {
        let error = to_struct(&object(json!({"a/b": [0, 9_007_199_254_740_993_u64]}))).unwrap_err();
        assert_eq!(
            error,
            Error::Integer {
                pointer: "/a~1b/1".into()
            }
        );
        assert!(to_struct(&object(json!({"a": i64::MIN}))).is_err());
    }

    #[test]
    fn nesting_is_bounded() {
        let nest = |depth: usize| (1..depth).fold(json!({}), |inner, _| json!({ "a": inner }));
        assert!(to_struct(&object(nest(MAX_DEPTH))).is_ok());
        assert!(matches!(
            to_struct(&object(nest(MAX_DEPTH + 1))),
            Err(Error::Depth { .. })
        ));
    }
}
