//! The fields of Kubernetes' own kinds: which there are, and what may stand in them. Lint judges
//! with it what samples render, so that a misspelt field or a number in quotes is found before
//! anybody orders. The table is made from what a real API server says of its kinds. Those of custom
//! resources are known where their definitions are at hand.

pub(crate) mod definition;
mod shape;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::descriptor::KindRef;
use crate::kinds::ServedKinds;
use crate::node::nearest;

pub use shape::Shape;

/// Kinds and the types that they are made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Fields {
    /// `apps/v1/StatefulSet` -> the name of its type.
    kinds: BTreeMap<String, String>,
    types: BTreeMap<String, Shape>,
}

/// What is wrong with an object's field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldFault {
    /// From the object down; numbers are places in lists.
    pub(crate) path: Vec<String>,
    pub(crate) message: String,
    /// Whether it is one for sure: a field that is not known may be of a newer Kubernetes, however
    /// like another one it looks.
    pub(crate) is_sure: bool,
}

/// The table of the kinds that templates may have, as it is shipped.
pub(crate) fn built_in() -> &'static Fields {
    static SHIPPED: LazyLock<Fields> = LazyLock::new(|| {
        // That it can be read is tested below.
        serde_json::from_str(include_str!("../schema/kinds.json")).unwrap_or_default()
    });
    &SHIPPED
}

impl Fields {
    /// Adds the kinds of a document of OpenAPI 3, as an API server serves it for a group and version
    /// under `/openapi/v3`, that `wanted` says yes to.
    pub fn add_openapi(&mut self, document: &Value, wanted: impl Fn(&KindRef) -> bool) {
        let schemas = document.pointer("/components/schemas");
        let Some(schemas) = schemas.and_then(Value::as_object) else {
            return;
        };
        for (name, schema) in schemas {
            let kinds = schema.get("x-kubernetes-group-version-kind");
            for kind in kinds.and_then(Value::as_array).into_iter().flatten() {
                let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default();
                let api_version = match text("group") {
                    "" => text("version").to_owned(),
                    group => format!("{group}/{}", text("version")),
                };
                let kind = KindRef::new(&api_version, text("kind"));
                if wanted(&kind) {
                    self.kinds.insert(kind.to_string(), shape::short(name));
                    self.add_type(name, schemas);
                }
            }
        }
    }

    /// A type and all that it is made of.
    fn add_type(&mut self, name: &str, schemas: &serde_json::Map<String, Value>) {
        let mut wanted = vec![name.to_owned()];
        while let Some(name) = wanted.pop() {
            let short = shape::short(&name);
            let Some(schema) = schemas.get(&name) else {
                continue;
            };
            self.types
                .entry(short)
                .or_insert_with(|| Shape::of_openapi(schema, &mut wanted));
        }
    }

    /// What is wrong with the fields of an object; nothing if its kind is neither known nor among
    /// those of others.
    pub(crate) fn check(
        &self,
        kind: &KindRef,
        object: &Value,
        served: &ServedKinds,
    ) -> Vec<FieldFault> {
        let mut walk = Walk {
            fields: self,
            path: Vec::new(),
            faults: Vec::new(),
        };
        if let Some(name) = self.kinds.get(&kind.to_string()) {
            walk.value(&Shape::Type(name.clone()), object);
        } else if let Some(shape) = served.fields(kind) {
            walk.value(shape, object);
        }
        walk.faults
    }
}

/// Through an object and its type at once.
struct Walk<'a> {
    fields: &'a Fields,
    path: Vec<String>,
    faults: Vec<FieldFault>,
}

impl Walk<'_> {
    fn value(&mut self, shape: &Shape, value: &Value) {
        // As if it was not there.
        if value.is_null() {
            return;
        }
        match (shape, value) {
            (Shape::Type(name), _) => {
                let fields = self.fields;
                if let Some(shape) = fields.types.get(name) {
                    self.value(shape, value);
                }
            }
            (Shape::List(of), Value::Array(items)) => {
                for (number, item) in items.iter().enumerate() {
                    self.below(number.to_string(), |walk| walk.value(of, item));
                }
            }
            (Shape::Map(of), Value::Object(entries)) => {
                for (key, entry) in entries {
                    self.below(key.clone(), |walk| walk.value(of, entry));
                }
            }
            (Shape::Object(known), Value::Object(entries)) => {
                for (key, entry) in entries {
                    self.below(key.clone(), |walk| match known.get(key) {
                        Some(shape) => walk.value(shape, entry),
                        None => walk.unknown(key, known),
                    });
                }
            }
            (Shape::Open(known), Value::Object(entries)) => {
                for (key, entry) in entries {
                    if let Some(shape) = known.get(key) {
                        self.below(key.clone(), |walk| walk.value(shape, entry));
                    }
                }
            }
            _ if shape.takes(value) || is_sample(value) => {}
            _ => self.fault(&format!(
                "must be {}, and is {}{}",
                shape.what(),
                what(value),
                advice(shape, value)
            )),
        }
    }

    fn below(&mut self, key: String, then: impl FnOnce(&mut Self)) {
        self.path.push(key);
        then(self);
        self.path.pop();
    }

    fn unknown(&mut self, key: &str, known: &BTreeMap<String, Shape>) {
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        let near = nearest(key, known.iter().copied());
        let advice = match near {
            Some(near) => format!(", did you mean {near:?}?"),
            None => format!(", which has {}", known.join(", ")),
        };
        let place = match self.path.split_last() {
            Some((_, [])) | None => "the object".to_owned(),
            Some((_, above)) => shown(above),
        };
        self.faults.push(FieldFault {
            path: self.path.clone(),
            message: format!("{key:?} is not a known field of {place}{advice}"),
            is_sure: false,
        });
    }

    fn fault(&mut self, message: &str) {
        self.faults.push(FieldFault {
            path: self.path.clone(),
            message: format!("{} {message}", shown(&self.path)),
            is_sure: true,
        });
    }
}

/// `spec.ports[0].port`.
fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            text.extend(["[", part, "]"]);
        } else {
            let dot = if text.is_empty() { "" } else { "." };
            text.extend([dot, part]);
        }
    }
    text
}

/// The value of something that is not known before it is ordered: of a parameter without a type, say.
fn is_sample(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.starts_with("sample"))
}

fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn advice(shape: &Shape, value: &Value) -> &'static str {
    match (shape, value) {
        (Shape::String, Value::Bool(_) | Value::Number(_)) => ": write it in quotes",
        (Shape::Integer | Shape::Number, Value::String(text)) if text.parse::<f64>().is_ok() => {
            ": write it without quotes; a parameter in its place must be a number, too"
        }
        (Shape::Boolean, Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
            ": write it without quotes"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(kind: &str, object: &Value) -> Vec<String> {
        let found = built_in().check(&kind.parse().unwrap(), object, &ServedKinds::default());
        found.into_iter().map(|fault| fault.message).collect()
    }

    #[test]
    fn the_table_that_is_shipped_can_be_read() {
        let table: Fields = serde_json::from_str(include_str!("../schema/kinds.json")).unwrap();
        assert!(table.kinds.contains_key("apps/v1/StatefulSet"));
        assert_eq!(&table, built_in());
    }

    #[test]
    fn fields_that_there_are_not_are_named_with_the_nearest() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"nmae": "x"},
            "spec": {"replcas": 3, "template": {"spec": {"containers": [{"imgae": "x"}]}}},
        });
        let expected = [
            "\"nmae\" is not a known field of metadata, did you mean \"name\"?",
            "\"replcas\" is not a known field of spec, did you mean \"replicas\"?",
            "\"imgae\" is not a known field of spec.template.spec.containers[0], did you mean \"image\"?",
        ];
        assert_eq!(faults("apps/v1/StatefulSet", &object), expected);
        let found = faults("v1/ConfigMap", &json!({"dta": {}}));
        assert_eq!(
            found,
            ["\"dta\" is not a known field of the object, did you mean \"data\"?"]
        );
        let secret = "v1/Secret".parse().unwrap();
        let newer = built_in().check(&secret, &json!({"zzzzz": 1}), &ServedKinds::default());
        assert!(newer[0].message.contains("which has apiVersion, data"));
        assert!(!newer[0].is_sure);
    }

    #[test]
    fn values_of_another_type_are_named_with_the_remedy() {
        for (kind, object, told) in [
            (
                "apps/v1/Deployment",
                json!({"spec": {"replicas": "3"}}),
                "spec.replicas must be an integer, and is a string: write it without quotes; a \
                 parameter in its place must be a number, too",
            ),
            (
                "v1/ConfigMap",
                json!({"data": {"port": 27017}}),
                "data.port must be a string, and is a number: write it in quotes",
            ),
            (
                "v1/Service",
                json!({"spec": {"ports": {"port": 1}}}),
                "spec.ports must be a list, and is a mapping",
            ),
            (
                "v1/Service",
                json!({"spec": {"ports": [{"port": 1.5}]}}),
                "spec.ports[0].port must be an integer, and is a number",
            ),
            (
                "v1/Pod",
                json!({"spec": {"hostNetwork": "true"}}),
                "spec.hostNetwork must be a boolean, and is a string: write it without quotes",
            ),
        ] {
            assert_eq!(faults(kind, &object), [told]);
        }
    }

    #[test]
    fn fields_of_custom_resources_are_judged_by_their_definition() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer"},
                "port": {"x-kubernetes-int-or-string": true,
                         "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "settings": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "pod": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"name": {"type": "string"}}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "rules": {"type": "array", "items": {"type": "object", "properties": {
                    "allow": {"type": "boolean"}}}},
                "limit": {"type": "string", "oneOf": [{"pattern": "^a"}, {"pattern": "^b"}]},
            }},
            "status": {"type": "object", "properties": {}},
        }});
        let mut served = ServedKinds::default();
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {"group": "example.com", "scope": "Namespaced",
                     "names": {"kind": "Widget", "plural": "widgets"},
                     "versions": [{"name": "v1", "served": true,
                                   "schema": {"openAPIV3Schema": schema}}]},
        });
        assert_eq!(served.add_definition(&definition), Ok(true));
        // As it travels to where plans are checked.
        let served: ServedKinds =
            serde_json::from_str(&serde_json::to_string(&served).unwrap()).unwrap();
        let kind = "example.com/v1/Widget".parse().unwrap();
        let faults = |object: Value| {
            let found = built_in().check(&kind, &object, &served);
            let shown = |fault: FieldFault| (fault.message, fault.is_sure);
            found.into_iter().map(shown).collect::<Vec<_>>()
        };
        let fine = json!({
            "apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": {"name": "w", "labels": {"a": "b"}},
            "spec": {"size": 1, "port": "db", "settings": {"any": [1]}, "limit": "a",
                     "pod": {"name": "p", "other": 1}, "labels": {"a": "b"},
                     "rules": [{"allow": true}]},
            "status": {"any": 1},
        });
        assert_eq!(faults(fine), []);
        let text = |message: &str, is_sure| (message.to_owned(), is_sure);
        assert_eq!(
            faults(json!({
                "metadata": {"nmae": "w"},
                "spec": {"szie": 1, "port": true, "pod": {"name": 1}, "labels": {"a": 1},
                         "rules": [{"allow": "true"}]},
            })),
            [
                text(
                    "\"nmae\" is not a known field of metadata, did you mean \"name\"?",
                    false
                ),
                text(
                    "spec.labels.a must be a string, and is a number: write it in quotes",
                    true
                ),
                text(
                    "spec.pod.name must be a string, and is a number: write it in quotes",
                    true
                ),
                text(
                    "spec.port must be an integer or a string, and is a boolean",
                    true
                ),
                text(
                    "spec.rules[0].allow must be a boolean, and is a string: write it without quotes",
                    true
                ),
                text(
                    "\"szie\" is not a known field of spec, did you mean \"size\"?",
                    false
                ),
            ]
        );
    }

    #[test]
    fn what_kubernetes_takes_passes() {
        for (kind, object) in [
            (
                "v1/Service",
                json!({"spec": {"ports": [{"port": 1, "targetPort": "db"}]}}),
            ),
            (
                "v1/Service",
                json!({"spec": {"ports": [{"port": 1, "targetPort": 2}]}}),
            ),
            (
                "v1/Pod",
                json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}]}}),
            ),
            (
                "v1/ConfigMap",
                json!({"data": null, "metadata": {"annotations": {"a/b": "c"}}}),
            ),
            // Not known before it is ordered.
            (
                "apps/v1/Deployment",
                json!({"spec": {"replicas": "sample"}}),
            ),
            // No kind of Kubernetes' own.
            ("example.com/v1/Any", json!({"x": 1})),
        ] {
            assert_eq!(faults(kind, &object), Vec::<String>::new(), "{object}");
        }
    }
}
