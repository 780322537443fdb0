//! Roots and variables to test with.

use std::path::Path;
use std::sync::Arc;

use plan::variables::{Broker, Instance, Variables};
use plan::{Bundle, Catalog, Loaded, Tree};
use serde_json::{Map, Value};

use crate::folder;

/// The fixtures as a root.
pub(crate) fn fixtures() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder::read(&root)
}

/// A root of a few files.
pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (path, content) in files {
        tree.insert(path, *content);
    }
    tree
}

/// The catalog of a few files.
pub(crate) fn catalog(files: &[(&str, &str)]) -> Catalog {
    plan::catalog::build(&[tree(files)])
}

/// The only plan of a few files.
pub(crate) fn only(files: &[(&str, &str)]) -> Arc<Bundle> {
    let catalog = catalog(files);
    assert_eq!(catalog.faults, [], "faults: {}", shown(&catalog));
    Arc::clone(&catalog.plans[0])
}

/// A plan of one template, `t.yaml`, and a descriptor.
pub(crate) fn load(descriptor: &str, template: &str) -> Loaded {
    let bundle = only(&[
        ("p/plan/plan.yaml", descriptor),
        ("p/plan/t.yaml", template),
    ]);
    Loaded::new(bundle).unwrap()
}

pub(crate) fn shown(catalog: &Catalog) -> String {
    catalog
        .faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("no object: {other}"),
    }
}

/// Variables of an instance with some parameters.
pub(crate) fn variables(parameters: Value) -> Variables {
    Variables {
        instance: Instance {
            id: "id".to_owned(),
            name: "mabc".to_owned(),
            namespace: "ns-abc".to_owned(),
        },
        parameters: object(parameters),
        broker: Broker {
            cluster_domain: "cluster.local".to_owned(),
            namespace: "broker".to_owned(),
            ..Broker::default()
        },
        ..Variables::default()
    }
}
