//! Rows UNB.

use crate::{
    platform::{Platform, incomplete, new_binding, works},
    stack::until,
};

/// UNB-01, UNB-11: both ids are required of a binding that is there.
#[tokio::test]
async fn an_unbind_names_service_and_plan() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let (path, _) = platform.binding(&instance, "instant").await;
    let (service, plan) = (platform.service(), platform.plan("instant"));
    for query in [
        String::new(),
        format!("service_id={service}"),
        format!("plan_id={plan}"),
        format!("service_id={service}&plan_id="),
        format!("service_id=unknown&plan_id={plan}"),
    ] {
        let answer = platform.delete(&format!("{path}?{query}")).await;
        let answer = answer.expect(400);
        assert!(!answer.has("instance_usable") && !answer.has("update_repeatable"));
    }
    platform.get(&path).await.expect(200);
}

/// UNB-02, UNB-03: the login ends, every other one goes on.
#[tokio::test]
async fn an_unbind_ends_its_login_and_no_other() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let (path, gone) = platform.binding(&instance, "instant").await;
    let (_, kept) = platform.binding(&instance, "instant").await;
    let query = platform.ids("instant");
    let answer = platform
        .delete(&format!("{path}?{query}"))
        .await
        .expect(200);
    assert_eq!(answer.body, serde_json::json!({}));
    assert!(!works(&gone).await);
    assert!(works(&kept).await);
}

/// UNB-04, UNB-10, ASY-05: accepted, with one operation.
#[tokio::test]
async fn an_asynchronous_unbind_is_accepted_with_one_operation() {
    let platform = Platform::new().await;
    let instance = platform.instance("queued").await;
    let path = new_binding(&instance);
    let answer = platform
        .put(&incomplete(&path), &platform.login("queued"))
        .await;
    platform.ended(&path, &answer.operation()).await;
    let first = platform
        .remove(&path, "queued")
        .await
        .expect(202)
        .operation();
    let again = platform.remove(&path, "queued").await;
    match again.status {
        202 => assert_eq!(again.operation(), first),
        _ => assert_eq!(again.status, 410),
    }
    assert_eq!(platform.ended(&path, &first).await.state(), "succeeded");
}

/// UNB-05: never there, not there any more, or never heard of the instance.
#[tokio::test]
async fn an_unbind_of_nothing_is_410() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let path = new_binding(&instance);
    platform.remove(&path, "instant").await.refused(410, "Gone");
    platform.delete(&path).await.refused(410, "Gone");
    let (path, _) = platform.binding(&instance, "instant").await;
    platform.remove(&path, "instant").await.expect(200);
    platform.remove(&path, "instant").await.refused(410, "Gone");
}

/// UNB-06: only where the plan unbinds asynchronously.
#[tokio::test]
async fn an_asynchronous_unbind_needs_polling() {
    let platform = Platform::new().await;
    let instance = platform.instance("queued").await;
    let path = new_binding(&instance);
    let answer = platform
        .put(&incomplete(&path), &platform.login("queued"))
        .await;
    platform.ended(&path, &answer.operation()).await;
    let query = platform.ids("queued");
    let answer = platform.delete(&format!("{path}?{query}")).await;
    let answer = answer.refused(422, "AsyncRequired");
    assert!(!answer.has("instance_usable") && !answer.has("update_repeatable"));
    platform.get(&path).await.expect(200);
}

/// UNB-07 to UNB-09, UNB-12: accepted at any time, also while the bind runs,
/// which then does not succeed any more.
#[tokio::test]
async fn an_unbind_halts_the_bind() {
    let platform = Platform::new().await;
    let instance = platform.instance("queued").await;
    for _ in 0..5 {
        let path = new_binding(&instance);
        let body = platform.login("queued");
        let bound = platform
            .put(&incomplete(&path), &body)
            .await
            .expect(202)
            .operation();
        let unbound = platform
            .remove(&path, "queued")
            .await
            .expect(202)
            .operation();
        assert_eq!(platform.ended(&path, &unbound).await.state(), "succeeded");
        let old = platform.poll(&path, &bound).await.expect(200);
        assert_ne!(old.state(), "in progress");
        assert_eq!(
            platform.poll(&path, "").await.expect(200).state(),
            "succeeded"
        );
        platform.get(&path).await.refused(404, "NotFound");
    }
}

/// The state table: an id can be bound again once it is free, by another login.
#[tokio::test]
async fn a_deleted_binding_id_can_be_bound_again() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let (path, first) = platform.binding(&instance, "instant").await;
    platform.remove(&path, "instant").await.expect(200);
    let body = platform.login("instant");
    let answer = platform.put(&path, &body).await.expect(201);
    let second = answer.body["credentials"].clone();
    assert!(works(&second).await);
    until("the first login has ended", async || !works(&first).await).await;
}
