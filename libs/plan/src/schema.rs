//! JSON Schemas of parameters: built from the descriptor, used to judge requests, to apply
//! defaults and to work out what an update means.
//!
//! No text made here holds a value that a user sent: parameters may be secret.

mod build;
mod infer;
pub(crate) mod keywords;
mod sample;
mod update;
mod validate;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use update::{Resolved, merge_patch};
pub use validate::{Concern, Violation, refusal};

pub(crate) use build::build;
pub(crate) use infer::Uses;
pub(crate) use sample::samples;
pub(crate) use update::{create, update};
pub(crate) use validate::{check_schema, validate};

/// The largest schema that a catalog may hold (CAT-31).
const MAX_BYTES: usize = 64 * 1024;

/// What the parameters belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A new instance.
    Create,
    /// An update of an instance.
    Update,
    /// A binding.
    Bind,
}

/// The three schemas of a plan, as the catalog shows them (draft-04).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schemas {
    /// `schemas.service_instance.create.parameters`.
    pub create: Value,
    /// `schemas.service_instance.update.parameters`.
    pub update: Value,
    /// `schemas.service_binding.create.parameters`.
    pub bind: Value,
}

impl Schemas {
    /// The schema of an operation.
    pub fn of(&self, operation: Operation) -> &Value {
        match operation {
            Operation::Create => &self.create,
            Operation::Update => &self.update,
            Operation::Bind => &self.bind,
        }
    }

    /// Whether an update can change a parameter, or what it is in. `path` is its name, and the
    /// names below it.
    pub fn can_change(&self, path: &[&str]) -> bool {
        can_change(&self.create, &self.update, path)
    }
}

fn can_change(create: &Value, update: &Value, path: &[&str]) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return true;
    };
    let (first, later) = (&create["properties"][name], &update["properties"][name]);
    if first["x-immutable"] == true || later["x-immutable"] == true {
        return false;
    }
    if !later.is_object() {
        // What an open schema does not name is taken, too.
        return update["additionalProperties"] != false;
    }
    // A list's items, or something that is no parameter of its own, changes with what it is in.
    later["properties"].is_null() || can_change(first, later, rest)
}

/// Whether a text is legal by a string's schema.
pub(crate) fn check_text(schema: &Value, text: &str) -> bool {
    jsonschema::draft4::new(schema).is_ok_and(|v| v.is_valid(&Value::String(text.to_owned())))
}

/// The rules that a value breaks as a property of a schema; the schema's definitions are at hand.
pub(crate) fn broken(schema: &Value, name: &str, value: &Value) -> Vec<Violation> {
    let mut schema = schema.clone();
    if let Value::Object(schema) = &mut schema {
        schema.remove("required");
    }
    let parameters = Map::from_iter([(name.to_owned(), value.clone())]);
    validate(&schema, &parameters)
}
