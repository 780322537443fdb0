//! Several roots, and plans in ConfigMaps.

use std::collections::BTreeMap;

use catalog_svc::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};

use crate::fixture::{MAP, Templates, TestApp, client, namespace};

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
