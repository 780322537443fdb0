//! Secrets stay in Secrets. A file is rendered a second time with other secret values: whatever
//! then differs outside of a Secret's content would show them, by whatever way they got there.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::tree::Document;
use super::{Error, engine::Engine};
use crate::variables::{SECRET_NAMES, Variables};

/// Parts of a generated certificate that everybody may see.
const PUBLIC_PARTS: [&str; 2] = ["certificate", "ca"];

/// The same variables with other secrets: of the same length and form, so that nothing but what
/// shows them differs.
pub(crate) fn masked(variables: &Variables) -> Variables {
    let mut masked = variables.clone();
    masked.generated.values_mut().for_each(|value| match value {
        Value::Object(parts) => parts
            .iter_mut()
            .filter(|(name, _)| !PUBLIC_PARTS.contains(&name.as_str()))
            .for_each(|(_, part)| mask(part)),
        value => mask(value),
    });
    masked.secrets.values_mut().for_each(mask);
    if let Some(password) = masked
        .binding
        .as_mut()
        .and_then(|binding| binding.get_mut("password"))
    {
        mask(password);
    }
    masked
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.chars().map(other).collect(),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(map) => map.values_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Another character of the same kind, whatever its case; marks stay, since they separate.
fn other(c: char) -> char {
    let turned = |first: u8, count: u8| {
        let place = u8::try_from(c).unwrap_or(first) - first;
        char::from(first + (place + count / 2) % count)
    };
    match c {
        'a'..='z' => turned(b'a', 26),
        'A'..='Z' => turned(b'A', 26),
        '0'..='9' => turned(b'0', 10),
        '+' => '/',
        '/' => '+',
        '-' => '_',
        '_' => '-',
        c if c.is_ascii() => c,
        'é' => 'è',
        _ => 'é',
    }
}

/// The files that may use a secret: a file stands alone, so that it has to name one.
pub(crate) fn users(files: &BTreeMap<String, String>) -> Vec<String> {
    let names = |text: &String| SECRET_NAMES.iter().any(|name| text.contains(name));
    files
        .iter()
        .filter(|(_, text)| names(text))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Refuses a file of which anything but the content of Secrets differs when the secrets do.
pub(crate) fn check(
    name: &str,
    documents: &[Document],
    other: Result<Vec<Document>, Error>,
) -> Result<(), Error> {
    let fail = |line: u32, column: u32, what: String| Error {
        file: name.to_owned(),
        line,
        column,
        message: format!(
            "{what} depends on a generated value or on a Secret of the operator; these may stand \
             in data and stringData of a Secret only: write it there and refer to that Secret"
        ),
    };
    let other = other.map_err(|error| {
        let what = "whether this can be rendered".to_owned();
        fail(error.line, error.column, what)
    })?;
    for (document, other) in documents.iter().zip(&other) {
        if let Some(what) = difference(&document.value, &other.value) {
            return Err(fail(document.line, document.column, what));
        }
    }
    if documents.len() == other.len() {
        Ok(())
    } else {
        Err(fail(0, 1, "the number of objects".to_owned()))
    }
}

/// What differs of two renderings of an object, in words that hold neither.
fn difference(object: &Map<String, Value>, other: &Map<String, Value>) -> Option<String> {
    let text = |pointer: [&str; 2], object: &Map<String, Value>| {
        let value = object.get(pointer[0])?;
        let value = if pointer[1].is_empty() {
            value
        } else {
            value.get(pointer[1])?
        };
        value.as_str().map(str::to_owned)
    };
    for key in ["apiVersion", "kind"] {
        if object.get(key) != other.get(key) {
            return Some(key.to_owned());
        }
    }
    let kind = text(["kind", ""], object).unwrap_or_default();
    let name = text(["metadata", "name"], object);
    if name != text(["metadata", "name"], other) {
        return Some(format!("metadata.name of a {kind}"));
    }
    let is_secret = kind == "Secret" && text(["apiVersion", ""], object).as_deref() == Some("v1");
    let content = |key: &str| is_secret && matches!(key, "data" | "stringData");
    if object.keys().ne(other.keys()) {
        return Some(format!("a key of {kind}/{}", name.unwrap_or_default()));
    }
    let path = object
        .iter()
        .filter(|(key, _)| !content(key))
        .find_map(|(key, value)| differs(key, value, other.get(key)?))?;
    Some(format!("{path} of {kind}/{}", name.unwrap_or_default()))
}

/// The path of the first difference. Keys that differ are not named.
fn differs(path: &str, value: &Value, other: &Value) -> Option<String> {
    match (value, other) {
        (Value::Object(value), Value::Object(other)) if value.keys().eq(other.keys()) => value
            .iter()
            .zip(other.values())
            .find_map(|((key, value), other)| differs(&format!("{path}.{key}"), value, other)),
        (Value::Array(value), Value::Array(other)) if value.len() == other.len() => value
            .iter()
            .zip(other)
            .enumerate()
            .find_map(|(i, (value, other))| differs(&format!("{path}[{i}]"), value, other)),
        (value, other) => (value != other).then(|| path.to_owned()),
    }
}

/// As [`check`], with the second rendering.
pub(crate) fn check_with(
    engine: &Engine,
    name: &str,
    documents: &[Document],
    masked: &BTreeMap<String, minijinja::Value>,
) -> Result<(), Error> {
    check(
        name,
        documents,
        engine.render(name, masked, super::Detail::Safe),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_character_becomes_another_one_and_marks_stay() {
        for c in ('!'..='~').chain("éß語".chars()) {
            let same = other(c).eq_ignore_ascii_case(&c);
            assert_eq!(same, !c.is_alphanumeric() && !"+/-_".contains(c), "{c}");
        }
    }

    #[test]
    fn what_differs_is_named_without_a_value() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let base = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "1"}});
        for (pointer, value, expected) in [
            ("/data/a", json!("2"), None),
            ("/data", json!({"b": "1"}), None),
            (
                "/metadata/name",
                json!("t"),
                Some("metadata.name of a Secret"),
            ),
            (
                "/metadata",
                json!({"name": "s", "x": 1}),
                Some("metadata of Secret/s"),
            ),
            ("/kind", json!("ConfigMap"), Some("kind")),
        ] {
            let mut other = base.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            let found = difference(&object(base.clone()), &object(other));
            assert_eq!(found.as_deref(), expected, "{pointer}");
        }
        let map = |value: &str| {
            object(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": ["x", value]}}),
            )
        };
        assert_eq!(
            difference(&map("1"), &map("2")).as_deref(),
            Some("data.a[1] of ConfigMap/m")
        );
    }
}
