//! Parameters to try a plan with: small, legal, and together touching each choice that a schema
//! offers.

use serde_json::{Map, Value, json};

/// At most this many tries for one plan.
const MAX_SAMPLES: usize = 64;

/// Parameter sets to render with, defaults applied: the smallest one, one with every optional
/// property, and for each enum or boolean one per choice.
pub(crate) fn samples(schema: &Value) -> Vec<Map<String, Value>> {
    let least = object(schema, false);
    let mut all = vec![least.clone(), object(schema, true)];
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        for choice in choices(property) {
            all.push(
                least
                    .clone()
                    .into_iter()
                    .chain([(name.clone(), choice)])
                    .collect(),
            );
        }
    }
    let mut distinct: Vec<Map<String, Value>> = Vec::new();
    for sample in all {
        if !distinct.contains(&sample) {
            distinct.push(sample);
        }
    }
    distinct.truncate(MAX_SAMPLES);
    distinct
}

fn choices(property: &Value) -> Vec<Value> {
    if let Some(options) = property.get("enum").and_then(Value::as_array) {
        return options.clone();
    }
    match property.get("type").and_then(Value::as_str) {
        Some("boolean") => vec![json!(false), json!(true)],
        _ => Vec::new(),
    }
}

fn object(schema: &Value, every: bool) -> Map<String, Value> {
    let required: Vec<_> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .filter(|(name, property)| {
            every || required.contains(&name.as_str()) || property.get("default").is_some()
        })
        .map(|(name, property)| (name.clone(), value(property, every)))
        .collect()
}

/// A legal value, as far as a schema can be guessed at.
fn value(schema: &Value, every: bool) -> Value {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    if let Some(first) = schema.get("enum").and_then(|e| e.get(0)) {
        return first.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(key).and_then(|branches| branches.get(0)) {
            return value(first, every);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None if schema.get("properties").is_some() => Some("object"),
        None => None,
    };
    match kind {
        Some("integer" | "number") => {
            let least = schema.get("minimum").or_else(|| schema.get("maximum"));
            least.cloned().unwrap_or_else(|| json!(1))
        }
        Some("boolean") => json!(false),
        Some("null") => Value::Null,
        Some("object") => Value::Object(object(schema, every)),
        Some("array") => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let count = if every { least.max(1) } else { least }.min(8);
            let item = schema
                .get("items")
                .map_or(Value::Null, |items| value(items, every));
            Value::Array(vec![item; usize::try_from(count).unwrap_or(0)])
        }
        _ => json!(text(schema)),
    }
}

/// A text of legal length that looks like a name, a size or an address, whichever fits a pattern.
fn text(schema: &Value) -> String {
    let length = |key| {
        schema
            .get(key)
            .and_then(Value::as_u64)
            .unwrap_or(0)
            .min(256)
    };
    let least = usize::try_from(length("minLength")).unwrap_or(0);
    let fits = |candidate: &str| candidate.len() >= least && super::check_text(schema, candidate);
    let usual = [
        "sample",
        "samplesample",
        "s",
        "a1",
        "1",
        "10",
        "1Gi",
        "10Gi",
        "1.0",
        "1.0.0",
        "10.0.0.0/8",
        "10.0.0.1",
        "a.example.com",
        "https://example.com",
        "sample@example.com",
        "true",
        "S",
        "SAMPLE",
        "500m",
    ];
    match usual.iter().find(|c| fits(c)) {
        Some(text) => (*text).to_owned(),
        None => "s".repeat(least.max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_is_tried_once() {
        let schema = json!({
            "required": ["size", "name"],
            "properties": {
                "version": {"enum": ["7.0", "8.0"], "default": "8.0"},
                "size": {"type": "string", "pattern": "^[0-9]+Gi$"},
                "name": {"type": "string", "minLength": 8},
                "backup": {"type": "boolean"},
            },
        });
        let samples = samples(&schema);
        assert_eq!(
            samples[0],
            json!({"version": "8.0", "size": "1Gi", "name": "samplesample"})
                .as_object()
                .unwrap()
                .clone()
        );
        assert!(samples.iter().any(|s| s["version"] == "7.0"));
        assert!(
            samples
                .iter()
                .any(|s| s.get("backup") == Some(&json!(true)))
        );
        for sample in &samples {
            assert_eq!(super::super::validate(&schema, sample), []);
        }
    }
}
