//! Kinds that the broker does not know by itself: asked from the cluster, or read
//! from files.

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::fixture::{Templates, TestApp, client, control_plane, eventually, namespace, program};

fn definition(group: &str, kind: &str, plural: &str, scope: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": scope,
            "names": {"plural": plural, "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

/// Installs a definition, once an earlier one of its name is gone, and waits
/// until its kind is served.
async fn install(client: &Client, definition: &Value) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let object: CustomResourceDefinition = serde_json::from_value(definition.clone()).unwrap();
    eventually("the definition", || async {
        api.create(&PostParams::default(), &object).await.ok()
    })
    .await;
    let group = definition["spec"]["group"].as_str().unwrap();
    let version = format!("{group}/v1");
    eventually("its API", || async {
        client.list_api_group_resources(&version).await.ok()
    })
    .await;
}

fn object(api_version: &str, kind: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: it}}\n")
}

#[tokio::test]
async fn a_plan_is_there_from_the_first_moment_it_can_be_ordered_and_then_it_stays() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let version = "later.example.com/v1";
    templates.write("mongodb/late/1.yaml", &object(version, "MongoDbStandalone"));
    let app = TestApp::start(&client, &namespace, &templates).await;
    app.plan("map", "the other plan", |_| true).await;
    let report = app.report("late", "the fault", |_| true).await;
    assert_eq!(report.served_digest, "");
    let fault = &report.faults[0].message;
    assert!(
        fault.contains("this cluster does not serve it; install the operator"),
        "{fault}"
    );

    let group = "later.example.com";
    let crd = definition(group, "MongoDbStandalone", "standalonia", "Namespaced");
    install(&client, &crd).await;
    let plan = app
        .plan("late", "the plan", |plan| {
            plan.not_orderable_reason.is_empty()
        })
        .await;
    let content = app.bundle(&plan.bundle_digest).await.unwrap();
    let content = String::from_utf8(content).unwrap();
    let kind = format!("{version}/MongoDbStandalone=standalonia");
    assert!(content.contains(&kind), "{content}");

    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = crd["metadata"]["name"].as_str().unwrap();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let report = app
        .report("late", "the fault of a plan that is served", |report| {
            report.last_good && !report.not_orderable_reason.is_empty()
        })
        .await;
    assert_eq!(report.served_digest, plan.bundle_digest);
    let barred = app.plan("late", "the plan", |_| true).await;
    let reason = barred.not_orderable_reason;
    assert!(
        reason.contains(&format!("does not serve {version}/MongoDbStandalone")),
        "{reason}"
    );

    install(&client, &crd).await;
    let again = app
        .plan("late", "the plan, orderable again", |plan| {
            plan.not_orderable_reason.is_empty()
        })
        .await;
    assert_eq!(again.bundle_digest, plan.bundle_digest);
    app.report("late", "no fault", |report| {
        !report.last_good && report.faults.is_empty()
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn a_kind_outside_of_namespaces_is_refused_whoever_brings_it() {
    let client = client().await;
    let namespace = namespace(&client).await;
    install(
        &client,
        &definition("outside.example.com", "World", "worlds", "Cluster"),
    )
    .await;
    let templates = Templates::new();
    let world = object("outside.example.com/v1", "World");
    templates.write("mongodb/found/1.yaml", &world);
    templates.write("mongodb/listed/1.yaml", &world);
    templates.write(
        "mongodb/listed/plan.yaml",
        "kinds: [outside.example.com/v1/World=worlds]\n",
    );
    let app = TestApp::start(&client, &namespace, &templates).await;
    for plan in ["found", "listed"] {
        let report = app.report(plan, "the fault", |_| true).await;
        let fault = &report.faults[0].message;
        assert!(fault.contains("lives outside of namespaces"), "{fault}");
        assert_eq!(report.served_digest, "");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_version_that_the_cluster_does_not_serve_cannot_be_ordered() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::new();
    templates.write("mongodb/old/1.yaml", &object("apps/v1beta1", "Deployment"));
    templates.write(
        "mongodb/catalog/plan.yaml",
        "kinds: [servicecatalog.k8s.io/v1beta1/ServiceInstance=serviceinstances]\n",
    );
    templates.write(
        "mongodb/catalog/1.yaml",
        &object("servicecatalog.k8s.io/v1beta1", "ServiceInstance"),
    );
    let app = TestApp::start(&client, &namespace, &templates).await;
    for (plan, told) in [
        (
            "old",
            "does not serve apps/v1beta1/Deployment; the plan has to name an apiVersion",
        ),
        (
            "catalog",
            "does not serve servicecatalog.k8s.io/v1beta1/ServiceInstance; install",
        ),
    ] {
        let served = app.plan(plan, "the plan", |_| true).await;
        let reason = served.not_orderable_reason;
        assert!(reason.contains(told), "{reason}");
        let report = app.report(plan, "the report", |_| true).await;
        assert_eq!(report.not_orderable_reason, reason);
    }
    app.stop().await;
}

/// What a command prints, and how it ends.
fn run(arguments: &[&str], kubeconfig: &std::path::Path) -> (Option<i32>, String, String) {
    let mut command = program();
    let output = command
        .env("KUBECONFIG", kubeconfig)
        .arg("plan")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn commands_ask_the_cluster_if_they_are_told_to() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let crd = definition("asked.example.com", "Gadget", "gadgetry", "Namespaced");
    install(&client, &crd).await;
    let kubeconfig = control_plane().await.kubeconfig();
    let templates = Templates::new();
    let gadget = object("asked.example.com/v1", "Gadget");
    templates.write("mongodb/gadget/1.yaml", &gadget);
    let root = templates.path();
    let root = root.to_str().unwrap();

    let (code, out, _) = run(&["lint", root], kubeconfig);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("--crds FILE") && out.contains("--cluster"),
        "{out}"
    );
    let (code, out, err) = run(&["lint", "--cluster", root], kubeconfig);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "1 valid plan, 0 faults\n"),
        "{err}"
    );
    let (code, out, err) = run(&["rbac", "--cluster", root], kubeconfig);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("resources: [gadgetry]"), "{out}");

    // Who asks for the plans in the cluster asks it for their kinds, too.
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "gadget", "labels": {"mongodb-osb.io/plan": "site.gadget"}},
        "data": {"1.yaml": gadget},
    }))
    .unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    api.create(&PostParams::default(), &map).await.unwrap();
    let shipped = Templates::with_plan();
    let others = shipped.path();
    let arguments = [
        "rbac",
        "--config-maps",
        "--plans-namespace",
        &namespace,
        others.to_str().unwrap(),
    ];
    let (code, out, err) = run(&arguments, kubeconfig);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("resources: [gadgetry]"), "{out}");

    let nowhere = std::path::Path::new("/does/not/exist");
    let (code, _, err) = run(&["lint", "--cluster", root], nowhere);
    assert_eq!(code, Some(64), "{err}");
}

#[test]
fn commands_read_definitions_from_files() {
    let nowhere = std::path::Path::new("/does/not/exist");
    let templates = Templates::new();
    let widget = object("example.com/v1", "Widget");
    templates.write(
        "mongodb/widget/1.yaml",
        &format!("{widget}spec: {{size: \"3\", sise: 3}}\n"),
    );
    let root = templates.path();
    let root = root.to_str().unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, documents: &[Value]| {
        let documents = documents.iter();
        let text: String = documents
            .flat_map(|document| {
                [
                    "---\n".to_owned(),
                    serde_saphyr::to_string(document).unwrap(),
                ]
            })
            .collect();
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let crd = definition("example.com", "Widget", "widgetry", "Namespaced");
    let other = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "operator"}});
    // Beside others, and as kubectl prints several.
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [crd.clone()]});
    let list = file("list.yaml", &[list]);
    let (_, out, _) = run(&["lint", "--crds", &list, root], nowhere);
    assert!(out.contains("spec.size must be an integer"), "{out}");
    let good = file("good.yaml", &[other.clone(), crd]);
    let (code, out, err) = run(&["lint", "--crds", &good, root], nowhere);
    assert_eq!(code, Some(1), "{err}");
    for told in [
        "1.yaml:4:8: spec.size must be an integer, and is a string",
        "warning: \"sise\" is not a known field of spec, did you mean \"size\"?",
    ] {
        assert!(out.contains(told), "{told}: {out}");
    }
    templates.write(
        "mongodb/widget/1.yaml",
        &format!("{widget}spec: {{size: 3}}\n"),
    );
    let (code, out, err) = run(&["rbac", "--crds", &good, root], nowhere);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("resources: [widgetry]"), "{out}");
    for command in [
        &["docs", "--plan", "mongodb/widget"][..],
        &["render", "--plan", "mongodb/widget"],
        &["configmap", "--plan", "mongodb/widget"],
    ] {
        let arguments = [command, &["--crds", &good, root]].concat();
        let (code, out, err) = run(&arguments, nowhere);
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("Widget"), "{out}");
    }

    let none = file("none.yaml", &[other]);
    let (code, _, err) = run(&["lint", "--crds", &good, "--crds", &none, root], nowhere);
    assert_eq!(code, Some(64));
    assert!(
        err.contains("none.yaml") && err.contains("there is no CustomResourceDefinition"),
        "{err}"
    );
}
