//! Rows H, A, U and C as far as all services take part; the gateway's own
//! tests show the rest.

use reqwest::Method;
use serde_json::json;

use crate::platform::{JSON, Platform, incomplete, new_instance};

/// `{"user_id": "u-1"}`.
const IDENTITY: &str = "cloudfoundry eyJ1c2VyX2lkIjogInUtMSJ9";

/// H-05, H-06, H-07: kept with the operation, shown to nobody, never needed.
#[tokio::test]
async fn who_asked_is_kept_and_never_needed() {
    let platform = Platform::new().await;
    let path = new_instance();
    let body = Some(platform.order("instant", json!({})).to_string());
    let headers = [JSON[0], ("x-broker-api-originating-identity", IDENTITY)];
    platform
        .send(Method::PUT, &path, &headers, body)
        .await
        .expect(201);
    let by = platform.record(&path).await.spec.operation.requested_by;
    assert_eq!((&*by.login, &*by.user), ("platform", "u-1"));
    assert_eq!((&*by.platform, &*by.peer), ("platform", "127.0.0.1"));
    assert!(!platform.get(&path).await.body.to_string().contains("u-1"));
    // Orphan mitigation has none.
    platform.remove(&path, "instant").await.expect(200);
    let by = platform.record(&path).await.spec.operation.requested_by;
    assert_eq!(by.user, "");
}

/// H-08: on success, refusal, 304, 401, 404 and 405 alike.
#[tokio::test]
async fn the_request_identity_comes_back() {
    let platform = Platform::new().await;
    let id = ("x-broker-api-request-identity", "r-1");
    let tag = platform.get("/v2/catalog").await.headers["etag"].clone();
    let tag = tag.to_str().unwrap().to_owned();
    for (method, path, more, status) in [
        (Method::GET, "/v2/catalog", ("x", "y"), 200),
        (
            Method::GET,
            "/v2/catalog",
            ("if-none-match", tag.as_str()),
            304,
        ),
        (
            Method::GET,
            "/v2/catalog",
            ("authorization", "Basic eDp5"),
            401,
        ),
        (Method::GET, "/v2/nothing", ("x", "y"), 404),
        (Method::POST, "/v2/catalog", ("x", "y"), 405),
        (Method::GET, "/v2/service_instances/none", ("x", "y"), 404),
    ] {
        let answer = platform.send(method, path, &[id, more], None).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["x-broker-api-request-identity"], "r-1");
    }
}

/// U-01: ids and operations that we issue have unreserved characters only.
#[tokio::test]
async fn what_the_broker_issues_needs_no_encoding() {
    let platform = Platform::new().await;
    let unreserved = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    let catalog = platform.get("/v2/catalog").await.body;
    for service in catalog["services"].as_array().unwrap() {
        assert!(unreserved(service["id"].as_str().unwrap()));
        for plan in service["plans"].as_array().unwrap() {
            assert!(unreserved(plan["id"].as_str().unwrap()));
        }
    }
    let (path, created) = platform.waiting().await;
    let deleted = platform
        .remove(&path, "polled")
        .await
        .expect(202)
        .operation();
    assert!(unreserved(&created) && unreserved(&deleted));
}

/// U-02, U-03, PRO-01: any characters make an id, decoded exactly once.
#[tokio::test]
async fn any_id_works_and_is_decoded_once() {
    let platform = Platform::new().await;
    for id in [
        "a%2Fb%20c%25",
        "%C3%A4%F0%9F%98%80",
        "A.~_-",
        "%252F",
        "x%3Fy%23z",
    ] {
        let path = format!("/v2/service_instances/{id}");
        let order = platform.order("instant", json!({}));
        platform.put(&path, &order).await.expect(201);
        let binding = format!("{path}/service_bindings/{id}");
        let made = platform.put(&binding, &platform.login("instant")).await;
        made.expect(201);
        platform.get(&binding).await.expect(200);
        platform.remove(&binding, "instant").await.expect(200);
        platform.remove(&path, "instant").await.expect(200);
        platform.get(&path).await.expect(404);
    }
    let order = platform.order("instant", json!({}));
    platform
        .put("/v2/service_instances/", &order)
        .await
        .expect(404);
}

/// C-01, ORP-04: JSON in every answer that has a body, and never 204.
#[tokio::test]
async fn every_answer_is_a_json_object() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    for answer in [
        platform.get("/v2/catalog").await,
        platform.get(&path).await,
        platform.poll(&path, "").await,
        platform
            .patch(&path, &json!({"service_id": platform.service()}))
            .await,
        platform.remove(&path, "instant").await,
        platform.remove(&path, "instant").await,
    ] {
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.body.is_object() && answer.status != 204);
    }
}

/// C-02, H-10: a body needs no content type, and what is unknown in it does no harm.
#[tokio::test]
async fn unknown_fields_do_no_harm() {
    let platform = Platform::new().await;
    let path = new_instance();
    let mut order = platform.order("instant", json!({}));
    order["x"] = json!({"y": [1]});
    order["context"]["z"] = json!([null]);
    order["maintenance_info"] = json!({"version": "1.0.0", "more": true});
    let body = Some(order.to_string());
    platform
        .send(Method::PUT, &incomplete(&path), &[], body)
        .await
        .expect(201);
    let change = json!({
        "service_id": platform.service(), "x": 1,
        "previous_values": {"plan_id": "other", "x": {}, "maintenance_info": {"version": "9"}},
    });
    platform.patch(&path, &change).await.expect(200);
    let binding = format!("{path}/service_bindings/b");
    let mut login = platform.login("instant");
    login["bind_resource"] = json!({"x": 1});
    login["y"] = json!("z");
    platform.put(&binding, &login).await.expect(201);
}
