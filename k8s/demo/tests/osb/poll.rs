//! Rows LOI and LOB.

use serde_json::json;

use crate::platform::{Platform, incomplete, new_binding, new_instance};

/// LOI-01, LOI-02, LOI-10: one of three words; while it runs also when to come back.
#[tokio::test]
async fn a_poll_tells_one_of_three_states() {
    let platform = Platform::new().await;
    let (path, operation) = platform.waiting().await;
    let running = platform.poll(&path, &operation).await.expect(200);
    assert_eq!(running.state(), "in progress");
    let after = running.headers["retry-after"].to_str().unwrap();
    assert!(after.parse::<u32>().is_ok_and(|seconds| seconds > 0));
    platform.open(&path).await;
    let ended = platform.ended(&path, &operation).await;
    assert_eq!(ended.state(), "succeeded");
    assert!(!ended.headers.contains_key("retry-after"));
    for answer in [running, ended] {
        if answer.has("description") {
            assert!(!answer.text("description").is_empty());
        }
    }
}

/// LOI-03, LOI-05, LOB-02, LOB-04: what never was.
#[tokio::test]
async fn a_poll_of_nothing_is_404() {
    let platform = Platform::new().await;
    let path = new_instance();
    platform.poll(&path, "").await.refused(404, "NotFound");
    platform
        .poll(&new_binding(&path), "")
        .await
        .refused(404, "NotFound");
    let there = platform.instance("instant").await;
    platform
        .poll(&new_binding(&there), "x")
        .await
        .refused(404, "NotFound");
    platform.poll(&there, "%FF").await.expect(400);
    let (binding, _) = platform.binding(&there, "instant").await;
    platform.poll(&binding, "%FF").await.expect(400);
}

/// LOI-04, LOI-11, LOB-03, LOB-08: `succeeded` as often as it is asked, deletes included.
#[tokio::test]
async fn the_end_of_an_operation_is_told_again() {
    let platform = Platform::new().await;
    let (path, created) = platform.waiting().await;
    platform.open(&path).await;
    platform.ended(&path, &created).await;
    let (failed, _) = platform.failed().await;
    for _ in 0..3 {
        assert_eq!(
            platform.poll(&path, &created).await.expect(200).state(),
            "succeeded"
        );
        assert_eq!(
            platform.poll(&failed, "").await.expect(200).state(),
            "failed"
        );
    }
    let deleted = platform
        .remove(&path, "polled")
        .await
        .expect(202)
        .operation();
    platform.ended(&path, &deleted).await;
    for operation in [created.as_str(), &deleted, ""] {
        let answer = platform.poll(&path, operation).await.expect(200);
        assert_eq!(answer.state(), "succeeded");
    }
}

/// LOI-06, LOI-07, LOI-14, LOB-05: hints may lack or be stale; an operation
/// that nobody knows is the newest.
#[tokio::test]
async fn hints_and_unknown_operations_do_no_harm() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    let body = json!({
        "service_id": platform.service(), "plan_id": platform.plan("polled-large"),
        "parameters": {"gate": "shut"},
    });
    let answer = platform.patch(&incomplete(&path), &body).await.expect(202);
    let operation = answer.operation();
    // The plan before the update.
    let hints = platform.ids("polled");
    for query in [
        format!("{hints}&operation={operation}"),
        hints.clone(),
        format!("plan_id=stale&operation={operation}"),
        "operation=update".to_owned(),
        "operation=".to_owned(),
    ] {
        let answer = platform
            .get(&format!("{path}/last_operation?{query}"))
            .await;
        assert_eq!(answer.expect(200).state(), "in progress", "{query}");
    }
    platform.open(&path).await;
    assert_eq!(platform.ended(&path, &operation).await.state(), "succeeded");
}

/// LOI-08, LOI-09, LOI-12: a failure is 200, without what belongs to updates.
#[tokio::test]
async fn a_failed_provision_is_a_state_and_no_error() {
    let platform = Platform::new().await;
    let (path, _) = platform.failed().await;
    let answer = platform.poll(&path, "").await.expect(200);
    assert_eq!(answer.state(), "failed");
    assert!(!answer.text("description").is_empty());
    assert!(!answer.has("instance_usable") && !answer.has("update_repeatable"));
}

/// LOI-13, CAT-26: past its plan's deadline, which is shorter than
/// `maximum_polling_duration`, an operation has failed, and what it began can
/// be deleted.
#[tokio::test]
async fn an_operation_that_takes_too_long_fails() {
    let platform = Platform::new().await;
    let path = new_instance();
    let order = platform.order("hasty", json!({"gate": "shut"}));
    let answer = platform.put(&incomplete(&path), &order).await.expect(202);
    let ended = platform.ended(&path, &answer.operation()).await;
    assert_eq!(ended.state(), "failed");
    let deleted = platform
        .remove(&path, "hasty")
        .await
        .expect(202)
        .operation();
    assert_eq!(platform.ended(&path, &deleted).await.state(), "succeeded");
}

/// LOB-01, LOB-06, LOB-09, LOB-10, GB-01: of bindings as of instances.
#[tokio::test]
async fn a_poll_of_a_binding_ends_where_it_can_be_fetched() {
    let platform = Platform::new().await;
    let instance = platform.instance("queued").await;
    let path = new_binding(&instance);
    let body = platform.login("queued");
    let operation = platform
        .put(&incomplete(&path), &body)
        .await
        .expect(202)
        .operation();
    let ended = platform.ended(&path, &operation).await;
    assert_eq!(ended.state(), "succeeded");
    assert!(!ended.has("instance_usable") && !ended.has("update_repeatable"));
    platform.get(&path).await.expect(200);
    assert_eq!(
        platform.poll(&path, "").await.expect(200).state(),
        "succeeded"
    );
    let operation = platform
        .remove(&path, "queued")
        .await
        .expect(202)
        .operation();
    assert_eq!(platform.ended(&path, &operation).await.state(), "succeeded");
    assert_eq!(
        platform.poll(&path, "").await.expect(200).state(),
        "succeeded"
    );
}
