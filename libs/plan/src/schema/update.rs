//! What parameters come to: defaults at create, merge patches at update, and what an update may
//! not change: immutable properties, and ordered ones other than to their next value.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::validate::escape;
use super::{Schemas, Violation, validate};

/// What an operation aims at: recorded with the revision, the base of the next update.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// What the user said, merged over all updates.
    pub sent: Map<String, Value>,
    /// The same with defaults; templates see this.
    pub effective: Map<String, Value>,
}

/// Shows names only: parameters may be secret.
impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved")
            .field("sent", &self.sent.keys().collect::<Vec<_>>())
            .field("effective", &self.effective.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// The parameters of a new instance or binding: judged, then completed with the defaults.
pub(crate) fn create(
    schema: &Value,
    sent: &Map<String, Value>,
) -> Result<Resolved, Vec<Violation>> {
    let violations = validate(schema, sent);
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut effective = sent.clone();
    fill(schema, &mut effective, None, None);
    Ok(Resolved {
        sent: sent.clone(),
        effective,
    })
}

/// The parameters after an update. `schemas` are those of the bundle that the instance will have;
/// a default that was resolved earlier stays, only properties that are new take theirs.
pub(crate) fn update(
    schemas: &Schemas,
    before: &Resolved,
    patch: &Map<String, Value>,
) -> Result<Resolved, Vec<Violation>> {
    let violations = validate(&schemas.update, &without_nulls(patch));
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut sent = Value::Object(before.sent.clone());
    merge_patch(&mut sent, &Value::Object(patch.clone()));
    let Value::Object(mut sent) = sent else {
        return Ok(before.clone());
    };
    // A plan change may leave behind what the new plan does not know; what this patch brings was
    // judged above.
    forget_unknown(&schemas.create, &schemas.update, &mut sent);
    let mut effective = sent.clone();
    fill(
        &schemas.create,
        &mut effective,
        Some(&before.effective),
        Some(patch),
    );
    let mut violations = validate(&merged_schema(schemas), &effective);
    for schema in [&schemas.create, &schemas.update] {
        changes(schema, &before.effective, &effective, "", &mut violations);
    }
    violations.dedup();
    if violations.is_empty() {
        Ok(Resolved { sent, effective })
    } else {
        Err(violations)
    }
}

/// RFC 7386.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Completes an object: what was resolved earlier for a property that the user does not set
/// stays, otherwise the schema's default is taken. A null in the patch asks for today's default.
fn fill(
    schema: &Value,
    target: &mut Map<String, Value>,
    before: Option<&Map<String, Value>>,
    patch: Option<&Map<String, Value>>,
) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        let reset = patch.and_then(|p| p.get(name)).is_some_and(Value::is_null);
        let earlier = before.and_then(|b| b.get(name)).filter(|_| !reset);
        match target.get_mut(name) {
            Some(Value::Object(inner)) => fill(
                property,
                inner,
                earlier.and_then(Value::as_object),
                patch.and_then(|p| p.get(name)).and_then(Value::as_object),
            ),
            Some(_) => {}
            None => {
                if let Some(default) = property.get("default") {
                    let mut value = earlier.unwrap_or(default).clone();
                    if let Value::Object(inner) = &mut value {
                        fill(property, inner, None, None);
                    }
                    target.insert(name.clone(), value);
                }
            }
        }
    }
}

/// Drops top-level properties that neither schema knows, if both are closed.
fn forget_unknown(create: &Value, update: &Value, sent: &mut Map<String, Value>) {
    let closed = |schema: &Value| schema.get("additionalProperties") == Some(&Value::Bool(false));
    let knows = |schema: &Value, name: &str| {
        !closed(schema)
            || schema
                .pointer("/properties")
                .is_some_and(|p| p.get(name).is_some())
    };
    sent.retain(|name, _| knows(create, name) || knows(update, name));
}

/// The rules for the outcome of an update: those for a new instance, and the properties that only
/// an update may set.
fn merged_schema(schemas: &Schemas) -> Value {
    let mut merged = schemas.create.clone();
    let own = schemas.update.get("properties").and_then(Value::as_object);
    if let (Some(own), Some(Value::Object(properties))) = (own, merged.get_mut("properties")) {
        for (name, property) in own {
            properties
                .entry(name.clone())
                .or_insert_with(|| property.clone());
        }
    }
    if schemas.update.get("additionalProperties") != Some(&Value::Bool(false))
        && let Value::Object(merged) = &mut merged
    {
        merged.remove("additionalProperties");
    }
    merged
}

/// Judges what changes between two sets of parameters.
fn changes(
    schema: &Value,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    at: &str,
    violations: &mut Vec<Violation>,
) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        let pointer = format!("{at}/{}", escape(name));
        // A property that did not exist when the instance was made is set for the first time.
        let Some(old) = before.get(name) else {
            continue;
        };
        let new = after.get(name);
        if let Some(rule) = forbidden(property, old, new) {
            let violation = Violation::change(pointer, rule);
            if !violations.contains(&violation) {
                violations.push(violation);
            }
        } else if let (Value::Object(old), Some(Value::Object(new))) = (old, new) {
            changes(property, old, new, &pointer, violations);
        }
    }
}

/// The rule that a change breaks, if it breaks one. The rule names values of the schema only.
fn forbidden(property: &Value, old: &Value, new: Option<&Value>) -> Option<String> {
    let says = |keyword| property.get(keyword) == Some(&Value::Bool(true));
    if new == Some(old) {
        None
    } else if says("x-immutable") {
        Some("cannot be changed".to_owned())
    } else if says("x-ordered") {
        out_of_order(property.get("enum")?.as_array()?, old, new)
    } else {
        None
    }
}

/// Only the next of the values can be moved to: not back, and over none.
fn out_of_order(order: &[Value], old: &Value, new: Option<&Value>) -> Option<String> {
    let Some(place) = order.iter().position(|value| value == old) else {
        // The current value is not in the enum any more, so its order is unknown.
        return Some("cannot be changed: the plan no longer offers its current value".to_owned());
    };
    match order.get(place + 1) {
        Some(next) if new == Some(next) => None,
        Some(next) => Some(format!("can only be changed to {next}")),
        None => Some("cannot be changed: it already has the last of its values".to_owned()),
    }
}

fn without_nulls(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match value {
            Value::Object(inner) => (name.clone(), Value::Object(without_nulls(inner))),
            other => (name.clone(), other.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::build;
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => panic!("no object"),
        }
    }

    fn schemas(create: &Value) -> Schemas {
        let parameters = json!({"create": create, "update": {"inherit": "create"}});
        build(&serde_json::from_value(parameters).unwrap()).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_7386_hold() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ];
        for (mut target, patch, expected) in cases {
            merge_patch(&mut target, &patch);
            assert_eq!(target, expected);
        }
    }

    #[test]
    fn defaults_are_recorded_at_create_and_stay_when_the_schema_changes() {
        let old = schemas(&json!({"properties": {"a": {"default": 1}, "b": {}}}));
        let made = create(&old.create, &object(json!({"b": 5}))).unwrap();
        assert_eq!(made.effective, object(json!({"a": 1, "b": 5})));
        let new = schemas(&json!({
            "properties": {"a": {"default": 2}, "b": {}, "c": {"default": 3}},
        }));
        let updated = update(&new, &made, &object(json!({"b": 6}))).unwrap();
        assert_eq!(updated.sent, object(json!({"b": 6})));
        assert_eq!(updated.effective, object(json!({"a": 1, "b": 6, "c": 3})));
        let reset = update(&new, &updated, &object(json!({"a": null}))).unwrap();
        assert_eq!(reset.effective["a"], json!(2));
    }

    #[test]
    fn an_immutable_property_may_be_repeated_but_not_changed() {
        let schemas = schemas(&json!({
            "properties": {
                "tls": {"enum": ["a", "b"], "default": "a", "x-immutable": true},
                "n": {"type": "integer"},
            },
        }));
        let made = create(&schemas.create, &object(json!({}))).unwrap();
        assert!(update(&schemas, &made, &object(json!({"tls": "a"}))).is_ok());
        let violations = update(&schemas, &made, &object(json!({"tls": "b"}))).unwrap_err();
        assert_eq!(violations[0].to_string(), "/tls cannot be changed");
        assert!(violations[0].is_unsupported_change());
        assert_eq!(violations.len(), 1);
    }

    /// Four versions, and the instance that has one of them.
    fn versioned(version: &str) -> (Schemas, Resolved) {
        let schemas = schemas(&json!({"properties": {"version": {
            "enum": ["5.0", "6.0", "7.0", "8.0"], "default": "8.0", "x-ordered": true,
        }}}));
        let made = create(&schemas.create, &object(json!({"version": version}))).unwrap();
        (schemas, made)
    }

    #[test]
    fn an_ordered_property_moves_to_the_next_value_only() {
        let (schemas, made) = versioned("6.0");
        for legal in ["6.0", "7.0"] {
            let updated = update(&schemas, &made, &object(json!({"version": legal}))).unwrap();
            assert_eq!(updated.effective["version"], legal);
        }
        // Null asks for the default, which is no shorter way.
        for illegal in [json!("5.0"), json!("8.0"), Value::Null] {
            let violations =
                update(&schemas, &made, &object(json!({"version": illegal}))).unwrap_err();
            assert_eq!(
                violations[0].to_string(),
                r#"/version can only be changed to "7.0""#
            );
            assert!(violations[0].is_unsupported_change());
            assert_eq!(violations.len(), 1);
        }
        let unknown = update(&schemas, &made, &object(json!({"version": "9.0"}))).unwrap_err();
        assert!(unknown.iter().all(|v| !v.is_unsupported_change()));
    }

    #[test]
    fn an_ordered_property_at_its_end_or_off_the_list_stays() {
        let (schemas, made) = versioned("8.0");
        let end = update(&schemas, &made, &object(json!({"version": "7.0"}))).unwrap_err();
        assert_eq!(
            end[0].to_string(),
            "/version cannot be changed: it already has the last of its values"
        );
        // A later bundle has dropped the version that the instance has.
        let old = Resolved {
            sent: object(json!({"version": "4.4"})),
            effective: object(json!({"version": "4.4"})),
        };
        let off = update(&schemas, &old, &object(json!({"version": "5.0"}))).unwrap_err();
        assert!(off[0].to_string().contains("no longer offers"), "{off:?}");
        assert!(off[0].is_unsupported_change());
    }

    /// All walks of four requests, from every version.
    #[test]
    fn no_sequence_of_updates_moves_a_version_down_or_skips_one() {
        let order = ["5.0", "6.0", "7.0", "8.0"];
        let place = |resolved: &Resolved| {
            let version = &resolved.effective["version"];
            order.iter().position(|one| version == one).unwrap()
        };
        for start in order {
            let (schemas, made) = versioned(start);
            for walk in 0..order.len().pow(4) {
                let mut at = made.clone();
                for step in 0..4_u32 {
                    let asked = order[walk / order.len().pow(step) % order.len()];
                    let patch = object(json!({"version": asked}));
                    let Ok(next) = update(&schemas, &at, &patch) else {
                        continue;
                    };
                    assert!((place(&at)..=place(&at) + 1).contains(&place(&next)));
                    assert_eq!(next.effective["version"], asked);
                    at = next;
                }
            }
        }
    }

    #[test]
    fn an_update_cannot_take_away_what_is_required() {
        let schemas = schemas(&json!({"required": ["a"], "properties": {"a": {"type": "string"}}}));
        let made = create(&schemas.create, &object(json!({"a": "x"}))).unwrap();
        let violations = update(&schemas, &made, &object(json!({"a": null}))).unwrap_err();
        assert_eq!(violations[0].to_string(), "/a is required");
        assert!(update(&schemas, &made, &object(json!({}))).is_ok());
        let unknown = update(&schemas, &made, &object(json!({"z": 1}))).unwrap_err();
        assert_eq!(unknown[0].pointer, "/z");
    }

    #[test]
    fn debug_shows_no_value() {
        let resolved = create(&json!({}), &object(json!({"password": "hunter2"}))).unwrap();
        assert!(!format!("{resolved:?}").contains("hunter2"));
    }
}
