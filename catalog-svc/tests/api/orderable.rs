//! Plans that this cluster cannot have.

use broker_proto::v1::CatalogSnapshot;
use catalog_svc::Args;
use k8s_openapi::{
    api::{core::v1::ConfigMap, rbac::v1::ClusterRole},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use testbed::ControlPlane;

use crate::fixture::{Templates, TestApp, client, control_plane, eventually, namespace, program};

#[tokio::test]
async fn a_plan_waits_for_the_kinds_that_it_requires() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::new();
    templates.plan("map", "requires: [example.com/v1/Widget, v1/ConfigMap]\n");
    let app = TestApp::start(&client, &namespace, &templates).await;
    let plan = app.plan("map", "the plan", |_| true).await;
    let reason = plan.not_orderable_reason;
    assert!(reason.contains("example.com/v1/Widget"), "{reason}");
    assert!(!reason.contains("ConfigMap"), "{reason}");

    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        },
    }))
    .unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &crd).await.unwrap();
    app.plan("map", "an orderable plan", |plan| {
        plan.not_orderable_reason.is_empty()
    })
    .await;
    app.stop().await;
}

/// A control plane of its own: the role has one name in the whole cluster.
#[tokio::test]
async fn a_plan_that_the_cluster_role_does_not_cover_says_what_mends_it() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.client();
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let mut args = Args::for_tests(vec![templates.path()], &namespace);
    args.check_rights = true;
    let app = TestApp::start_with(&client, args).await;
    let plan = app.plan("map", "the plan", |_| true).await;
    let reason = plan.not_orderable_reason;
    assert!(
        reason.contains("plan rbac") && reason.contains("kubectl apply"),
        "{reason}"
    );

    let output = program()
        .args(["plan", "rbac"])
        .arg(templates.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let role: ClusterRole = serde_saphyr::from_slice(&output.stdout).unwrap();
    let api: Api<ClusterRole> = Api::all(client.clone());
    api.create(&PostParams::default(), &role).await.unwrap();
    app.plan("map", "an orderable plan", |plan| {
        plan.not_orderable_reason.is_empty()
    })
    .await;

    templates.plan("map", "description: Another.\n");
    templates.write(
        "mongodb/map/plan.yaml",
        "kinds: [v1/ConfigMap, apps/v1/StatefulSet]\n\
         parameters: {create: {properties: {color: {enum: [red], default: red}}}}\n",
    );
    let reason = eventually("a reason", || async {
        let plan = app.plan("map", "the plan", |_| true).await;
        Some(plan.not_orderable_reason).filter(|reason| !reason.is_empty())
    })
    .await;
    assert!(reason.contains("statefulsets.apps"), "{reason}");
    app.stop().await;
}

#[tokio::test]
async fn the_role_covers_plans_in_config_maps_if_they_are_asked_for() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "widget", "labels": {"mongodb-osb.io/plan": "mongodb.widget"}},
        "data": {
            "plan.yaml": "kinds: [example.com/v1/Gadget=gadgetry]\n",
            "1.yaml": "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: it}\n",
        },
    }))
    .unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    api.create(&PostParams::default(), &map).await.unwrap();
    let templates = Templates::with_plan();
    let kubeconfig = control_plane().await.kubeconfig();
    let role = |flags: &[&str]| {
        let mut command = program();
        command.env("KUBECONFIG", kubeconfig).args([
            "plan",
            "rbac",
            "--plans-namespace",
            &namespace,
        ]);
        let output = command.args(flags).arg(templates.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!role(&[]).contains("gadgetry"));
    assert!(role(&["--config-maps"]).contains("resources: [gadgetry]"));

    // A plan that is gone: its instances need the role as before.
    let app = TestApp::start(&client, &namespace, &templates).await;
    app.plan("widget", "the plan", |_| true).await;
    api.delete("widget", &DeleteParams::default())
        .await
        .unwrap();
    let is_gone = |snapshot: &CatalogSnapshot| {
        let plans = snapshot
            .offerings
            .iter()
            .flat_map(|offering| &offering.plans);
        plans.into_iter().all(|plan| plan.name != "widget")
    };
    app.catalog("a catalog without it", is_gone).await;
    assert!(!role(&["--config-maps"]).contains("gadgetry"));
    let kept = [
        "--config-maps",
        "--in-use",
        "--bundles-namespace",
        &namespace,
    ];
    assert!(role(&kept).contains("resources: [gadgetry]"));
    app.stop().await;
}
