//! Records that are missing: of a binding, or of its instance. That proves
//! nothing, so no login is taken back for it.

use std::time::Duration;

use binder_svc::resource::{Phase, ServiceBinding};
use cluster::names;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};

use testbed::logs;

use crate::world::{NAMESPACE, World, done, until, uri, use_database};

fn records(world: &World) -> Api<ServiceBinding> {
    Api::namespaced(world.control_plane.client(), NAMESPACE)
}

async fn delete_record(world: &World) {
    let name = names::binding_record("i", "b");
    let params = DeleteParams::default();
    records(world).delete(&name, &params).await.unwrap();
    until("the record is gone", async || {
        world.record("i", "b").await.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binding_whose_record_is_deleted_by_hand_works_on_and_is_found_again() {
    let world = World::start().await;
    world.instance("i").await;
    let mut args = world.args("r1");
    args.sweep_interval = Duration::from_millis(300);
    let binder = world.binder_with(args).await;
    let bound = done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    // Keeps the sweep looking at the instance's users.
    done(binder.bind(world.bind_request("i", "other")).await.unwrap());
    let mut saved = world.record("i", "b").await.unwrap().object().clone();
    delete_record(&world).await;
    until("the log says that it goes alone", async || {
        let lines = logs::audit(&saved.spec.operation.id);
        lines.iter().any(|line| line.contains("what it made stays"))
    })
    .await;

    // A stray shows that a sweep has been here since.
    crate::sleepers::make_user(&world, "i", "other", "b-stray", 1).await;
    until("the stray is swept", async || {
        world.users_of("i", "other").await.len() == 1
    })
    .await;
    use_database(&uri(&bound)).await.unwrap();
    assert_eq!(world.secrets_of("i", "b").await.len(), 2);

    for field in [
        &mut saved.metadata.uid,
        &mut saved.metadata.resource_version,
    ] {
        *field = None;
    }
    saved.metadata.managed_fields = None;
    saved.status = None;
    let restored = records(&world).create(&PostParams::default(), &saved).await;
    restored.unwrap();
    let fetched = binder.fetch("i", "b").await.unwrap();
    assert_eq!(fetched.credentials, bound.credentials);
    until("the status is back", async || {
        let record = world.record("i", "b").await.unwrap();
        record
            .object()
            .status
            .as_ref()
            .is_some_and(|status| status.phase == Some(Phase::Ready))
    })
    .await;
    use_database(&uri(&bound)).await.unwrap();

    // Who means it says so.
    let incarnation = &saved.spec.incarnation;
    let annotation = serde_json::json!({ names::CONFIRM_DELETION: incarnation });
    let patch = serde_json::json!({"metadata": {"annotations": annotation}});
    let name = names::binding_record("i", "b");
    records(&world)
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    delete_record(&world).await;
    assert!(world.users_of("i", "b").await.is_empty());
    assert!(world.secrets_of("i", "b").await.is_empty());
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unbind_while_the_instance_is_unknown_revokes_the_login_when_it_is_back() {
    let world = World::start().await;
    let instance = world.instance("i").await;
    let binder = world.binder("r1").await;
    let bound = done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    world.provisioner.forget("i");
    binder.unbind(world.unbind_request("i", "b")).await.unwrap();
    let record = world.record("i", "b").await.unwrap();
    assert_eq!(record.phase(), Phase::RevocationPending);
    assert!(world.secrets_of("i", "b").await.is_empty());
    use_database(&uri(&bound)).await.unwrap();

    world.provisioner.put(instance);
    until("the login is revoked", async || {
        world.users_of("i", "b").await.is_empty()
    })
    .await;
    until("nothing is owed", async || {
        world.record("i", "b").await.unwrap().phase() == Phase::Deleted
    })
    .await;
    binder.stop().await;
}
