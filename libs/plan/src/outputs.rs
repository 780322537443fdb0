//! Outputs: what becomes known as objects come to exist, evaluated after each file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::descriptor::{Expression, Output, Text};
use crate::expr::{Context, Evaluator};
use crate::redact::redacted;
use crate::render::check::describe;
use crate::render::engine::TextError;
use crate::render::slots::size;
use crate::render::{jinja, slots_to_json};

/// The most that all outputs may take as JSON: a record keeps them in an annotation, and
/// Kubernetes takes 256 KiB of those.
pub const MAX_BYTES: usize = 64 * 1024;

/// An output that has no value although nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("output {name} cannot be evaluated: {message}")]
pub struct Error {
    /// The output.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

/// All outputs that can be known by now. `context` holds the template variables, `objects` the
/// live objects so far, which expressions see as `objects["Kind/name"]`, Secrets without content.
pub(crate) fn evaluate(
    outputs: &BTreeMap<String, Output>,
    evaluator: &Evaluator,
    mut context: Context,
    objects: &[Value],
) -> Result<Map<String, Value>, Error> {
    let objects: BTreeMap<_, _> = objects
        .iter()
        .map(|object| (describe(object), redacted(object)))
        .collect();
    context.insert("objects".to_owned(), jinja(objects));
    let mut known = Map::new();
    let mut bytes = 0;
    // An output may use another one, whatever their order.
    for _ in 0..=outputs.len() {
        context.insert("outputs".to_owned(), jinja(&known));
        let before = known.len();
        for (name, output) in outputs {
            if known.contains_key(name) {
                continue;
            }
            match one(output, evaluator, &context) {
                Ok(value) => {
                    bytes += size(&value);
                    if bytes > MAX_BYTES {
                        return Err(Error {
                            name: name.clone(),
                            message: too_large(),
                        });
                    }
                    known.insert(name.clone(), value);
                }
                Err(TextError::Undefined(_)) => {}
                Err(TextError::Other(message)) => {
                    return Err(Error {
                        name: name.clone(),
                        message,
                    });
                }
            }
        }
        if known.len() == before {
            break;
        }
    }
    Ok(known)
}

fn one(output: &Output, evaluator: &Evaluator, context: &Context) -> Result<Value, TextError> {
    match output {
        Output::Value(value) => filled(value, evaluator, context),
        Output::Each { each, value } => each_value(each, value, evaluator, context),
    }
}

/// A value with its texts evaluated, at any depth.
pub(crate) fn filled(
    value: &Value,
    evaluator: &Evaluator,
    context: &Context,
) -> Result<Value, TextError> {
    match value {
        Value::String(text) => evaluator.text(&Text(text.clone()), context),
        Value::Array(items) => items
            .iter()
            .map(|item| filled(item, evaluator, context))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| Ok((key.clone(), filled(value, evaluator, context)?)))
            .collect::<Result<Map<_, _>, _>>()
            .map(Value::Object),
        other => Ok(other.clone()),
    }
}

fn each_value(
    each: &Expression,
    value: &Text,
    evaluator: &Evaluator,
    context: &Context,
) -> Result<Value, TextError> {
    let items = evaluator.value(each, context).map_err(TextError::Other)?;
    if items.is_undefined() {
        return Err(TextError::Undefined(format!("{each} is undefined")));
    }
    let items = slots_to_json(&items).map_err(TextError::Other)?;
    let Value::Array(items) = items else {
        return Err(TextError::Other(format!("{each} is no list")));
    };
    let mut context = context.clone();
    let (mut values, mut bytes) = (Vec::new(), 0);
    for item in &items {
        context.insert("item".to_owned(), jinja(item));
        let value = evaluator.text(value, &context)?;
        bytes += size(&value);
        if bytes > MAX_BYTES {
            return Err(TextError::Other(too_large()));
        }
        values.push(value);
    }
    Ok(Value::Array(values))
}

fn too_large() -> String {
    format!("the outputs have more than the {MAX_BYTES} bytes that a record can keep")
}
