//! Expressions of descriptors: the template engine without templates. Missing fields are
//! undefined, not errors.

use std::collections::{BTreeMap, HashSet};

use minijinja::value::Value as Jinja;
use minijinja::{Environment, Error as JinjaError, ErrorKind, State, UndefinedBehavior};
use serde_json::Value;

use crate::descriptor::{Expression, Text};
use crate::lint::references::Form;
use crate::render::engine::{self, TextError, Undefined};
use crate::render::explain::{self, Path};
use crate::render::slots::to_json;
use crate::render::{Detail, jinja, names};

/// Evaluates expressions and the texts of descriptors.
pub(crate) struct Evaluator {
    env: Environment<'static>,
}

/// The variables of an expression.
pub(crate) type Context = BTreeMap<String, Jinja>;

impl Evaluator {
    pub(crate) fn new() -> Self {
        let mut env = engine::environment(UndefinedBehavior::Chainable);
        env.add_function("age", age);
        env.add_function("fromjson", from_json);
        env.add_filter("fromjson", from_json);
        env.add_function("contains", contains);
        Self { env }
    }

    /// Whether an expression can be evaluated at all; the error says why not.
    pub(crate) fn check(&self, expression: &Expression) -> Result<(), String> {
        let compiled = self.env.compile_expression(expression.as_str());
        compiled.map_err(|error| explain::describe(&error))?;
        let unknown = names::unknown_in_expression(expression.as_str(), &self.env);
        unknown.into_iter().next().map_or(Ok(()), Err)
    }

    /// Whether a text is well-formed.
    pub(crate) fn check_text(&self, text: &Text) -> Result<(), String> {
        let compiled = self.env.template_from_str(text.as_str());
        compiled.map_err(|error| explain::syntax(&error, text.as_str()).2)?;
        let unknown = names::unknown_in_template(text.as_str(), &self.env);
        unknown
            .into_iter()
            .next()
            .map_or(Ok(()), |(_, message)| Err(message))
    }

    /// The names that a source reads, with their attributes; none if it cannot be parsed.
    pub(crate) fn paths(&self, source: &str, form: Form) -> Vec<Path> {
        match form {
            Form::Expression => explain::paths_of_expression(source, &self.env),
            Form::Text => explain::paths(source, &self.env),
        }
    }

    /// The variables that an expression uses; none if it cannot be parsed.
    pub(crate) fn names(&self, expression: &Expression) -> HashSet<String> {
        self.env
            .compile_expression(expression.as_str())
            .map(|compiled| compiled.undeclared_variables(false))
            .unwrap_or_default()
    }

    /// The variables that a text uses; none if it cannot be parsed.
    pub(crate) fn names_of_text(&self, text: &Text) -> HashSet<String> {
        self.env
            .template_from_str(text.as_str())
            .map(|compiled| compiled.undeclared_variables(false))
            .unwrap_or_default()
    }

    /// The value of an expression.
    pub(crate) fn value(&self, source: &Expression, context: &Context) -> Result<Jinja, String> {
        self.env
            .compile_expression(source.as_str())
            .and_then(|compiled| compiled.eval(jinja(context)))
            .map_err(|e| explain::explain(&e, Detail::Safe))
    }

    /// Whether an expression holds.
    pub(crate) fn holds(&self, source: &Expression, context: &Context) -> Result<bool, String> {
        self.value(source, context).map(|value| value.is_true())
    }

    /// A line for people; what a status leaves out reads as 0.
    pub(crate) fn message(&self, source: &Text, context: &Context) -> Result<String, String> {
        match engine::text(&self.env, source.as_str(), context, Undefined::Zero) {
            Ok(Value::String(text)) => Ok(text),
            Ok(other) => Ok(other.to_string()),
            Err(TextError::Undefined(message) | TextError::Other(message)) => Err(message),
        }
    }

    /// A text's value, typed if it is exactly one `{{ … }}`.
    pub(crate) fn text(&self, source: &Text, context: &Context) -> Result<Value, TextError> {
        engine::text(&self.env, source.as_str(), context, Undefined::Refused)
    }
}

/// `age(timestamp)`: the seconds from an RFC 3339 time to `now`; undefined where there is none.
fn age(state: &State<'_, '_>, timestamp: &Jinja) -> Jinja {
    let now = state.lookup("now").and_then(|now| instant(&now));
    match (now, instant(timestamp)) {
        (Some(now), Some(then)) => Jinja::from(now.duration_since(then).as_secs()),
        _ => Jinja::UNDEFINED,
    }
}

fn instant(value: &Jinja) -> Option<jiff::Timestamp> {
    value.as_str()?.parse().ok()
}

/// `fromjson(text)`: undefined where the text is none or no JSON.
fn from_json(text: &Jinja) -> Jinja {
    match text.as_str().map(serde_json::from_str::<Value>) {
        Some(Ok(value)) => jinja(value),
        _ => Jinja::UNDEFINED,
    }
}

/// `contains(whole, part)`: whether all of `part` is in `whole`. Objects by key and deeply, lists
/// item by item, text as a substring, everything else by equality.
fn contains(state: &State<'_, '_>, whole: &Jinja, part: &Jinja) -> Result<bool, JinjaError> {
    if whole.is_undefined() || part.is_undefined() {
        return Ok(false);
    }
    let json = |value: &Jinja| {
        to_json(value, &mut engine::pay(state))
            .map_err(|_| JinjaError::new(ErrorKind::InvalidOperation, "cannot be compared"))
    };
    Ok(match (json(whole)?, json(part)?) {
        (Value::String(whole), Value::String(part)) => whole.contains(&part),
        (Value::Array(whole), part) if !part.is_array() => {
            whole.iter().any(|item| includes(item, &part))
        }
        (whole, part) => includes(&whole, &part),
    })
}

fn includes(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, part)| whole.get(key).is_some_and(|whole| includes(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(w, p)| includes(w, p))
        }
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        (whole, part) => whole == part,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(expression: &str, object: Value) -> bool {
        let context = Context::from([
            ("object".to_owned(), jinja(object)),
            ("now".to_owned(), Jinja::from("2026-11-24T12:00:00Z")),
        ]);
        Evaluator::new()
            .holds(&Expression(expression.to_owned()), &context)
            .unwrap()
    }

    #[test]
    fn missing_fields_are_undefined_not_errors() {
        assert!(!holds("object.status.a.b.c == 3", json!({})));
        assert!(!holds("object.status.replicas >= 1", json!({})));
    }

    #[test]
    fn age_counts_from_now() {
        let object = json!({"status": {"lastTransition": "2026-11-24T11:50:00Z"}});
        assert!(holds("age(object.status.lastTransition) == 600", object));
        assert!(!holds("age(object.status.lastTransition) > 0", json!({})));
    }

    #[test]
    fn contains_compares_field_by_field() {
        let object = json!({
            "annotation": "{\"members\":3,\"version\":\"8.0\",\"l\":[{\"a\":1,\"b\":2}]}",
            "spec": {"members": 3, "l": [{"a": 1}]},
            "list": ["a", "b"],
        });
        assert!(holds(
            "contains(fromjson(object.annotation), object.spec)",
            object.clone()
        ));
        assert!(!holds(
            "contains(object.spec, fromjson(object.annotation))",
            object.clone()
        ));
        assert!(holds("contains(object.list, 'a')", object.clone()));
        assert!(!holds(
            "contains(fromjson(object.nothing), object.spec)",
            object
        ));
    }
}
