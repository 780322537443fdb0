//! Rows E on the real stack.

use serde_json::json;

use crate::platform::{Platform, incomplete, new_binding, new_instance};

/// E-01 to E-07, E-13, E-14: each of the four scenarios by its word, once more
/// side by side.
#[tokio::test]
async fn the_four_scenarios_have_their_words() {
    let platform = Platform::new().await;
    let mut order = platform.order("polled", json!({}));
    let path = new_instance();
    platform
        .put(&path, &order)
        .await
        .refused(422, "AsyncRequired");
    order["maintenance_info"] = json!({"version": "7.0.0"});
    let answer = platform.put(&incomplete(&path), &order).await;
    answer.refused(422, "MaintenanceInfoConflict");
    let (waiting, _) = platform.waiting().await;
    let change = platform.change(json!({"size": "M"}));
    let answer = platform.patch(&incomplete(&waiting), &change).await;
    answer.refused(422, "ConcurrencyError");
    let apps = platform.instance("apps").await;
    let body = platform.login("apps");
    let answer = platform.put(&new_binding(&apps), &body).await;
    answer.refused(422, "RequiresApp");
}

/// E-08, E-10, UPD-15: whatever is refused, the instance is what it was.
#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let platform = Platform::new().await;
    let path = platform
        .instance_with("instant", json!({"size": "M"}))
        .await;
    let (fetched, applied) = (
        platform.get(&path).await.body,
        platform.applied(&path).await,
    );
    let resource = platform.record(&path).await;
    let service = platform.service();
    for body in [
        platform.change(json!({"size": "L"})),
        platform.change(json!({"fixed": "z"})),
        json!({"service_id": service, "plan_id": platform.plan("polled"), "parameters": {"size": "S"}}),
        json!({"service_id": service, "maintenance_info": {"version": "9.9.9"}, "parameters": {"size": "S"}}),
        json!({"parameters": {"size": "S"}}),
    ] {
        let answer = platform.patch(&path, &body).await;
        assert!((400..500).contains(&answer.status), "{}", answer.body);
    }
    let mut order = platform.order("instant", json!({}));
    order["space_guid"] = json!("other");
    platform.put(&path, &order).await.expect(409);
    platform.delete(&path).await.expect(400);
    assert_eq!(platform.get(&path).await.body, fetched);
    assert_eq!(platform.applied(&path).await, applied);
    let after = platform.record(&path).await;
    assert_eq!(
        after.metadata.resource_version,
        resource.metadata.resource_version
    );
}

/// E-09, E-11, E-12: a synchronous order that does not get ready is 5xx
/// without the flags of updates; one that cannot get ready likewise.
#[tokio::test]
async fn a_synchronous_order_that_fails_is_5xx() {
    let platform = Platform::new().await;
    // What is shut could still be opened: who cannot poll is told that it went on.
    for gate in ["broken", "shut"] {
        let path = new_instance();
        let order = platform.order("instant", json!({"gate": gate}));
        let answer = platform.put(&path, &order).await;
        assert!(answer.status >= 500, "{gate}: {}", answer.body);
        assert!(!answer.has("instance_usable") && !answer.has("update_repeatable"));
        // ORP-01
        let gone = platform.remove(&path, "instant").await;
        assert!([200, 202].contains(&gone.status), "{}", gone.body);
        platform.ended(&path, "").await;
        platform.remove(&path, "instant").await.expect(410);
    }
}

/// E-10, E-11, E-12, UPD-15: of a synchronous update likewise, with the flags.
#[tokio::test]
async fn a_synchronous_update_that_fails_applies_nothing_that_is_shown() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    let before = platform.get(&path).await.body;
    let body = platform.change(json!({"gate": "broken", "size": "M"}));
    let answer = platform.patch(&path, &body).await;
    assert!(answer.status >= 500, "{}", answer.body);
    assert!(
        answer.body["instance_usable"].is_boolean(),
        "{}",
        answer.body
    );
    assert!(answer.body["update_repeatable"].is_boolean());
    assert_eq!(platform.get(&path).await.expect(200).body, before);
    let repair = json!({"service_id": platform.service()});
    platform.patch(&path, &repair).await.expect(200);
    assert_eq!(platform.applied(&path).await.unwrap()["size"], "S");
}
