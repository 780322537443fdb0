//! What the broker does with a plan, without a cluster: `make bench-plans`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark fails by panicking"
)]

#[path = "../tests/api/folder.rs"]
mod folder;

use std::{hint::black_box, path::Path, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use plan::{
    Loaded, Tree, catalog,
    variables::{Instance, Variables},
};
use serde_json::{Map, Value, json};

const SERVICE: &str = "description: A service\n";
const PLAN: &str = "
description: A plan of four objects
parameters:
  create:
    properties:
      members: {type: integer, minimum: 1, maximum: 7, default: 3}
      title: {type: string, maxLength: 60, default: none}
kinds: [v1/Secret, v1/ConfigMap, v1/Service, apps/v1/StatefulSet]
";
const TEMPLATE: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: "{{ name }}-key"}
stringData: {key: "{{ instance.id }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ name }}-config"}
data:
  title: "{{ parameters.title }}"
  hosts: "{% for i in range(parameters.members) %}{{ name }}-{{ i }}.{{ name }},{% endfor %}"
---
apiVersion: v1
kind: Service
metadata: {name: "{{ name }}"}
spec:
  clusterIP: None
  selector: {app: "{{ name }}"}
  ports: [{name: mongodb, port: 27017}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: "{{ name }}"}
spec:
  serviceName: "{{ name }}"
  replicas: "{{ parameters.members }}"
  selector: {matchLabels: {app: "{{ name }}"}}
  template:
    metadata: {labels: {app: "{{ name }}"}}
    spec:
      containers:
        - name: mongod
          image: mongo:8.0
          args: [--replSet, "{{ name }}", --bind_ip_all]
"#;

fn plans(criterion: &mut Criterion) {
    let shipped = shipped();
    criterion.bench_function("read and check the shipped plans", |bencher| {
        bencher.iter(|| catalog::build(std::slice::from_ref(&shipped)));
    });

    let built = catalog::build(&[four_objects()]);
    assert_eq!(built.faults, [], "the benchmark's own plan");
    let bundle = Arc::clone(built.plans.first().unwrap());
    criterion.bench_function("prepare the templates of a plan", |bencher| {
        bencher.iter(|| Loaded::new(Arc::clone(&bundle)).unwrap());
    });

    let sent = object(json!({"title": "ledger"}));
    criterion.bench_function("check parameters", |bencher| {
        bencher.iter(|| bundle.create_parameters(black_box(&sent)).unwrap());
    });

    let loaded = Loaded::new(Arc::clone(&bundle)).unwrap();
    let variables = Variables {
        instance: Instance {
            id: "7f3c1a52".to_owned(),
            name: "m7f3c1a52".to_owned(),
            namespace: "mdb-7f3c1a52".to_owned(),
        },
        parameters: object(json!({"members": 3, "title": "ledger"})),
        ..Variables::default()
    };
    let files = loaded.render(&variables).unwrap();
    assert_eq!(
        files.iter().map(|file| file.objects.len()).sum::<usize>(),
        4
    );
    criterion.bench_function("render four objects", |bencher| {
        bencher.iter(|| loaded.render(black_box(&variables)).unwrap());
    });
}

fn four_objects() -> Tree {
    let mut tree = Tree::new();
    tree.insert("bench/service.yaml", SERVICE);
    tree.insert("bench/four/plan.yaml", PLAN);
    tree.insert("bench/four/objects.yaml", TEMPLATE);
    tree
}

/// The plans that the broker comes with.
fn shipped() -> Tree {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalog-svc/templates");
    folder::read(&root)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("no object: {other}"),
    }
}

criterion_group!(benches, plans);
criterion_main!(benches);
