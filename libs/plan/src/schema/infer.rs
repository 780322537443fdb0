//! The schema of a folder that declares no parameters: each variable that nothing else defines is
//! a required string or number.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::descriptor::{Inherit, ParameterSchema, Parameters};

/// Parameters from the names that the templates use and that nothing defines.
pub(crate) fn infer(undeclared: &BTreeSet<String>) -> Parameters {
    if undeclared.is_empty() {
        return Parameters::default();
    }
    let property = json!({"type": ["string", "number"]});
    let properties: Map<_, _> = undeclared
        .iter()
        .map(|name| (name.clone(), property.clone()))
        .collect();
    let schema = Map::from_iter([
        ("properties".to_owned(), Value::Object(properties)),
        ("required".to_owned(), json!(undeclared)),
    ]);
    Parameters {
        create: Some(ParameterSchema {
            inherit: None,
            schema,
        }),
        update: Some(ParameterSchema {
            inherit: Some(Inherit::Create),
            schema: Map::new(),
        }),
        bind: None,
    }
}
