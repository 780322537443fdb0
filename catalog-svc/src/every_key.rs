//! No key does nothing: for each key of plan.yaml and service.yaml two files
//! that differ in it alone, and what differs for it. The keys are those of the
//! JSON Schemas, so that a new one without a row fails here.
//!
//! Where only another service acts on a key, the row names what that service
//! reads; that it does is looked up in its sources.

mod rows;

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use plan::{
    Bundle, Catalog, Loaded, Tree, Variables, catalog,
    descriptor::{PLAN_SCHEMA, SERVICE_SCHEMA},
    variables::Instance,
};
use serde_json::{Map, Value, json};

use crate::{orderable::Facts, wire};

/// A key, two files that differ in it, and what sees the difference.
struct Row {
    key: &'static str,
    /// What both files begin with.
    common: &'static str,
    one: &'static str,
    other: &'static str,
    seen: Seen,
}

/// Where a difference shows.
enum Seen {
    /// In the catalog's entry of the plan.
    Entry,
    /// In the catalog's entry of the offering.
    Offering,
    /// In what is wrong with the plan.
    Fault,
    /// In the objects of an instance.
    Objects,
    /// In what is generated for an instance.
    Generated,
    /// In whether an object is ready, and what a poll says.
    Readiness,
    /// In whether a pod's volume claims may be deleted.
    Claims,
    /// In the outputs of an instance.
    Outputs,
    /// In dashboard and metadata of an instance.
    Display,
    /// In the database of a binding.
    Database,
    /// In the answer to parameters of a new instance, an update and a binding.
    Parameters,
    /// In the rights that the plan needs.
    Rights,
    /// In whether the plan can be ordered.
    Reason,
    /// In a value that a service acts on: its crate, what it calls, the value.
    Read(&'static str, &'static str, fn(&Bundle) -> String),
}

/// A row without anything else in the files.
fn alone(key: &'static str, one: &'static str, other: &'static str, seen: Seen) -> Row {
    within(key, "", one, other, seen)
}

fn within(
    key: &'static str,
    common: &'static str,
    one: &'static str,
    other: &'static str,
    seen: Seen,
) -> Row {
    Row {
        key,
        common,
        one,
        other,
        seen,
    }
}

const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n\
                        data: {values: \"{{ plan.values | tojson }}\"}\n";

/// The catalog of plan `p/a` with this plan.yaml and this service.yaml.
fn built(plan: &str, service: &str) -> Catalog {
    let mut tree = Tree::new();
    tree.insert("p/service.yaml", service);
    tree.insert("p/_base/plan.yaml", "description: that of the base\n");
    tree.insert("p/a/plan.yaml", plan);
    tree.insert("p/a/t.yaml", TEMPLATE);
    tree.insert("p/b/t.yaml", TEMPLATE);
    catalog::build(&[tree])
}

impl Seen {
    fn of(&self, key: &str, catalog: &Catalog) -> String {
        if matches!(self, Self::Fault) {
            return format!("{:?}", catalog.faults);
        }
        assert_eq!(catalog.faults, [], "{key}");
        let mut plans = catalog.plans.iter();
        let bundle = plans.find(|bundle| bundle.name() == "a").unwrap();
        let loaded = Loaded::new(Arc::clone(bundle)).unwrap();
        let variables = variables();
        match self {
            Self::Fault => String::new(),
            Self::Entry => {
                let mut entry = wire::plan(bundle).unwrap();
                // Every key changes it, whether it does anything or not.
                entry.bundle_digest.clear();
                format!("{entry:?}")
            }
            Self::Offering => {
                let offering = wire::offering(bundle, false, Vec::new()).unwrap();
                format!("{} {offering:?}", wire_json(&offering))
            }
            Self::Objects => {
                let files = loaded.render(&variables).unwrap();
                let objects = files.iter().flat_map(|file| &file.objects);
                json!(objects.collect::<Vec<_>>()).to_string()
            }
            Self::Generated => format!("{:?}", loaded.generate(&variables).unwrap()),
            Self::Readiness => {
                let object = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"},
                });
                let now = "2026-01-01T00:00:00Z".parse().unwrap();
                format!("{:?}", loaded.readiness(&object, &object, &variables, now))
            }
            Self::Claims => {
                let rules = &bundle.descriptor().claims;
                let judged = rules
                    .iter()
                    .map(|(set, rule)| (set, loaded.membership(rule, &json!({}), 0, &variables)));
                format!("{:?}", judged.collect::<Vec<_>>())
            }
            Self::Outputs => json!(loaded.outputs(&variables, &[]).unwrap()).to_string(),
            Self::Display => format!("{:?}", loaded.display(&variables).unwrap()),
            Self::Database => {
                let outputs = loaded.outputs(&variables, &[]).unwrap();
                let known = Variables {
                    outputs,
                    ..variables
                };
                let database = loaded.database(&known).unwrap();
                let (password, ca) = (&database.admin.password, &database.tls.ca);
                format!("{database:?} {password} {ca:?}")
            }
            Self::Parameters => {
                let sent = Map::from_iter([("x".to_owned(), json!(1))]);
                let none = bundle.create_parameters(&Map::new()).unwrap();
                format!(
                    "{:?} {:?} {:?}",
                    bundle.create_parameters(&sent),
                    bundle.update_parameters(&none, &sent),
                    bundle.bind_parameters(&sent)
                )
            }
            Self::Rights => {
                let rules = plan::rbac::rules([bundle.as_ref()]).unwrap();
                json!(rules).to_string()
            }
            Self::Reason => Facts::default().reason(bundle, "broker"),
            Self::Read(_, _, value) => value(bundle),
        }
    }
}

/// What `Debug` leaves out: the secret of a dashboard's client.
fn wire_json(offering: &broker_proto::v1::Offering) -> String {
    let client = offering.dashboard_client.as_ref();
    format!("{:?}", client.map(|client| &client.fields))
}

fn variables() -> Variables {
    let generated = json!({"g": "that of g", "h": "that of h"});
    Variables {
        instance: Instance {
            id: "id".to_owned(),
            name: "name".to_owned(),
            namespace: "namespace".to_owned(),
        },
        generated: generated.as_object().cloned().unwrap(),
        ..Variables::default()
    }
}

/// All keys of a JSON Schema, `*` for any name and `[]` for any item.
fn keys(schema: &str) -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    keys
}

fn collect(whole: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    if let Some(reference) = schema["$ref"].as_str() {
        // Of a parameter's schema only this is ours; the rest is JSON Schema.
        if reference.ends_with("/ParameterSchema") {
            keys.insert(below("inherit"));
            return;
        }
        let pointer = reference.trim_start_matches('#');
        collect(whole, whole.pointer(pointer).unwrap(), path, keys);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        keys.insert(below(name));
        collect(whole, property, &below(name), keys);
    }
    collect_if_any(whole, &schema["additionalProperties"], &below("*"), keys);
    collect_if_any(whole, &schema["items"], &below("[]"), keys);
    for list in ["anyOf", "oneOf", "allOf"] {
        for choice in schema[list].as_array().into_iter().flatten() {
            collect(whole, choice, path, keys);
        }
    }
}

fn collect_if_any(whole: &Value, schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    if schema.is_object() {
        collect(whole, schema, path, keys);
    }
}

/// The places at which two values differ.
fn differences(one: &Value, other: &Value, path: &str, found: &mut Vec<String>) {
    let below = |name: &str| format!("{path}.{name}");
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let of = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differences(&of(one), &of(other), &below(name), found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (one, other) in one.iter().zip(other) {
                differences(one, other, &below("[]"), found);
            }
        }
        (one, other) if one == other => {}
        _ => found.push(path.trim_start_matches('.').to_owned()),
    }
}

/// Whether a place is that of a key, or inside of it.
fn belongs(place: &str, key: &str) -> bool {
    let mut place = place.split('.');
    key.split('.')
        .all(|part| place.next().is_some_and(|at| part == "*" || part == at))
}

/// The lines of code of a crate.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

/// Checks a table against the schema of its file.
fn check(rows: &[Row], schema: &str, build: impl Fn(&str) -> Catalog) {
    let known: BTreeSet<String> = rows.iter().map(|row| row.key.to_owned()).collect();
    let keys = keys(schema);
    let missing: Vec<_> = keys.difference(&known).collect();
    assert!(missing.is_empty(), "keys without a row: {missing:?}");
    let stale: Vec<_> = known.difference(&keys).collect();
    assert!(stale.is_empty(), "rows without a key: {stale:?}");
    let mut idle = Vec::new();
    for row in rows {
        let key = row.key;
        let texts = [row.one, row.other].map(|text| format!("{}{text}\n", row.common));
        let [one, other] =
            [&texts[0], &texts[1]].map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
        let mut places = Vec::new();
        differences(&one, &other, "", &mut places);
        let strange: Vec<_> = places.iter().filter(|place| !belongs(place, key)).collect();
        assert!(
            !places.is_empty() && strange.is_empty(),
            "{key}: the files differ in {places:?}"
        );
        let [one, other] = texts.each_ref().map(|text| row.seen.of(key, &build(text)));
        if one == other {
            idle.push(key);
        }
        if let Seen::Read(service, call, _) = row.seen {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let sources = sources(&root.join(service).join("src"));
            assert!(
                sources.contains(call),
                "{key}: {service} does not call {call}"
            );
        }
    }
    assert!(idle.is_empty(), "keys that do nothing: {idle:?}");
}

#[test]
fn each_key_of_plan_yaml_does_something() {
    check(&rows::of_plan(), PLAN_SCHEMA, |text| built(text, ""));
}

#[test]
fn each_key_of_service_yaml_does_something() {
    check(&rows::of_service(), SERVICE_SCHEMA, |text| built("", text));
}
