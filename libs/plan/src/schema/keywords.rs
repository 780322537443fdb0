//! What a schema says that means nothing: a keyword that is misspelt limits nothing, and nobody sees it.

use serde_json::{Map, Value};

use crate::descriptor::ParameterSchema;
use crate::node::{nearest, unknown};

/// Keywords of draft-04, and our own.
pub(crate) const KEYWORDS: [&str; 39] = [
    "$ref",
    "$schema",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "definitions",
    "dependencies",
    "description",
    "enum",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "id",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "properties",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "x-immutable",
    "x-ordered",
];
/// Keywords of later drafts, which platforms do not read, and what draft-04 has instead.
const LATER: [(&str, &str); 9] = [
    ("const", "write enum with a single value"),
    ("if", "write anyOf"),
    ("then", "write anyOf"),
    ("else", "write anyOf"),
    ("contains", "there is nothing like it"),
    ("propertyNames", "write patternProperties"),
    ("dependentRequired", "write dependencies"),
    ("dependentSchemas", "write dependencies"),
    ("$defs", "write definitions"),
];
/// Our own, which begin with `x-`.
const OURS: [&str; 2] = ["immutable", "ordered"];
pub(crate) const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// A fault, and the keys that lead to it.
pub(crate) type Found = (Vec<String>, String);

/// Checks the schema of an operation. One that inherits knows the properties of another one, too.
pub(crate) fn check(own: &ParameterSchema) -> Vec<Found> {
    let mut found = Vec::new();
    map(&own.schema, &mut Vec::new(), &mut found);
    let is_whole = own.inherit.is_none() && !own.schema.contains_key("additionalProperties");
    if is_whole && !own.schema.contains_key("properties") {
        let names = own.schema.get("required").and_then(Value::as_array);
        let first = names
            .and_then(|names| names.first())
            .and_then(Value::as_str);
        found.extend(first.map(|name| {
            let message = format!("required: there is no property {name:?}");
            (vec!["required".to_owned()], message)
        }));
    }
    if own.inherit.is_some() {
        found.retain(|(path, _)| path.as_slice() != ["required"]);
    }
    found
}

fn map(schema: &Map<String, Value>, path: &mut Vec<String>, found: &mut Vec<Found>) {
    for (key, value) in schema {
        path.push(key.clone());
        if let Some(message) = keyword(key, value, schema) {
            found.push((path.clone(), message));
        }
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "definitions", Value::Object(each)) => {
                for (name, property) in each {
                    path.push(name.clone());
                    match property {
                        Value::Object(property) => map(property, path, found),
                        // A null takes an inherited property away.
                        Value::Null => {}
                        _ => found.push((path.clone(), format!("{name:?} must be a JSON Schema"))),
                    }
                    path.pop();
                }
            }
            ("items" | "additionalProperties" | "additionalItems" | "not", Value::Object(one)) => {
                map(one, path, found);
            }
            ("allOf" | "anyOf" | "oneOf" | "items", Value::Array(branches)) => {
                for (i, branch) in branches.iter().enumerate() {
                    if let Value::Object(branch) = branch {
                        path.push(i.to_string());
                        map(branch, path, found);
                        path.pop();
                    }
                }
            }
            _ => {}
        }
        path.pop();
    }
}

fn keyword(key: &str, value: &Value, schema: &Map<String, Value>) -> Option<String> {
    if !KEYWORDS.contains(&key) {
        return unknown_keyword(key, value);
    }
    match (key, value) {
        ("type", Value::String(name)) => wrong_type(name),
        ("type", Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find_map(wrong_type)
        }
        ("pattern", Value::String(pattern)) => pattern_fault(pattern),
        ("required", Value::Array(names)) => {
            let properties = schema.get("properties").and_then(Value::as_object)?;
            let missing = names
                .iter()
                .filter_map(Value::as_str)
                .find(|name| !properties.contains_key(*name))?;
            let known: Vec<_> = properties.keys().map(String::as_str).collect();
            Some(format!(
                "required: {}",
                unknown("property", missing, &known)
            ))
        }
        ("x-immutable" | "x-ordered", value) if !value.is_boolean() => {
            Some(format!("{key} is true or false"))
        }
        _ => None,
    }
}

fn unknown_keyword(key: &str, value: &Value) -> Option<String> {
    if let Some((_, advice)) = LATER.iter().find(|(word, _)| *word == key) {
        let of = "the catalog's schemas are JSON Schema draft-04";
        return Some(format!("unknown keyword {key:?}: {of}; {advice}"));
    }
    let near = if let Some(rest) = key.strip_prefix("x-") {
        nearest(rest, OURS).map(|near| format!("x-{near}"))
    } else {
        let theirs = KEYWORDS.into_iter().filter(|word| !word.starts_with("x-"));
        nearest(key, theirs).map(str::to_owned)
    };
    match near {
        Some(near) => Some(format!("unknown keyword {key:?}, did you mean {near:?}?")),
        // What other tools keep in schemas.
        None if key.starts_with("x-") => None,
        None if value.is_object() => Some(format!(
            "unknown keyword {key:?}: if it is a parameter, it belongs below properties"
        )),
        None => Some(format!("unknown keyword {key:?}")),
    }
}

fn wrong_type(name: &str) -> Option<String> {
    (!TYPES.contains(&name)).then(|| unknown("type", name, &TYPES))
}

fn pattern_fault(pattern: &str) -> Option<String> {
    let schema = serde_json::json!({"pattern": pattern});
    let is_valid = jsonschema::draft4::new(&schema).is_ok();
    (!is_valid).then(|| format!("{pattern:?} is not a valid regular expression"))
}
