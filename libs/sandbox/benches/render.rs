//! What it costs that plans are evaluated in a process of their own:
//! `cargo bench --package sandbox`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{process::ExitCode, sync::Arc};

use criterion::Criterion;
use plan::{
    Loaded, Tree, Variables, catalog,
    variables::{Broker, Instance},
};
use sandbox::{Program, Sandbox, SandboxArgs};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const PLAN: &str = "
generate: {admin: {type: password}}
parameters: {create: {properties: {members: {type: integer, minimum: 1, maximum: 7, default: 3}}}}
outputs: {hosts: \"{{ name }}:27017\"}
";
const TEMPLATE: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: "{{ name }}-key"}
stringData: {key: "{{ generated.admin }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ name }}-config"}
data:
  hosts: "{% for i in range(members) %}{{ name }}-{{ i }}.{{ name }},{% endfor %}"
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
  replicas: "{{ members }}"
  selector: {matchLabels: {app: "{{ name }}"}}
  template:
    metadata: {labels: {app: "{{ name }}"}}
    spec:
      containers:
        - name: mongod
          image: mongo:8.0
          args: [--replSet, "{{ name }}", --bind_ip_all]
"#;

fn main() -> ExitCode {
    // The benchmark is its own program for evaluations.
    if let Some(code) = sandbox::asked_for() {
        return code;
    }
    let mut criterion = Criterion::default().configure_from_args();
    compare(&mut criterion);
    criterion.final_summary();
    ExitCode::SUCCESS
}

fn compare(criterion: &mut Criterion) {
    let mut tree = Tree::new();
    tree.insert("bench/four/plan.yaml", PLAN);
    tree.insert("bench/four/objects.yaml", TEMPLATE);
    let built = catalog::build(&[tree]);
    assert_eq!(built.faults, [], "the benchmark's own plan");
    let plan = Loaded::new(Arc::clone(built.plans.first().unwrap())).unwrap();
    let variables = variables();
    let runtime = Runtime::new().unwrap();
    let render = async |sandbox: &Sandbox| {
        let file = sandbox.render_file(&plan, "objects.yaml", &variables).await;
        file.unwrap().unwrap()
    };
    criterion.bench_function("render four objects, in this process", |bencher| {
        bencher.iter(|| plan.render_file("objects.yaml", &variables).unwrap());
    });
    let own = Sandbox::new(&SandboxArgs::default());
    criterion.bench_function("render four objects, in a process that runs", |bencher| {
        bencher.iter(|| runtime.block_on(render(&own)));
    });
    criterion.bench_function("render four objects, in a new process", |bencher| {
        bencher.iter(|| {
            own.rest();
            runtime.block_on(render(&own))
        });
    });
    let objects: Vec<(Value, Value)> = plan
        .render_file("objects.yaml", &variables)
        .unwrap()
        .objects
        .into_iter()
        .map(|object| (object.clone(), object))
        .collect();
    criterion.bench_function("judge four objects, in a process that runs", |bencher| {
        bencher.iter(|| {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let judged = own.readiness(&plan, &objects, &variables, now);
            runtime.block_on(judged).unwrap()
        });
    });
    let here = Sandbox::new(&SandboxArgs {
        program: Program::Here,
        ..SandboxArgs::default()
    });
    criterion.bench_function("render four objects, as messages alone", |bencher| {
        bencher.iter(|| runtime.block_on(render(&here)));
    });
}

fn variables() -> Variables {
    let object = |value: Value| value.as_object().cloned().unwrap_or_default();
    Variables {
        instance: Instance {
            id: "7f3c1a52".to_owned(),
            name: "m7f3c1a52".to_owned(),
            namespace: "mdb-7f3c1a52".to_owned(),
        },
        parameters: object(json!({"members": 3})),
        generated: object(json!({"admin": "0123456789abcdef0123456789abcdef"})),
        broker: Broker::default(),
        ..Variables::default()
    }
}
