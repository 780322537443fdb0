//! What a replica that slept may do after it woke, and what people may do to
//! the records, does not bring a login back and does not harm one.

use std::time::Duration;

use binder_svc::resource::ServiceBinding;
use broker_proto::{json, v1::InstancePhase};
use futures::TryStreamExt as _;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mongodb::bson::{Document, doc};

use crate::world::{NAMESPACE, World, done, until, uri, use_database};

/// A user as an attempt of that number would make it.
pub(crate) async fn make_user(
    world: &World,
    instance: &str,
    binding: &str,
    name: &str,
    attempt: i64,
) {
    let command = doc! {
        "createUser": name, "pwd": "pw",
        "roles": [{ "role": "readWrite", "db": "app" }],
        "mechanisms": ["SCRAM-SHA-256"],
        "customData": { "osb": {
            "instance": cluster::names::instance_record(instance),
            "binding": cluster::names::binding_record(instance, binding),
            "incarnation": "x", "attempt": attempt,
        } },
    };
    world
        .admin()
        .database("admin")
        .run_command(command)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_a_sleeper_made_after_the_unbind_is_found_and_dropped() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("r1").await;
    done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    binder.unbind(world.unbind_request("i", "b")).await.unwrap();
    make_user(&world, "i", "b", "b-sleeper", 1).await;
    until("the sleeper's user is dropped", async || {
        world.users_of("i", "b").await.is_empty()
    })
    .await;
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_drops_strays_and_nothing_else() {
    let world = World::start().await;
    world.instance("i").await;
    let mut args = world.args("r1");
    args.sweep_interval = Duration::from_millis(500);
    let binder = world.binder_with(args).await;
    let kept = done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    make_user(&world, "i", "b", "b-stray", 1).await;
    make_user(&world, "i", "never", "b-unknown", 1).await;
    until("the stray is dropped", async || {
        world.users_of("i", "b").await.len() == 1
    })
    .await;
    use_database(&uri(&kept)).await.unwrap();
    // Its record may come back, as in a restore.
    assert_eq!(world.users_of("i", "never").await.len(), 1);
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_status_is_written_again_and_the_login_stays() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("r1").await;
    let kept = done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    let has_status = async || {
        world
            .record("i", "b")
            .await
            .unwrap()
            .object()
            .status
            .as_ref()
            .is_some_and(|s| s.phase.is_some())
    };
    until("there is a status", has_status).await;
    let api: Api<ServiceBinding> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    let name = cluster::names::binding_record("i", "b");
    let wipe = serde_json::json!({ "status": null });
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&wipe))
        .await
        .unwrap();
    until("the status is back", has_status).await;
    assert_eq!(
        binder.fetch("i", "b").await.unwrap().credentials,
        kept.credentials
    );
    assert_eq!(world.users_of("i", "b").await.len(), 1);
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_looks_at_instances_whose_update_failed() {
    let world = World::start().await;
    world.instance("i").await;
    let mut args = world.args("r1");
    args.sweep_interval = Duration::from_millis(500);
    let binder = world.binder_with(args).await;
    done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    world
        .provisioner
        .set_phase("i", InstancePhase::UpdateFailed);
    make_user(&world, "i", "b", "b-stray", 1).await;
    until("the stray is dropped", async || {
        world.users_of("i", "b").await.len() == 1
    })
    .await;
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_cannot_be_swept_is_counted() {
    let world = World::start().await;
    let mut instance = world.instance("i").await;
    let mut args = world.args("r1");
    args.sweep_interval = Duration::from_millis(500);
    let binder = world.binder_with(args).await;
    done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    assert!(binder.metric("binder_failed_sweeps_total").await < 1.0);
    let nowhere = serde_json::json!({"hosts": ["one:two:three"], "replica_set": "rs0"});
    instance.outputs = Some(json::to_struct(nowhere.as_object().unwrap()).unwrap());
    world.provisioner.put(instance);
    until("the failure is counted", async || {
        binder.metric("binder_failed_sweeps_total").await >= 1.0
    })
    .await;
    binder.stop().await;
}

/// The binder's connections to the database.
async fn connections(world: &World) -> usize {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
        doc! { "$match": { "appName": "mongodb-osb-binder" } },
    ];
    let found = world.admin().database("admin").aggregate(pipeline).await;
    let found: Vec<Document> = found.unwrap().try_collect().await.unwrap();
    found.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_keeps_no_connection() {
    let world = World::start().await;
    world.instance("i").await;
    let first = world.binder("r1").await;
    done(first.bind(world.bind_request("i", "b")).await.unwrap());
    assert!(connections(&world).await > 0);
    first.stop().await;
    make_user(&world, "i", "b", "b-stray", 1).await;

    let mut args = world.args("r2");
    args.sweep_interval = Duration::from_secs(5);
    let second = world.binder_with(args).await;
    until("the stray is dropped", async || {
        world.users_of("i", "b").await.len() == 1
    })
    .await;
    until("the sweep's connections are closed", async || {
        connections(&world).await == 0
    })
    .await;
    second.stop().await;
}
