//! JSON as it comes from a platform: strict about keys that repeat, which
//! parsers resolve differently, and about numbers that would change on the way.

use std::fmt;

use broker_proto::json::{self as wire, escape};
use prost_types::Struct;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Beyond this a double skips integers.
const MAX_INTEGER: f64 = 9_007_199_254_740_992.0;

/// Why a text is not the JSON object that we need.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Nothing was sent.
    #[error("it is empty")]
    Empty,
    /// The rest is missing; line and column, from 1.
    #[error("it ends too early, at line {0} column {1}")]
    Cut(usize, usize),
    /// The parser's text names the place and quotes nothing.
    #[error("{0}")]
    Syntax(serde_json::Error),
    /// Some other JSON value.
    #[error("it is not an object")]
    NotAnObject,
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        if error.is_eof() {
            Self::Cut(error.line(), error.column())
        } else {
            Self::Syntax(error)
        }
    }
}

/// Parses an object. A key that repeats, at any depth, is an error.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    if bytes.trim_ascii().is_empty() {
        return Err(Fault::Empty);
    }
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(&mut Vec::new()).deserialize(&mut parser)?;
    parser.end()?;
    match value {
        Value::Object(object) => Ok(object),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Fault::NotAnObject)
        }
    }
}

/// The message for an object that stands at the JSON pointer `at`; the error
/// names the place in the whole body.
pub(crate) fn to_struct(object: &Map<String, Value>, at: &str) -> Result<Struct, wire::Error> {
    let failed = match wire::to_struct(object) {
        Ok(message) => match unsafe_number(object.iter()) {
            None => return Ok(message),
            Some(pointer) => wire::Error::Integer { pointer },
        },
        Err(error) => error,
    };
    Err(match failed {
        wire::Error::Integer { pointer } => wire::Error::Integer {
            pointer: format!("{at}{pointer}"),
        },
        wire::Error::Depth { pointer } => wire::Error::Depth {
            pointer: format!("{at}{pointer}"),
        },
    })
}

/// The pointer of the first integral number beyond ±2^53 that the parser,
/// which knows 64 bits, has already made a double of. Nesting is bounded by
/// then.
fn unsafe_number<'a, K: fmt::Display>(
    entries: impl Iterator<Item = (K, &'a Value)>,
) -> Option<String> {
    for (key, value) in entries {
        let inner = match value {
            Value::Number(number) if is_unsafe(number) => Some(String::new()),
            Value::Array(items) => unsafe_number(items.iter().enumerate()),
            Value::Object(object) => unsafe_number(object.iter()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        if let Some(inner) = inner {
            let key = escape(&key.to_string());
            return Some(format!("/{key}{inner}"));
        }
    }
    None
}

fn is_unsafe(number: &Number) -> bool {
    number.is_f64()
        && number
            .as_f64()
            .is_some_and(|value| value.fract() == 0.0 && value.abs() > MAX_INTEGER)
}

/// Templates mark with these characters where a value goes, so that no value may hold them.
pub(super) const RESERVED: [char; 2] = ['\u{E000}', '\u{E001}'];

/// Builds a [`Value`], keeping the path for error texts.
struct Strict<'p>(&'p mut Vec<String>);

impl Strict<'_> {
    fn check<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        if text.contains(RESERVED) {
            let at = match self.pointer(None) {
                root if root.is_empty() => "it".to_owned(),
                at => at,
            };
            return Err(E::custom(format_args!(
                "{at} holds U+E000 or U+E001, characters for private use that the broker uses itself"
            )));
        }
        Ok(())
    }

    fn pointer(&self, key: Option<&str>) -> String {
        let mut pointer = String::new();
        for part in self.0.iter().map(String::as_str).chain(key) {
            pointer.push('/');
            pointer.push_str(&escape(part));
        }
        pointer
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.visit_string(value.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.check(&value)?;
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            self.0.push(values.len().to_string());
            let item = items.next_element_seed(Strict(self.0))?;
            self.0.pop();
            match item {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.check(&key)?;
            if object.contains_key(&key) {
                let pointer = self.pointer(Some(&key));
                return Err(A::Error::custom(format_args!("{pointer} is there twice")));
            }
            self.0.push(key.clone());
            let value = entries.next_value_seed(Strict(self.0))?;
            self.0.pop();
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fault(text: &str) -> String {
        parse_object(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_key_that_repeats_is_refused_with_its_place() {
        assert!(fault(r#"{"a":1,"a":1}"#).starts_with("/a is there twice"));
        assert!(fault(r#"{"a":[0,{"b/c":1,"b/c":2}]}"#).starts_with("/a/1/b~1c is there twice"));
        assert!(parse_object(br#"{"a":{"b":1},"c":{"b":1}}"#).is_ok());
    }

    #[test]
    fn a_character_that_templates_mark_with_is_refused_with_its_place() {
        for (text, place) in [
            ("{\"a\":[\"x\",\"y\u{E000}\"]}", "/a/1 holds"),
            (r#"{"a":{"b":"\ue001"}}"#, "/a/b holds"),
            ("{\"a\":{\"\u{E001}\":1}}", "/a holds"),
        ] {
            assert!(fault(text).starts_with(place), "{}", fault(text));
        }
        assert!(parse_object("{\"a\":\"\u{E002}\"}".as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", "null", "\"x\"", "true"] {
            assert_eq!(fault(text), "it is not an object");
        }
        for text in ["", "{", "{}{}", "{'a':1}", "{\"a\":1e999}", "\u{feff}{}"] {
            assert!(parse_object(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(fault(" \n"), "it is empty");
        assert_eq!(fault("{\"a\":\n"), "it ends too early, at line 2 column 0");
        let deep = format!("{}{}", "{\"a\":".repeat(5000), "1".to_owned());
        assert!(fault(&deep).contains("recursion limit"));
    }

    #[test]
    fn a_number_that_would_change_is_refused_with_its_place() {
        for text in [
            r#"{"a":[{"b~":123456789012345678901}]}"#,
            r#"{"a":[{"b~":9007199254740993}]}"#,
            r#"{"a":[{"b~":-1e300}]}"#,
        ] {
            let object = parse_object(text.as_bytes()).unwrap();
            let error = to_struct(&object, "/parameters").unwrap_err().to_string();
            assert!(error.contains("/parameters/a/0/b~0 "), "{error}");
        }
        let object = parse_object(br#"{"a":1.5,"b":9007199254740992,"c":1e3}"#).unwrap();
        assert!(to_struct(&object, "").is_ok());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(".*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_has_no_repeated_keys_parses_as_serde_json_parses_it(value in any_json()) {
            let text = json!({ "v": value }).to_string();
            let ours = parse_object(text.as_bytes()).unwrap();
            prop_assert_eq!(Value::Object(ours), serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
