//! A plan whose bindings are polled.

use broker_proto::{ErrorCode, json, v1::Outcome};
use serde_json::json;

use crate::world::{World, uri, use_database};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asynchronous_plan_is_polled_from_bind_to_unbind() {
    let world = World::start().await;
    let mut instance = world.instance("i").await;
    instance.bundle_digest = world.asynchronous.digest().to_string();
    world.provisioner.put(instance);
    let binder = world.binder("r1").await;

    let mut request = world.bind_request("i", "b");
    let error = binder.bind(request.clone()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AsyncRequired);
    request.accepts_incomplete = true;
    let accepted = binder.bind(request.clone()).await.unwrap();
    assert_eq!(accepted.outcome(), Outcome::Accepted);
    assert!(accepted.binding.is_none());
    assert!(accepted.operation.starts_with("bind-1-"));
    assert!(binder.ended("i", "b", &accepted.operation).await);
    let binding = binder.fetch("i", "b").await.unwrap();
    use_database(&uri(&binding)).await.unwrap();
    let replay = binder.bind(request).await.unwrap();
    assert_eq!(replay.outcome(), Outcome::Unchanged);

    let mut request = world.unbind_request("i", "b");
    let error = binder.unbind(request.clone()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AsyncRequired);
    request.accepts_incomplete = true;
    let unbinding = binder.unbind(request).await.unwrap();
    assert_eq!(unbinding.outcome(), Outcome::Accepted);
    assert!(binder.ended("i", "b", &unbinding.operation).await);
    assert!(use_database(&uri(&binding)).await.is_err());
    // The older operation is still known, and a word that is none of ours means the newest.
    assert!(binder.ended("i", "b", &accepted.operation).await);
    let newest = binder.poll("i", "b", "deprovision").await.unwrap();
    assert_eq!(newest.operation, unbinding.operation);
    let unknown = binder.poll("i", "never", "").await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    binder.stop().await;
}

/// A platform that does not remember operations sends the same bind again, and
/// learns from the poll why it failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bind_after_a_failure_names_the_operation_that_failed() {
    let world = World::start().await;
    let mut instance = world.instance("i").await;
    instance.bundle_digest = world.asynchronous.digest().to_string();
    let nowhere = json!({"hosts": ["one:two:three"], "replica_set": "rs0"});
    instance.outputs = Some(json::to_struct(nowhere.as_object().unwrap()).unwrap());
    world.provisioner.put(instance);
    let binder = world.binder("r1").await;

    let mut request = world.bind_request("i", "b");
    request.accepts_incomplete = true;
    let accepted = binder.bind(request.clone()).await.unwrap();
    assert!(!binder.ended("i", "b", &accepted.operation).await);
    let again = binder.bind(request.clone()).await.unwrap();
    assert_eq!(again.outcome(), Outcome::Accepted);
    assert_eq!(again.operation, accepted.operation);
    let told = binder.poll("i", "b", &again.operation).await.unwrap();
    assert!(!told.description.is_empty());

    let mut other = request.clone();
    other.app_guid = "another".into();
    let refused = binder.bind(other).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);

    let mut unbind = world.unbind_request("i", "b");
    unbind.accepts_incomplete = true;
    binder.unbind(unbind).await.unwrap();
    let refused = binder.bind(request).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ConcurrencyError);
    binder.stop().await;
}
