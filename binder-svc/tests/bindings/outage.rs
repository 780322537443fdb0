//! The database or the API server is away for a while.

use std::time::Duration;

use binder_svc::resource::Phase;
use broker_proto::{ErrorCode, v1::Outcome};

use crate::world::{World, done, until, uri, use_database};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_waits_for_a_database_that_is_away_and_then_ends_by_itself() {
    let world = World::start().await;
    world.instance("i").await;
    let mut args = world.args("r1");
    args.revoke_deadline = Duration::from_secs(15);
    let binder = world.binder_with(args).await;
    let kept = done(binder.bind(world.bind_request("i", "kept")).await.unwrap());
    let pending = done(
        binder
            .bind(world.bind_request("i", "pending"))
            .await
            .unwrap(),
    );
    world.mongod.stop().await;

    let error = binder
        .bind(world.bind_request("i", "waits"))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    let mut polls = world.bind_request("i", "polls");
    polls.accepts_incomplete = true;
    let accepted = binder.bind(polls.clone()).await.unwrap();
    assert_eq!(accepted.outcome(), Outcome::Accepted);
    assert!(accepted.binding.is_none());
    let again = binder.bind(polls).await.unwrap();
    assert_eq!(
        (again.outcome(), &again.operation),
        (Outcome::Accepted, &accepted.operation)
    );
    assert_eq!(
        binder.fetch("i", "polls").await.unwrap_err().code,
        ErrorCode::NotFound
    );

    // An unbind answers 503 until its deadline, then 200 with the drop owed.
    let error = binder
        .unbind(world.unbind_request("i", "pending"))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    until("the revocation is pending", async || {
        world.record("i", "pending").await.unwrap().phase() == Phase::RevocationPending
    })
    .await;
    let gone = binder
        .unbind(world.unbind_request("i", "pending"))
        .await
        .unwrap_err();
    assert_eq!(gone.code, ErrorCode::Gone);
    assert!(world.secrets_of("i", "pending").await.is_empty());

    world.mongod.resume().await.unwrap();
    assert!(binder.ended("i", "polls", &accepted.operation).await);
    assert!(binder.ended("i", "waits", "").await);
    for binding in ["waits", "polls"] {
        assert_eq!(world.users_of("i", binding).await.len(), 1);
        use_database(&uri(&binder.fetch("i", binding).await.unwrap()))
            .await
            .unwrap();
    }
    until("the pending revocation is done", async || {
        world.record("i", "pending").await.unwrap().phase() == Phase::Deleted
    })
    .await;
    assert!(world.users_of("i", "pending").await.is_empty());
    assert!(use_database(&uri(&pending)).await.is_err());
    use_database(&uri(&kept)).await.unwrap();
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_a_bind_over_after_its_deadline_says_why_it_failed() {
    let world = World::start().await;
    world.instance("i").await;
    let mut args = world.args("r1");
    args.bind_deadline = Duration::from_secs(10);
    let first = world.binder_with(args).await;
    world.mongod.stop().await;
    let mut request = world.bind_request("i", "b");
    request.accepts_incomplete = true;
    let operation = first.bind(request).await.unwrap().operation;
    let in_the_way = "The instance's database";
    until("the record says what is in the way", async || {
        let object = world.record("i", "b").await.unwrap().into_object();
        let conditions = object.status.map(|status| status.conditions);
        conditions.is_some_and(|all| all[0].message.contains(in_the_way))
    })
    .await;
    first.stop().await;
    let record = world.record("i", "b").await.unwrap();
    assert_eq!(record.phase(), Phase::Binding, "it ended too early");
    until("the deadline is over", async || {
        jiff::Timestamp::now() > record.operation().deadline
    })
    .await;

    let heir = world.binder("r2").await;
    assert!(!heir.ended("i", "b", &operation).await);
    let polled = heir.poll("i", "b", &operation).await.unwrap();
    assert!(polled.description.contains(in_the_way), "{polled:?}");
    heir.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_unavailable_while_the_api_server_is_away_and_work_resumes() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("r1").await;
    let kept = done(binder.bind(world.bind_request("i", "kept")).await.unwrap());
    world.control_plane.stop_api_server().await;
    for error in [
        binder.bind(world.bind_request("i", "b")).await.unwrap_err(),
        binder
            .unbind(world.unbind_request("i", "kept"))
            .await
            .unwrap_err(),
        binder.fetch("i", "kept").await.unwrap_err(),
    ] {
        assert_eq!(error.code, ErrorCode::Unavailable);
    }
    use_database(&uri(&kept)).await.unwrap();
    world.control_plane.start_api_server().await.unwrap();
    until("binds work again", async || {
        let answer = binder.bind(world.bind_request("i", "b")).await;
        answer.is_ok_and(|answer| answer.binding.is_some())
    })
    .await;
    assert_eq!(world.users_of("i", "b").await.len(), 1);
    until("unbinds work again", async || {
        binder
            .unbind(world.unbind_request("i", "kept"))
            .await
            .is_ok()
    })
    .await;
    assert!(use_database(&uri(&kept)).await.is_err());
    binder.stop().await;
}
