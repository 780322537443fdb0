//! Rows GI and GB: fetching instances and bindings.

use serde_json::json;

use crate::platform::{Platform, incomplete, new_binding, new_instance, works};

/// GI-01, GI-02, GI-05, GI-06, GI-09, CAT-13: at once after `succeeded`, with
/// or without hints.
#[tokio::test]
async fn an_instance_can_be_fetched_once_its_operation_succeeded() {
    let platform = Platform::new().await;
    let path = platform.instance_with("polled", json!({"size": "M"})).await;
    let answer = platform.get(&path).await.expect(200);
    assert_eq!(answer.text("service_id"), platform.service());
    assert_eq!(answer.text("plan_id"), platform.plan("polled"));
    assert_eq!(answer.body["parameters"], json!({"size": "M"}));
    assert_eq!(answer.body["maintenance_info"], json!({"version": "1.0.0"}));
    let hints = platform.ids("polled");
    let hinted = platform.get(&format!("{path}?{hints}")).await.expect(200);
    assert_eq!(hinted.body, answer.body);
}

/// GI-03: unknown, and still being made.
#[tokio::test]
async fn an_instance_that_is_not_there_yet_is_404() {
    let platform = Platform::new().await;
    platform.get(&new_instance()).await.refused(404, "NotFound");
    let (path, operation) = platform.waiting().await;
    platform.get(&path).await.refused(404, "NotFound");
    platform.open(&path).await;
    platform.ended(&path, &operation).await;
    platform.get(&path).await.expect(200);
}

/// GI-04: while it is updated, what was applied before is a consistent answer.
#[tokio::test]
async fn an_instance_that_is_updated_shows_what_is_applied() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    let operation = platform.updating(&path).await;
    let answer = platform.get(&path).await.expect(200);
    assert_eq!(answer.body["parameters"], json!({}));
    platform.open(&path).await;
    platform.ended(&path, &operation).await;
    let answer = platform.get(&path).await.expect(200);
    assert_eq!(answer.body["parameters"], json!({"gate": "shut"}));
}

/// GI-07, PRO-16, PRO-18: the dashboard is in the first answer, 202 included,
/// and metadata with it, by the platform's version.
#[tokio::test]
async fn the_dashboard_is_told_from_the_first_answer_on() {
    let platform = Platform::new().await;
    let path = new_instance();
    let order = platform.order("polled", json!({"gate": "shut"}));
    let first = platform.put(&incomplete(&path), &order).await.expect(202);
    let url = first.text("dashboard_url");
    assert!(url.starts_with("https://dash.example.com/"));
    assert_eq!(
        first.body["metadata"]["labels"],
        json!({"example.com/size": "S"})
    );
    assert!(first.body["metadata"]["attributes"]["kept"]["in"].is_string());
    let again = platform.put(&incomplete(&path), &order).await.expect(202);
    assert_eq!(again.body, first.body);
    platform.open(&path).await;
    platform.ended(&path, &first.operation()).await;
    let fetched = platform.get(&path).await.expect(200);
    assert_eq!(fetched.text("dashboard_url"), url);
    assert_eq!(fetched.body["metadata"], first.body["metadata"]);
    let older = Platform::of("2.16").await.get(&path).await.expect(200);
    assert_eq!(
        older.body["metadata"],
        json!({"labels": {"example.com/size": "S"}})
    );
    let oldest = Platform::of("2.13").await.get(&path).await.expect(200);
    assert!(!oldest.has("metadata"));
}

/// GB-01, GB-02, GB-04 to GB-06, CAT-14: at once after `succeeded`.
#[tokio::test]
async fn a_binding_can_be_fetched_once_its_operation_succeeded() {
    let platform = Platform::new().await;
    let instance = platform.instance("queued").await;
    let path = new_binding(&instance);
    let mut body = platform.login("queued");
    body["parameters"] = json!({"roles": ["readWrite"]});
    let answer = platform.put(&incomplete(&path), &body).await.expect(202);
    let ended = platform.ended(&path, &answer.operation()).await;
    assert_eq!(ended.state(), "succeeded");
    let fetched = platform.get(&path).await.expect(200);
    assert_eq!(fetched.body["parameters"], json!({"roles": ["readWrite"]}));
    assert!(works(&fetched.body["credentials"]).await);
    assert_eq!(fetched.body["endpoints"].as_array().unwrap().len(), 1);
    let hints = platform.ids("queued");
    platform.get(&format!("{path}?{hints}")).await.expect(200);
}

/// GB-03: unknown, gone, or of another instance.
#[tokio::test]
async fn a_binding_that_is_not_there_is_404() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let other = platform.instance("instant").await;
    platform
        .get(&new_binding(&instance))
        .await
        .refused(404, "NotFound");
    platform
        .get(&new_binding(&new_instance()))
        .await
        .refused(404, "NotFound");
    let (path, _) = platform.binding(&instance, "instant").await;
    let foreign = path.replace(&instance, &other);
    platform.get(&foreign).await.refused(404, "NotFound");
    platform.remove(&path, "instant").await.expect(200);
    platform.get(&path).await.refused(404, "NotFound");
}
