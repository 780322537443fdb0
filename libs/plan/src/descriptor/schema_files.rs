//! The JSON Schemas for editors, in `schema/`, are those of the descriptor types.

use std::path::Path;

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{Plan, Service};
use crate::node::Node;

/// `UPDATE_SCHEMA=1 cargo test -p plan` writes the files anew.
fn is_current<T: JsonSchema>(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("schema")
        .join(file);
    let mut schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
    schema["$id"] = format!("https://mongodb-osb.io/schema/{file}").into();
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

#[test]
fn an_editor_sees_what_is_wrong_with_parameters_and_versions() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/plan.json"));
    let schema: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let of = |schema: Value| json!({"parameters": {"create": schema}});
    let one = |property: Value| of(json!({"properties": {"a": property}}));
    for (plan, is_valid) in [
        (json!({"version": "1.2.3"}), true),
        (json!({"version": "1.2.3-rc.1+x"}), true),
        (json!({"version": "1.2"}), false),
        (one(json!({"type": "string", "x-mine": 1})), true),
        (one(Value::Null), true),
        (one(json!({"type": "strin"})), false),
        (one(json!({"enmu": [1]})), false),
        (one(json!({"items": {"enmu": [1]}})), false),
        (one(json!({"x-immutable": "yes"})), false),
        (of(json!({"a": {"type": "string"}})), false),
        (of(json!({"required": "name"})), false),
        (of(json!({"inherit": "create"})), true),
        (of(json!({"inherit": "bind"})), false),
    ] {
        assert_eq!(validator.is_valid(&plan), is_valid, "{plan}");
    }
}

/// What the first line of each says, an editor finds no fault in.
#[test]
fn the_shipped_plans_are_what_their_schema_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalog-svc/templates/mongodb");
    let mut checked = 0;
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path().join("plan.yaml");
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let first = text.lines().next().unwrap_or_default();
        let named = first
            .strip_prefix("# yaml-language-server: $schema=")
            .unwrap();
        let schema = std::fs::read_to_string(path.with_file_name(named)).unwrap();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let plan = Node::read("plan.yaml", text.as_bytes()).unwrap().to_json();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<_> = validator
            .iter_errors(&plan)
            .map(|e| e.to_string())
            .collect();
        assert_eq!(faults, Vec::<String>::new(), "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 4, "{checked}");
}
