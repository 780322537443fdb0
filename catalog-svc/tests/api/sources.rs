//! Several roots, and plans in ConfigMaps.

use std::collections::BTreeMap;

use catalog_svc::Args;
use k8s_openapi::api::{core::v1::ConfigMap, events::v1::Event};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};

use crate::fixture::{MAP, Templates, TestApp, client, eventually, namespace};

const FIXED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n";

fn plan_map(name: &str, label: &str, files: &[(&str, &str)]) -> ConfigMap {
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([text(&("mongodb-osb.io/plan", label))])),
            ..ObjectMeta::default()
        },
        data: Some(files.iter().map(text).collect()),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn a_plan_in_a_config_map_comes_and_goes_with_it() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let shipped = app.plan("map", "the shipped plan", |_| true).await;

    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let plan = "description: The site's.\nparameters: {create: {properties: {color: {enum: [red], default: red}}}}\n";
    let files = [("plan.yaml", plan), ("10-map.yaml", MAP)];
    let parameters = PostParams::default();
    api.create(&parameters, &plan_map("new", "mongodb.tiny", &files))
        .await
        .unwrap();
    api.create(&parameters, &plan_map("over", "mongodb.map", &files))
        .await
        .unwrap();
    let service = [("service.yaml", "tags: [from-a-config-map]\n")];
    api.create(&parameters, &plan_map("service", "mongodb", &service))
        .await
        .unwrap();

    app.plan("tiny", "a new plan", |_| true).await;
    app.plan("map", "the site's version", |plan| {
        plan.description == "The site's."
    })
    .await;
    let tagged = |tags: &[String]| tags == ["from-a-config-map"];
    app.catalog("the tag", |snapshot| tagged(&snapshot.offerings[0].tags))
        .await;

    for name in ["new", "over", "service"] {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    app.plan("map", "the shipped version", |plan| {
        plan.bundle_digest == shipped.bundle_digest
    })
    .await;
    app.catalog("one plan", |snapshot| {
        snapshot.offerings[0].plans.len() == 1
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn a_config_map_tells_once_what_became_of_its_plan() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    // Both say the same, so one event is there.
    let replicas = [
        TestApp::start(&client, &namespace, &templates).await,
        TestApp::start(&client, &namespace, &templates).await,
    ];
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let told = async |reason: &str| {
        let found = events.list(&ListParams::default()).await.unwrap().items;
        let found = found.into_iter().filter(|event| {
            let on = event.regarding.as_ref().and_then(|on| on.name.as_deref());
            event.reason.as_deref() == Some(reason) && on == Some("mine")
        });
        found.collect::<Vec<_>>()
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let files = [("plan.yaml", "descripton: Mine.\n"), ("10-map.yaml", FIXED)];
    api.create(
        &PostParams::default(),
        &plan_map("mine", "mongodb.mine", &files),
    )
    .await
    .unwrap();
    let fault = eventually("an event", || async { told("PlanFault").await.pop() }).await;
    let note = fault.note.unwrap();
    assert!(
        note.starts_with("mongodb/mine/plan.yaml:1:1: unknown key \"descripton\""),
        "{note}"
    );
    assert!(note.ends_with("The plan is not in the catalog."), "{note}");
    assert_eq!(fault.type_.as_deref(), Some("Warning"));

    let mended = serde_json::json!({"data": {"plan.yaml": "description: Mine.\n"}});
    api.patch("mine", &PatchParams::default(), &Patch::Merge(mended))
        .await
        .unwrap();
    eventually("an event", || async { told("PlanServed").await.pop() }).await;
    for app in &replicas {
        app.plan("mine", "the plan", |_| true).await;
    }
    for app in replicas {
        app.stop().await;
    }
    assert_eq!(told("PlanFault").await.len(), 1);
    assert_eq!(told("PlanServed").await.len(), 1);
}

#[tokio::test]
async fn a_later_root_overrides_an_earlier_one_and_one_that_does_not_exist_is_empty() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let (shipped, site) = (Templates::with_plan(), Templates::new());
    site.plan("map", "description: The site's.\n");
    let roots = vec![shipped.path(), site.path().join("nowhere"), site.path()];
    let app = TestApp::start_with(&client, Args::for_tests(roots, &namespace)).await;
    let plan = app.plan("map", "the plan", |_| true).await;
    assert_eq!(plan.description, "The site's.");
    app.stop().await;
}
