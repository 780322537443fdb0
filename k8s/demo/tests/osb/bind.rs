//! Rows BND.

use serde_json::{Value, json};

use crate::platform::{Platform, incomplete, new_binding, new_instance, works};

/// BND-02, BND-03, BND-13: what is missing, empty, not the instance's, or of another type.
#[tokio::test]
async fn a_bind_that_lacks_something_is_400() {
    let platform = Platform::new().await;
    let path = new_binding(&platform.instance("instant").await);
    for (key, value) in [
        ("service_id", Value::Null),
        ("service_id", json!("")),
        ("service_id", json!("unknown")),
        ("plan_id", Value::Null),
        ("plan_id", json!("")),
        ("plan_id", json!(platform.plan("polled"))),
        ("parameters", json!([])),
        ("bind_resource", json!("x")),
        ("context", json!(1)),
        ("app_guid", json!(1)),
    ] {
        let mut body = platform.login("instant");
        body[key] = value.clone();
        let answer = platform.put(&path, &body).await;
        assert_eq!(answer.status, 400, "{key}: {value}");
    }
    platform.get(&path).await.expect(404);
}

/// BND-04: the schema judges.
#[tokio::test]
async fn parameters_of_a_bind_are_judged() {
    let platform = Platform::new().await;
    let path = new_binding(&platform.instance("instant").await);
    for parameters in [json!({"roles": ["root"]}), json!({"unknown": "hunter2"})] {
        let mut body = platform.login("instant");
        body["parameters"] = parameters;
        let answer = platform.put(&path, &body).await.refused(400, "BadRequest");
        assert!(!answer.text("description").contains("hunter2"));
    }
}

/// BND-01, BND-05, BND-14 to BND-18, BND-25, CAT-33: a login of its own, all
/// members, nothing to connect with outside of the credentials.
#[tokio::test]
async fn a_bind_gives_a_login_that_works() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let (path, first) = platform.binding(&instance, "instant").await;
    let answer = platform.get(&path).await.expect(200);
    let (_, second) = platform.binding(&instance, "instant").await;
    assert_ne!(first["username"], second["username"]);
    assert_ne!(first["password"], second["password"]);
    assert!(works(&first).await && works(&second).await);
    let address = platform.stack.mongod;
    assert_eq!(
        answer.body["endpoints"],
        json!([{"host": "127.0.0.1", "ports": [address.port().to_string()], "protocol": "tcp"}])
    );
    for key in [
        "metadata",
        "syslog_drain_url",
        "route_service_url",
        "volume_mounts",
    ] {
        assert!(!answer.has(key), "{key}");
    }
}

/// BND-06, BND-08, BND-23, ASY-05: accepted without a word of the credentials.
#[tokio::test]
async fn an_asynchronous_bind_is_accepted_with_one_operation() {
    let platform = Platform::new().await;
    let path = new_binding(&platform.instance("queued").await);
    let body = platform.login("queued");
    let answer = platform.put(&incomplete(&path), &body).await.expect(202);
    let operation = answer.operation();
    assert_eq!(answer.body, json!({"operation": operation}));
    assert!(operation.len() <= 10_000);
    let again = platform.put(&incomplete(&path), &body).await;
    // It may have ended in between.
    match again.status {
        202 => assert_eq!(again.operation(), operation),
        _ => assert_eq!(again.status, 200),
    }
    assert_eq!(platform.ended(&path, &operation).await.state(), "succeeded");
}

/// BND-07, BND-09: the same again is 200 with the same login, another is 409.
#[tokio::test]
async fn the_same_bind_again_is_200_and_another_is_409() {
    let platform = Platform::new().await;
    let path = new_binding(&platform.instance("instant").await);
    let mut body = platform.login("instant");
    body["parameters"] = json!({"roles": ["read"]});
    let first = platform.put(&path, &body).await.expect(201);
    let again = platform.put(&incomplete(&path), &body).await.expect(200);
    assert_eq!(again.body, first.body);
    for (key, value) in [
        ("parameters", json!({"roles": ["readWrite"]})),
        ("plan_id", json!(platform.plan("polled"))),
        ("bind_resource", json!({"app_guid": "a"})),
    ] {
        let mut other = body.clone();
        other[key] = value;
        platform.put(&path, &other).await.refused(409, "Conflict");
    }
}

/// BND-10, E-05: an application in either place; a service key of a plan that
/// needs none works (all other tests here).
#[tokio::test]
async fn a_plan_may_require_an_app() {
    let platform = Platform::new().await;
    let instance = platform.instance("apps").await;
    let mut body = platform.login("apps");
    let path = new_binding(&instance);
    platform.put(&path, &body).await.refused(422, "RequiresApp");
    platform.get(&path).await.expect(404);
    body["bind_resource"] = json!({"app_guid": "app"});
    platform.put(&path, &body).await.expect(201);
    let mut body = platform.login("apps");
    body["app_guid"] = json!("app");
    platform
        .put(&new_binding(&instance), &body)
        .await
        .expect(201);
}

/// BND-11, ASY-07, ASY-09, E-04: on an instance that is not there yet.
#[tokio::test]
async fn a_bind_waits_for_its_instance() {
    let platform = Platform::new().await;
    let (instance, operation) = platform.waiting().await;
    let path = new_binding(&instance);
    let body = platform.login("polled");
    let answer = platform.put(&incomplete(&path), &body).await;
    answer.refused(422, "ConcurrencyError");
    // It left nothing behind.
    platform.remove(&path, "polled").await.refused(410, "Gone");
    platform.open(&instance).await;
    platform.ended(&instance, &operation).await;
    platform.put(&path, &body).await.expect(201);
}

/// BND-12: only where the plan binds asynchronously.
#[tokio::test]
async fn an_asynchronous_bind_needs_polling() {
    let platform = Platform::new().await;
    let path = new_binding(&platform.instance("queued").await);
    let body = platform.login("queued");
    platform
        .put(&path, &body)
        .await
        .refused(422, "AsyncRequired");
    platform.get(&path).await.expect(404);
}

/// BND-01, BND-24, CAT-24, CAT-32: nothing to bind to, or nothing that can be bound.
#[tokio::test]
async fn a_bind_needs_an_instance_of_a_bindable_plan() {
    let platform = Platform::new().await;
    let path = new_binding(&new_instance());
    let body = platform.login("instant");
    platform.put(&path, &body).await.refused(404, "NotFound");
    let path = new_binding(&platform.instance("closed").await);
    let body = platform.login("closed");
    platform.put(&path, &body).await.refused(400, "NotBindable");
}
