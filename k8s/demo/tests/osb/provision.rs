//! Rows PRO, and ASY for provisioning.

use serde_json::{Value, json};

use crate::platform::{Platform, incomplete, new_instance};

/// PRO-02 to PRO-06, PRO-15, BND-02: what is missing, empty, unknown or of another type.
#[tokio::test]
async fn an_order_that_lacks_something_is_400() {
    let platform = Platform::new().await;
    let path = new_instance();
    let other = platform.service_named("plain");
    for (key, value) in [
        ("service_id", Value::Null),
        ("service_id", json!("")),
        ("service_id", json!("unknown")),
        ("service_id", json!(other)),
        ("plan_id", Value::Null),
        ("plan_id", json!("")),
        ("plan_id", json!("unknown")),
        ("organization_guid", json!("")),
        ("organization_guid", Value::Null),
        ("space_guid", json!("")),
        ("space_guid", Value::Null),
        ("context", json!([])),
        ("parameters", json!("text")),
        ("maintenance_info", json!(1)),
    ] {
        let mut order = platform.order("polled", json!({}));
        order[key] = value.clone();
        let answer = platform.put(&incomplete(&path), &order).await;
        assert_eq!(answer.status, 400, "{key}: {value}");
    }
    platform.get(&path).await.expect(404);
}

/// PRO-07: the schema judges, by place and rule, and quotes no value.
#[tokio::test]
async fn parameters_are_judged_by_the_schema() {
    let platform = Platform::new().await;
    let path = new_instance();
    for parameters in [
        json!({"size": "hunter2"}),
        json!({"unknown": "hunter2"}),
        json!({"note": "hunter2".repeat(10)}),
    ] {
        let order = platform.order("polled", parameters);
        let answer = platform.put(&incomplete(&path), &order).await;
        let text = answer.refused(400, "BadRequest").text("description");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// PRO-08, PRO-19, ASY-01 to ASY-03, DEP-03: a synchronous plan is done in the
/// request, whatever `accepts_incomplete` says.
#[tokio::test]
async fn a_synchronous_plan_is_done_in_the_request() {
    let platform = Platform::new().await;
    for query in ["", "?accepts_incomplete=false", "?accepts_incomplete=true"] {
        let path = new_instance();
        let order = platform.order("instant", json!({}));
        let answer = platform
            .put(&format!("{path}{query}"), &order)
            .await
            .expect(201);
        assert!(!answer.has("operation"));
        assert!(platform.applied(&path).await.is_some());
        let gone = platform
            .delete(&format!("{path}?{}", platform.ids("instant")))
            .await;
        assert_eq!(gone.expect(200).body, json!({}));
    }
}

/// PRO-09, PRO-11, PRO-17, ASY-05, ASY-06, LIM-01: accepted, and the same
/// operation to everyone who asks the same.
#[tokio::test]
async fn an_asynchronous_plan_is_accepted_with_one_operation() {
    let platform = Platform::new().await;
    let path = new_instance();
    let order = platform.order("polled", json!({"gate": "shut"}));
    let first = platform.put(&incomplete(&path), &order).await.expect(202);
    assert!(first.operation().len() <= 10_000);
    for _ in 0..3 {
        let again = platform.put(&incomplete(&path), &order).await.expect(202);
        assert_eq!(again.operation(), first.operation());
    }
    let poll = platform.poll(&path, &first.operation()).await.expect(200);
    assert_eq!(poll.state(), "in progress");
    platform.open(&path).await;
    assert_eq!(
        platform.ended(&path, &first.operation()).await.state(),
        "succeeded"
    );
}

/// PRO-10: as often as it is asked; key order, `null` and `{}` make no difference.
#[tokio::test]
async fn the_same_order_again_is_200() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    for parameters in [json!({}), Value::Null, json!({"size": "S"})] {
        let order = platform.order("polled", parameters);
        let answer = platform.put(&incomplete(&path), &order).await.expect(200);
        assert!(!answer.has("operation") && answer.has("dashboard_url"));
    }
    // Neither context nor maintenance_info is part of what an instance is.
    let mut order = platform.order("polled", json!({}));
    order["context"]["instance_name"] = json!("renamed");
    order["maintenance_info"] = json!({"version": "1.0.0"});
    platform.put(&incomplete(&path), &order).await.expect(200);
}

/// PRO-12: while it is being made and after.
#[tokio::test]
async fn another_order_of_the_same_id_is_409() {
    let platform = Platform::new().await;
    let (path, operation) = platform.waiting().await;
    let base = platform.order("polled", json!({"gate": "shut"}));
    let mut others = vec![];
    for (key, value) in [
        ("plan_id", json!(platform.plan("polled-large"))),
        ("organization_guid", json!("other")),
        ("space_guid", json!("other")),
        ("parameters", json!({"gate": "shut", "size": "M"})),
    ] {
        let mut other = base.clone();
        other[key] = value;
        others.push(other);
    }
    for other in &others {
        platform
            .put(&incomplete(&path), other)
            .await
            .refused(409, "Conflict");
    }
    platform.open(&path).await;
    platform.ended(&path, &operation).await;
    for other in &others {
        platform
            .put(&incomplete(&path), other)
            .await
            .refused(409, "Conflict");
    }
    platform.put(&incomplete(&path), &base).await.expect(200);
}

/// PRO-13, ASY-04, E-03: only `true` is true.
#[tokio::test]
async fn an_asynchronous_plan_needs_polling() {
    let platform = Platform::new().await;
    let path = new_instance();
    let order = platform.order("polled", json!({}));
    for query in [
        "",
        "?accepts_incomplete=false",
        "?accepts_incomplete=1",
        "?accepts_incomplete=",
    ] {
        let answer = platform.put(&format!("{path}{query}"), &order).await;
        answer.refused(422, "AsyncRequired");
    }
    platform.get(&path).await.expect(404);
}

/// PRO-14, MI-01, MI-02, E-06: equal strings only; absent is fine, but not an
/// object without a version.
#[tokio::test]
async fn a_maintenance_version_is_the_catalogs_or_none() {
    let platform = Platform::new().await;
    let path = new_instance();
    let mut order = platform.order("instant", json!({}));
    for version in ["1.0.1", "1.0.0+build", "Invalid"] {
        order["maintenance_info"] = json!({"version": version});
        platform
            .put(&path, &order)
            .await
            .refused(422, "MaintenanceInfoConflict");
    }
    platform.get(&path).await.expect(404);
    order["maintenance_info"] = json!({"version": "1.0.0", "description": "another"});
    platform.put(&path, &order).await.expect(201);
    for unfit in [json!({}), json!({"version": ""}), json!({"version": null})] {
        order["maintenance_info"] = unfit;
        let answer = platform.put(&path, &order).await.refused(400, "BadRequest");
        let text = answer.text("description");
        assert!(text.contains("/maintenance_info/version"), "{text}");
    }
    order["maintenance_info"] = json!(null);
    platform.put(&path, &order).await.expect(200);
}
