//! Rows ORP: whatever orphan mitigation sends, it converges.

use serde_json::json;

use crate::{
    platform::{Platform, incomplete, new_binding, new_instance},
    stack::PATIENCE,
};

/// Repeats DELETE until it is done, as platforms do; its last status.
async fn mitigate(platform: &Platform, path: &str, plan: &str) -> u16 {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answer = platform.remove(path, plan).await;
        match answer.status {
            200 | 410 => return answer.status,
            202 => {
                platform.ended(path, &answer.operation()).await;
            }
            status => assert!(status == 422 || status >= 500, "{}", answer.body),
        }
        assert!(tokio::time::Instant::now() < deadline, "{path} stays");
    }
}

/// ORP-01, ORP-05: of what was never made, is being made, and is there.
#[tokio::test]
async fn a_deletion_works_in_every_state_of_an_instance() {
    let platform = Platform::new().await;
    let (waiting, _) = platform.waiting().await;
    let updating = platform.instance("polled").await;
    platform.updating(&updating).await;
    for path in [
        new_instance(),
        waiting,
        updating,
        platform.instance("polled").await,
    ] {
        assert_eq!(mitigate(&platform, &path, "polled").await, 410);
        platform.get(&path).await.expect(404);
    }
}

/// ORP-02: of what failed.
#[tokio::test]
async fn a_deletion_works_on_what_failed() {
    let platform = Platform::new().await;
    let (path, _) = platform.failed().await;
    let namespace = platform.record(&path).await.spec.namespace;
    assert_eq!(mitigate(&platform, &path, "polled").await, 410);
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> =
        kube::Api::all(platform.stack.client());
    assert!(namespaces.get_opt(&namespace).await.unwrap().is_none());
}

/// ORP-01, ORP-02, ORP-05 for bindings.
#[tokio::test]
async fn a_deletion_works_in_every_state_of_a_binding() {
    let platform = Platform::new().await;
    let instance = platform.instance("queued").await;
    let running = new_binding(&instance);
    let body = platform.login("queued");
    platform.put(&incomplete(&running), &body).await.expect(202);
    for path in [new_binding(&instance), running] {
        assert_eq!(mitigate(&platform, &path, "queued").await, 410);
        platform.get(&path).await.expect(404);
    }
}

/// ORP-03, E-08: a 4xx means that nothing was begun.
#[tokio::test]
async fn what_was_refused_was_not_begun() {
    let platform = Platform::new().await;
    for (order, query) in [
        (platform.order("polled", json!({})), ""),
        (
            platform.order("polled", json!({"size": "L"})),
            "?accepts_incomplete=true",
        ),
        (json!({}), "?accepts_incomplete=true"),
    ] {
        let path = new_instance();
        let answer = platform.put(&format!("{path}{query}"), &order).await;
        assert!((400..500).contains(&answer.status) && answer.status != 408);
        platform.poll(&path, "").await.expect(404);
        platform.remove(&path, "polled").await.expect(410);
    }
}
