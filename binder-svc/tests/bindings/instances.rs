//! Instances that take no bindings, or leave with bindings on them.

use std::time::Duration;

use binder_svc::resource::Phase;
use broker_proto::{ErrorCode, v1::InstancePhase};

use crate::world::{World, done, until, uri, use_database};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_leaves_takes_its_bindings_along_without_its_database() {
    let world = World::start().await;
    world.instance("i").await;
    world.instance("stays").await;
    let binder = world.binder("r1").await;
    done(binder.bind(world.bind_request("i", "b1")).await.unwrap());
    done(binder.bind(world.bind_request("i", "b2")).await.unwrap());
    done(
        binder
            .bind(world.bind_request("stays", "b1"))
            .await
            .unwrap(),
    );
    assert!(world.provisioner.get("i").is_kept);
    world.mongod.stop().await;
    // One that was being made, and one that was being revoked.
    let mut polls = world.bind_request("i", "b3");
    polls.accepts_incomplete = true;
    binder.bind(polls).await.unwrap();
    binder
        .unbind(world.unbind_request("i", "b2"))
        .await
        .unwrap_err();

    world
        .provisioner
        .set_phase("i", InstancePhase::Deprovisioning);
    until("the hold is released", async || {
        world.provisioner.get("i").releases > 0
    })
    .await;
    for binding in ["b1", "b2", "b3"] {
        let record = world.record("i", binding).await.unwrap();
        assert_eq!(record.phase(), Phase::Deleted, "{binding}");
        // A bind that is refused its hold ends before its Secrets are deleted.
        until("its Secrets are deleted", async || {
            world.secrets_of("i", binding).await.is_empty()
        })
        .await;
    }
    assert_eq!(
        world.record("stays", "b1").await.unwrap().phase(),
        Phase::Ready
    );
    assert!(world.provisioner.get("stays").is_kept);

    let late = binder
        .bind(world.bind_request("i", "late"))
        .await
        .unwrap_err();
    assert_eq!(late.code, ErrorCode::ConcurrencyError);
    assert!(world.record("i", "late").await.is_none());
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_busy_refuses_and_nothing_is_left_behind() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("r1").await;
    done(
        binder
            .bind(world.bind_request("i", "before"))
            .await
            .unwrap(),
    );
    for phase in [InstancePhase::Provisioning, InstancePhase::Updating] {
        world.provisioner.set_phase("i", phase);
        let error = binder.bind(world.bind_request("i", "b")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ConcurrencyError);
        assert!(binder.fetch("i", "before").await.is_ok());
    }
    assert!(world.record("i", "b").await.is_none());
    assert!(world.secrets_of("i", "b").await.is_empty());

    // A deletion that begins between the look and the hold.
    world.instance("leaves").await;
    world.provisioner.refuse_holds("leaves");
    let error = binder
        .bind(world.bind_request("leaves", "b"))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::ConcurrencyError);
    assert_eq!(
        binder.fetch("leaves", "b").await.unwrap_err().code,
        ErrorCode::NotFound
    );
    let gone = binder
        .unbind(world.unbind_request("leaves", "b"))
        .await
        .unwrap_err();
    assert_eq!(gone.code, ErrorCode::Gone);
    until("its Secrets and its user are gone", async || {
        world.secrets_of("leaves", "b").await.is_empty()
            && world.users_of("leaves", "b").await.is_empty()
    })
    .await;

    binder.stop().await;
}

/// An instance on a server that outlives it.
async fn on_shared_server(world: &World) {
    let mut instance = world.instance("i").await;
    instance.bundle_digest = world.shared.digest().to_string();
    world.provisioner.put(instance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_on_a_server_that_outlives_the_instance_are_revoked_before_it_goes() {
    let world = World::start().await;
    on_shared_server(&world).await;
    let binder = world.binder("r1").await;
    let bound = done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    world
        .provisioner
        .set_phase("i", InstancePhase::Deprovisioning);
    until("the hold is released", async || {
        world.provisioner.get("i").releases > 0
    })
    .await;
    assert_eq!(
        world.record("i", "b").await.unwrap().phase(),
        Phase::Deleted
    );
    assert!(world.users_of("i", "b").await.is_empty());
    assert!(use_database(&uri(&bound)).await.is_err());
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_server_that_does_not_answer_holds_the_instance_up_for_its_time_only() {
    let world = World::start().await;
    on_shared_server(&world).await;
    let mut args = world.args("r1");
    args.revoke_deadline = Duration::from_secs(6);
    let binder = world.binder_with(args).await;
    done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    world.mongod.stop().await;
    world
        .provisioner
        .set_phase("i", InstancePhase::Deprovisioning);
    until("the hold is released", async || {
        world.provisioner.get("i").releases > 0
    })
    .await;
    let record = world.record("i", "b").await.unwrap();
    assert_eq!(record.phase(), Phase::RevocationPending);
    assert!(!record.ledger.owed.is_empty());
    assert!(world.secrets_of("i", "b").await.is_empty());

    // With the instance went the way to log in: people see what is left.
    world.provisioner.set_phase("i", InstancePhase::Deleted);
    until("the revocation is postponed", async || {
        let record = world.record("i", "b").await.unwrap();
        record.ledger.look_at.is_some()
    })
    .await;
    world.mongod.resume().await.unwrap();
    let record = world.record("i", "b").await.unwrap();
    assert_eq!(record.phase(), Phase::RevocationPending);
    assert_eq!(world.users_of("i", "b").await.len(), 1);
    binder.stop().await;
}
