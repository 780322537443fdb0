//! What is served, and to whom.

use broker_proto::v1::{Plan, PlanReport, WatchCatalogRequest};
use futures::StreamExt as _;
use plan::{Bundle, id::Digest};
use tonic::Code;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::fixture::{Templates, TestApp, client, namespace, stored};

#[tokio::test]
async fn the_catalog_says_what_the_folders_say() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    templates.write(
        "mongodb/service.yaml",
        "name: mongodb-db\ndescription: Data.\ntags: [mongodb]\n",
    );
    let app = TestApp::start(&client, &namespace, &templates).await;

    let snapshot = app.catalog("a catalog", |_| true).await;
    let [offering] = snapshot.offerings.as_slice() else {
        panic!("one offering, not {:?}", snapshot.offerings);
    };
    assert_eq!(offering.name, "mongodb-db");
    assert_eq!(offering.tags, ["mongodb"]);
    let [plan] = offering.plans.as_slice() else {
        panic!("one plan, not {:?}", offering.plans);
    };
    assert_eq!(
        (plan.name.as_str(), plan.maintenance_version.as_str()),
        ("map", "1.0.0")
    );
    assert!(!plan.bindable && plan.free && plan.provision_async);
    assert_eq!(plan.not_orderable_reason, "");
    let schemas = broker_proto::json::from_struct(plan.schemas.clone().unwrap());
    let color = &schemas["service_instance"]["create"]["parameters"]["properties"]["color"];
    assert_eq!(color["default"], "red");

    assert!(app.is_ready().await);
    let metrics = app.admin("/metrics").await;
    assert!(metrics.contains("plans_served 1\n"), "{metrics}");
    assert!(metrics.contains("plan_faults 0\n"), "{metrics}");
    app.stop().await;
}

#[tokio::test]
async fn an_edit_is_seen_by_those_who_watch() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let first = app.catalog("a catalog", |_| true).await;

    let mut stream = app
        .catalog
        .clone()
        .watch_catalog(WatchCatalogRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        stream.next().await.unwrap().unwrap(),
        first,
        "the current one comes at once"
    );
    templates.plan("map", "description: Another.\n");
    let second = stream.next().await.unwrap().unwrap();
    assert_ne!(second.generation, first.generation);
    assert_eq!(second.offerings[0].plans[0].description, "Another.");

    // The older version is still there for those who pinned it.
    let old = &first.offerings[0].plans[0].bundle_digest;
    let content = app.bundle(old).await.unwrap();
    assert_eq!(Digest::of(&content).as_str(), old);

    app.stop().await;
    assert!(
        stream.next().await.is_none(),
        "the stream ends with the service"
    );
}

#[tokio::test]
async fn a_bundle_is_what_its_digest_says_and_an_unknown_one_is_unavailable() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let plan = app.plan("map", "the plan", |_| true).await;

    let digest: Digest = plan.bundle_digest.parse().unwrap();
    let content = app.bundle(digest.as_str()).await.unwrap();
    let bundle = Bundle::from_bytes(&content, &digest).unwrap();
    assert_eq!(bundle.plan_id().as_str(), plan.id);

    let unknown = app.bundle(&"0".repeat(64)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable);
    let malformed = app.bundle("what").await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    app.stop().await;
}

#[tokio::test]
async fn two_replicas_agree_and_store_a_bundle_once() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let (one, two) = tokio::join!(
        TestApp::start(&client, &namespace, &templates),
        TestApp::start(&client, &namespace, &templates),
    );
    let (first, second) = tokio::join!(
        one.catalog("a catalog", |_| true),
        two.catalog("a catalog", |_| true),
    );
    assert_eq!(first.generation, second.generation);
    assert_eq!(first.offerings, second.offerings);
    let digest = &first.offerings[0].plans[0].bundle_digest;
    assert_eq!(stored(&client, &namespace, digest).await.len(), 1);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_service_explains_itself() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    app.catalog("a catalog", |_| true).await;
    let endpoint = tonic::transport::Endpoint::try_from(format!("http://{}", app.address));
    let mut reflection = ServerReflectionClient::new(endpoint.unwrap().connect_lazy());
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let answers = reflection
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list: {answer:?}");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"mongodb_osb.v1.Catalog".to_owned()),
        "{names:?}"
    );
    app.stop().await;
}

#[tokio::test]
async fn other_content_is_another_version_or_a_warning() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    templates.write("mongodb/bare/map.yaml", FIXED);
    let app = TestApp::start(&client, &namespace, &templates).await;
    app.plan("map", "the plan", |_| true).await;
    let bare = app.plan("bare", "the plan", |_| true).await;
    let version = |plan: &Plan| format!("0.0.0+{}", &plan.bundle_digest[..12]);
    assert_eq!(bare.maintenance_version, version(&bare));

    templates.write("mongodb/bare/map.yaml", &FIXED.replace("map", "another"));
    let is_new = |plan: &Plan| plan.bundle_digest != bare.bundle_digest;
    let bare = app.plan("bare", "the change", is_new).await;
    assert_eq!(bare.maintenance_version, version(&bare));

    templates.plan("map", "description: Changed.\n");
    let is_warned = |report: &PlanReport| !report.warnings.is_empty();
    let report = app.report("map", "a warning", is_warned).await;
    let text = &report.warnings[0].message;
    assert!(text.contains("its version 1.0.0 did not"), "{text}");
    assert!(report.faults.is_empty() && !report.last_good);
    // Also at later looks, until it changes again.
    templates.plan("other", "");
    app.plan("other", "another plan", |_| true).await;
    app.report("map", "the same warning", is_warned).await;

    let lower = "parameters: {}\n";
    templates.write("mongodb/map/10-map.yaml", FIXED);
    templates.write("mongodb/map/plan.yaml", &format!("version: 0.9.0\n{lower}"));
    let is_lower = |report: &PlanReport| {
        let first = report.warnings.first();
        first.is_some_and(|warning| warning.message.contains("lower than 1.0.0"))
    };
    app.report("map", "the warning", is_lower).await;
    templates.write("mongodb/map/plan.yaml", &format!("version: 1.1.0\n{lower}"));
    app.report("map", "no warning", |report| report.warnings.is_empty())
        .await;
    app.report("bare", "no warning", |report| report.warnings.is_empty())
        .await;
    app.stop().await;
}

const FIXED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n";
