//! Rows DEP.

use reqwest::Method;
use serde_json::json;

use crate::{
    platform::{JSON, Platform, incomplete, new_instance, works},
    stack::until,
};

/// DEP-01, DEP-14: both ids are required, the service must be the instance's;
/// a body or a content type is not.
#[tokio::test]
async fn a_deletion_names_service_and_plan() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    let (service, plan) = (platform.service(), platform.plan("instant"));
    for query in [
        String::new(),
        format!("service_id={service}"),
        format!("plan_id={plan}"),
        format!("service_id=&plan_id={plan}"),
        format!(
            "service_id={}&plan_id={plan}",
            platform.service_named("plain")
        ),
    ] {
        platform
            .delete(&format!("{path}?{query}"))
            .await
            .expect(400);
    }
    platform.get(&path).await.expect(200);
    let query = platform.ids("instant");
    let body = Some("{}".to_owned());
    let answer = platform
        .send(Method::DELETE, &format!("{path}?{query}"), &JSON, body)
        .await;
    answer.expect(200);
}

/// DEP-02, UNB-02: nothing is left in the cluster but the record.
#[tokio::test]
async fn a_deletion_leaves_nothing() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    let namespace = platform.record(&path).await.spec.namespace;
    let answer = platform.remove(&path, "polled").await.expect(202);
    assert_eq!(
        platform.ended(&path, &answer.operation()).await.state(),
        "succeeded"
    );
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(platform.stack.client());
    assert!(namespaces.get_opt(&namespace).await.unwrap().is_none());
}

/// DEP-04, DEP-13: the same operation as long as it runs.
#[tokio::test]
async fn a_deletion_that_runs_is_told_by_its_operation() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    platform.hold(&path).await;
    let operation = platform
        .remove(&path, "polled")
        .await
        .expect(202)
        .operation();
    for _ in 0..3 {
        let again = platform.remove(&path, "polled").await.expect(202);
        assert_eq!(again.operation(), operation);
    }
    platform.release(&path).await;
    assert_eq!(platform.ended(&path, &operation).await.state(), "succeeded");
}

/// DEP-05: never there, and not there any more.
#[tokio::test]
async fn a_deletion_of_nothing_is_410() {
    let platform = Platform::new().await;
    platform
        .remove(&new_instance(), "polled")
        .await
        .refused(410, "Gone");
    let path = platform.instance("instant").await;
    platform.remove(&path, "instant").await.expect(200);
    platform.remove(&path, "instant").await.refused(410, "Gone");
}

/// DEP-06: also of what is not there.
#[tokio::test]
async fn a_deletion_of_an_asynchronous_plan_needs_polling() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    let query = platform.ids("polled");
    for path in [path, new_instance()] {
        for more in ["", "&accepts_incomplete=false"] {
            let answer = platform.delete(&format!("{path}?{query}{more}")).await;
            answer.refused(422, "AsyncRequired");
        }
    }
}

/// DEP-07, DEP-08, DEP-09, DEP-10, ORP-05: accepted while it is made, which
/// ends with that; each operation is told by its own id.
#[tokio::test]
async fn a_deletion_halts_the_provision() {
    let platform = Platform::new().await;
    let (path, created) = platform.waiting().await;
    let deleted = platform
        .remove(&path, "polled")
        .await
        .expect(202)
        .operation();
    let halted = platform.poll(&path, &created).await.expect(200);
    assert_eq!(halted.state(), "failed");
    assert!(!halted.has("instance_usable") && !halted.has("update_repeatable"));
    assert_eq!(platform.ended(&path, &deleted).await.state(), "succeeded");
    let newest = platform.poll(&path, "").await.expect(200);
    assert_eq!(newest.state(), "succeeded");
    platform.remove(&path, "polled").await.refused(410, "Gone");
}

/// DEP-11: what a platform forgot to unbind goes along.
#[tokio::test]
async fn a_deletion_takes_bindings_along() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    let (binding, credentials) = platform.binding(&path, "polled").await;
    assert!(works(&credentials).await);
    let answer = platform.remove(&path, "polled").await.expect(202);
    assert_eq!(
        platform.ended(&path, &answer.operation()).await.state(),
        "succeeded"
    );
    until("the binding is gone", async || {
        platform.get(&binding).await.status == 404
    })
    .await;
    platform
        .remove(&binding, "polled")
        .await
        .refused(410, "Gone");
}

/// DEP-12, E-11, E-12, LOI-08: a failed one may say whether the instance is
/// usable, never whether an update can be repeated; it can be tried again.
#[tokio::test]
async fn a_failed_deletion_can_be_repeated() {
    let platform = Platform::new().await;
    let path = platform.instance("hasty").await;
    platform.hold(&path).await;
    let operation = platform
        .remove(&path, "hasty")
        .await
        .expect(202)
        .operation();
    let ended = platform.ended(&path, &operation).await;
    assert_eq!(ended.state(), "failed");
    assert!(ended.body["instance_usable"].is_boolean());
    assert!(!ended.has("update_repeatable"));
    platform.release(&path).await;
    let again = platform
        .remove(&path, "hasty")
        .await
        .expect(202)
        .operation();
    assert_ne!(again, operation);
    assert_eq!(platform.ended(&path, &again).await.state(), "succeeded");
}

/// The state table: an id can be used again once it is free.
#[tokio::test]
async fn a_deleted_id_can_be_ordered_again() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    platform.remove(&path, "instant").await.expect(200);
    let order = platform.order("polled", json!({}));
    let answer = platform.put(&incomplete(&path), &order).await.expect(202);
    assert_eq!(
        platform.ended(&path, &answer.operation()).await.state(),
        "succeeded"
    );
}
