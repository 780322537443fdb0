//! The JSON Schemas for editors, in `schema/`, are those of the descriptor types.

use std::path::Path;

use schemars::JsonSchema;
use serde_json::Value;

use super::{Plan, Service};

/// `UPDATE_SCHEMA=1 cargo test -p plan` writes the files anew.
fn is_current<T: JsonSchema>(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("schema")
        .join(file);
    let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let kept: Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(
        kept == schema,
        "{file} is not what the types say: run with UPDATE_SCHEMA=1"
    );
}

#[test]
fn the_schema_of_service_yaml_is_what_its_type_says() {
    is_current::<Service>("service.json");
}

#[test]
fn the_schema_of_plan_yaml_is_what_its_type_says() {
    is_current::<Plan>("plan.json");
}
