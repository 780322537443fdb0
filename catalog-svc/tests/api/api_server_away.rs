//! The API server goes away and comes back.

use std::time::Duration;

use testbed::ControlPlane;

use crate::fixture::{Templates, TestApp, eventually, namespace, stored};

#[tokio::test]
async fn what_is_in_memory_is_served_and_nothing_new_until_it_can_be_stored() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.client();
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let first = app.plan("map", "the plan", |_| true).await;

    control_plane.stop_api_server().await;
    templates.plan("map", "description: Another.\n");
    let report = app
        .report("map", "the edit is held back", |report| report.last_good)
        .await;
    assert_eq!(report.served_digest, first.bundle_digest);
    assert!(app.bundle(&first.bundle_digest).await.is_ok());
    let unknown = app.bundle(&"0".repeat(64)).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unavailable);

    control_plane.start_api_server().await.unwrap();
    let second = app
        .plan("map", "the edit", |plan| plan.description == "Another.")
        .await;
    let maps = stored(&client, &namespace, &second.bundle_digest).await;
    assert_eq!(maps.len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_start_without_an_api_server_waits_for_it() {
    let control_plane = ControlPlane::start().await.unwrap();
    let client = control_plane.client();
    let namespace = namespace(&client).await;
    control_plane.stop_api_server().await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    eventually("the admin port", || async {
        app.admin("/live")
            .await
            .starts_with("HTTP/1.1 200")
            .then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!app.is_ready().await);
    control_plane.start_api_server().await.unwrap();
    app.plan("map", "the plan", |_| true).await;
    app.stop().await;
}
