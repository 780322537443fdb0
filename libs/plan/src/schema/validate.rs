//! Judges parameters: every violation as pointer and rule, never a value.

use std::fmt;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MAX_BYTES;

/// Keeps an answer readable.
const MAX_VIOLATIONS: usize = 20;

/// One rule that the parameters break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON pointer to the value, from the parameters object; empty for the object itself.
    pub pointer: String,
    /// The rule, with what the schema (never the user) says: `must be one of "7.0", "8.0"`.
    pub rule: String,
    /// What breaks it.
    #[serde(default)]
    pub concern: Concern,
}

/// What breaks a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concern {
    /// The value: no instance can have it.
    #[default]
    Value,
    /// The change: another instance could have the value, this one cannot come to it.
    Change,
}

/// One sentence about all rules that parameters break.
pub fn refusal<R: fmt::Display>(rules: &[R]) -> String {
    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
    format!(
        "The parameters are not what the plan allows: {}.",
        rules.join("; ")
    )
}

impl Violation {
    /// A value that no instance can have.
    pub(super) fn value(pointer: String, rule: impl Into<String>) -> Self {
        Self {
            pointer,
            rule: rule.into(),
            concern: Concern::Value,
        }
    }

    /// A value that this instance cannot come to.
    pub(super) fn change(pointer: String, rule: impl Into<String>) -> Self {
        Self {
            concern: Concern::Change,
            ..Self::value(pointer, rule)
        }
    }

    /// Whether the value is legal, but the plan does not support the change to it.
    pub fn is_unsupported_change(&self) -> bool {
        self.concern == Concern::Change
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() {
            "parameters"
        } else {
            &self.pointer
        };
        write!(f, "{pointer} {}", self.rule)
    }
}

/// Judges parameters by a schema that [`check_schema`] accepted.
pub(crate) fn validate(schema: &Value, parameters: &Map<String, Value>) -> Vec<Violation> {
    let validator = match compile(schema) {
        Ok(validator) => validator,
        Err(message) => {
            return vec![Violation::value(
                String::new(),
                format!("cannot be validated: {message}"),
            )];
        }
    };
    let instance = Value::Object(parameters.clone());
    let mut violations = Vec::new();
    for error in validator.iter_errors(&instance).take(MAX_VIOLATIONS) {
        let at = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                violations.extend(unexpected.iter().map(|name| {
                    Violation::value(
                        format!("{at}/{}", shortened(name)),
                        "is not a parameter of this plan",
                    )
                }));
            }
            ValidationErrorKind::Required { property } => violations.push(Violation::value(
                format!("{at}/{}", shortened(property.as_str().unwrap_or_default())),
                "is required",
            )),
            kind => violations.push(Violation::value(at, rule(kind))),
        }
    }
    violations.truncate(MAX_VIOLATIONS);
    violations
}

fn rule(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::Enum { options } => format!("must be one of {}", list(options)),
        ValidationErrorKind::Type { kind } => match kind {
            jsonschema::error::TypeKind::Single(one) => format!("must be of type {one}"),
            jsonschema::error::TypeKind::Multiple(many) => {
                let names: Vec<_> = many.iter().map(|t| t.to_string()).collect();
                format!("must be of type {}", names.join(" or "))
            }
        },
        ValidationErrorKind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        ValidationErrorKind::Format { format } => format!("must be a valid {format}"),
        ValidationErrorKind::MinLength { limit } => {
            format!("must have at least {limit} characters")
        }
        ValidationErrorKind::MaxLength { limit } => format!("must have at most {limit} characters"),
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        ValidationErrorKind::MinItems { limit } => format!("must have at least {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("must have at most {limit} items"),
        ValidationErrorKind::UniqueItems => "must not repeat an item".to_owned(),
        ValidationErrorKind::Not { schema } => match (schema.get("enum"), schema.get("pattern")) {
            (Some(options), _) => format!("must not be one of {}", list(options)),
            (None, Some(Value::String(pattern))) => format!("must not match the pattern {pattern}"),
            _ => "is excluded by the plan".to_owned(),
        },
        other => format!("does not satisfy {}", other.keyword()),
    }
}

fn list(options: &Value) -> String {
    match options {
        Value::Array(items) => items
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// Keeps a hostile name from filling the answer.
fn shortened(name: &str) -> String {
    let short: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    escape(&short)
}

/// A part of a JSON pointer (RFC 6901).
pub(super) fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Whether a schema may be published and used.
pub(crate) fn check_schema(schema: &Value) -> Result<(), String> {
    if schema.to_string().len() > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    refuse_references(schema)?;
    check_order(schema)?;
    compile(schema).map(drop)
}

/// `x-ordered` is the order of an enum, and means nothing without one.
fn check_order(schema: &Value) -> Result<(), String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let is_enum = property.get("enum").is_some_and(Value::is_array);
        match property.get("x-ordered") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) if is_enum => {}
            Some(Value::Bool(true)) => {
                return Err(format!("has x-ordered on {name}, which has no enum"));
            }
            Some(_) => {
                return Err(format!(
                    "has an x-ordered on {name} that is not true or false"
                ));
            }
        }
        check_order(property)?;
    }
    Ok(())
}

fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::draft4::new(schema).map_err(|e| format!("is not a valid JSON Schema: {e}"))
}

/// Only local references, which cannot make the broker read anything.
fn refuse_references(schema: &Value) -> Result<(), String> {
    match schema {
        Value::Object(map) => map
            .iter()
            .try_for_each(|(key, value)| match (key.as_str(), value) {
                ("$ref", Value::String(to)) if !to.starts_with('#') => {
                    Err("has a $ref that leaves the schema".to_owned())
                }
                ("id" | "$id", Value::String(_)) => {
                    Err("has an id, which changes what $ref means".to_owned())
                }
                _ => refuse_references(value),
            }),
        Value::Array(items) => items.iter().try_for_each(refuse_references),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violations(schema: &Value, parameters: Value) -> Vec<String> {
        let Value::Object(parameters) = parameters else {
            panic!("no object")
        };
        validate(schema, &parameters)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_violation_names_pointer_and_rule_but_never_the_value() {
        let schema = json!({
            "additionalProperties": false,
            "required": ["size"],
            "properties": {
                "version": {"enum": ["7.0", "8.0"]},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
                "o": {"properties": {"n": {"type": "integer", "minimum": 1}}},
                "database": {"not": {"enum": ["admin", "local"]}},
                "size": {},
            },
        });
        let sent = json!({
            "version": "hunter2",
            "database": "admin",
            "name": "HUNTER2",
            "o": {"n": 0},
            "pass/word": "hunter2",
        });
        let found = violations(&schema, sent);
        assert!(
            found.contains(&r#"/version must be one of "7.0", "8.0""#.to_owned()),
            "{found:?}"
        );
        assert!(found.contains(&"/name must match the pattern ^[a-z]+$".to_owned()));
        assert!(found.contains(&r#"/database must not be one of "admin", "local""#.to_owned()));
        assert!(found.contains(&"/name must have at most 3 characters".to_owned()));
        assert!(found.contains(&"/o/n must be at least 1".to_owned()));
        assert!(found.contains(&"/pass~1word is not a parameter of this plan".to_owned()));
        assert!(found.contains(&"/size is required".to_owned()));
        assert!(!found.join(" ").to_lowercase().contains("hunter2"));
    }

    #[test]
    fn an_order_needs_an_enum() {
        let schema =
            |property: Value| json!({"properties": {"o": {"properties": {"a": property}}}});
        let ordered = json!({"enum": ["7.0", "8.0"], "x-ordered": true});
        assert_eq!(check_schema(&schema(ordered)), Ok(()));
        for (property, why) in [
            (json!({"type": "string", "x-ordered": true}), "no enum"),
            (
                json!({"enum": ["a"], "x-ordered": "yes"}),
                "not true or false",
            ),
        ] {
            let refused = check_schema(&schema(property)).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_schema_may_refer_to_nothing_outside() {
        for to in [
            "http://example.com/s.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            let schema = json!({"properties": {"a": {"$ref": to}}});
            assert!(check_schema(&schema).is_err(), "{to}");
        }
        assert!(check_schema(&json!({"properties": {"a": {"type": "nonsense"}}})).is_err());
        assert!(check_schema(&json!({"description": "x".repeat(70_000)})).is_err());
        let local =
            json!({"definitions": {"d": {}}, "properties": {"a": {"$ref": "#/definitions/d"}}});
        assert_eq!(check_schema(&local), Ok(()));
    }
}
