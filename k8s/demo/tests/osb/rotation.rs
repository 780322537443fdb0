//! Rows ROT, and expiry (BND-19, BND-20).

use serde_json::{Value, json};

use crate::{
    platform::{Platform, last, new_binding, works},
    stack::until,
};

async fn rotate(platform: &Platform, path: &str, old: &str) -> crate::platform::Answer {
    let body = json!({"predecessor_binding_id": last(old)});
    platform.put(path, &body).await
}

/// ROT-01, ROT-02, ROT-04 to ROT-06: a new login of the same rights; both work
/// until each is deleted.
#[tokio::test]
async fn a_rotation_gives_a_second_login_and_keeps_the_first() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let old = new_binding(&instance);
    let mut body = platform.login("instant");
    body["parameters"] = json!({"database": "orders"});
    let first = platform.put(&old, &body).await.expect(201).body["credentials"].clone();
    let new = new_binding(&instance);
    let second = rotate(&platform, &new, &old).await.expect(201).body["credentials"].clone();
    assert_eq!(second["database"], "orders");
    assert_ne!(first["username"], second["username"]);
    assert!(works(&first).await && works(&second).await);
    let again = rotate(&platform, &new, &old).await.expect(200);
    assert_eq!(again.body["credentials"], second);
    platform.remove(&old, "instant").await.expect(200);
    assert!(!works(&first).await);
    assert!(works(&second).await);
}

/// ROT-02, ROT-06: with the ids as well, and asynchronously.
#[tokio::test]
async fn a_rotation_follows_the_rules_of_a_bind() {
    let platform = Platform::new().await;
    let instance = platform.instance("queued").await;
    let old = new_binding(&instance);
    let path = crate::platform::incomplete(&old);
    let bound = platform
        .put(&path, &platform.login("queued"))
        .await
        .expect(202);
    platform.ended(&old, &bound.operation()).await;
    let new = new_binding(&instance);
    let mut body = platform.login("queued");
    body["predecessor_binding_id"] = json!(last(&old));
    platform
        .put(&new, &body)
        .await
        .refused(422, "AsyncRequired");
    let path = crate::platform::incomplete(&new);
    let bound = platform.put(&path, &body).await.expect(202);
    assert_eq!(
        platform.ended(&new, &bound.operation()).await.state(),
        "succeeded"
    );
    body["predecessor_binding_id"] = json!("another");
    platform.put(&path, &body).await.refused(409, "Conflict");
}

/// ROT-01, ROT-03: a living binding of the same instance, where the plan says so.
#[tokio::test]
async fn a_predecessor_must_be_usable() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let other = platform.instance("instant").await;
    let (foreign, _) = platform.binding(&other, "instant").await;
    let (gone, _) = platform.binding(&instance, "instant").await;
    platform.remove(&gone, "instant").await.expect(200);
    let new = new_binding(&instance);
    for old in [&foreign, &gone, &new, &new_binding(&instance)] {
        rotate(&platform, &new, old).await.expect(400);
    }
    let empty = json!({"predecessor_binding_id": ""});
    platform.put(&new, &empty).await.expect(400);
    let instance = platform.instance("apps").await;
    let mut body = platform.login("apps");
    body["app_guid"] = json!("a");
    let old = new_binding(&instance);
    platform.put(&old, &body).await.expect(201);
    rotate(&platform, &new_binding(&instance), &old)
        .await
        .expect(400);
}

/// Whether a text is `yyyy-mm-ddThh:mm:ss.sZ`.
fn is_time(value: &Value) -> bool {
    let shape: String = value
        .as_str()
        .unwrap()
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00:00.0Z"
}

/// BND-19, BND-20, ROT-03, ROT-07: told in OSB's pattern, enforced by us, and
/// unbound as any other.
#[tokio::test]
async fn a_binding_ends_when_it_was_told_to() {
    let platform = Platform::new().await;
    let instance = platform.instance("brief").await;
    let path = new_binding(&instance);
    let answer = platform
        .put(&path, &platform.login("brief"))
        .await
        .expect(201);
    let metadata = &answer.body["metadata"];
    assert!(is_time(&metadata["expires_at"]) && is_time(&metadata["renew_before"]));
    assert!(metadata["renew_before"].as_str() < metadata["expires_at"].as_str());
    assert_eq!(
        &platform.get(&path).await.expect(200).body["metadata"],
        metadata
    );
    let old = Platform::of("2.15").await.get(&path).await.expect(200);
    assert!(!old.has("metadata"));
    let credentials = answer.body["credentials"].clone();
    let successor = new_binding(&instance);
    let renewed = rotate(&platform, &successor, &path).await.expect(201);
    assert!(renewed.body["metadata"]["expires_at"].as_str() >= metadata["expires_at"].as_str());
    until("the login has ended", async || !works(&credentials).await).await;
    rotate(&platform, &new_binding(&instance), &path)
        .await
        .expect(400);
    platform.remove(&path, "brief").await.expect(200);
}
