//! How many requests each kind of operation costs the API server. What is
//! counted is what leaves the binder's client; leases and the watches that
//! belong to the process, not to an operation, are left out.
//!
//! A number that changes here changes what a cluster has to bear: a request
//! that is added needs a reason, one that goes may be taken off.

use testbed::requests::{Counter, Counts, counts};

use crate::world::{World, credentials, done, until};

/// The requests since the last time, once the operation has told its end.
async fn spent(counter: &Counter) -> Counts {
    until("the end is told", async || counter.has("create events")).await;
    counter.take()
}

fn of_bind() -> Counts {
    counts([
        ("create secrets", 2), // the request, and the password
        ("create servicebindings", 1),
        ("update servicebindings", 1),
        ("patch servicebindings/status", 1),
        ("create events", 1),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_keeps_to_its_budget_of_api_requests() {
    let world = World::start().await;
    world.instance("i").await;
    let counter = Counter::default();
    let client = counter.client(world.control_plane.config()).unwrap();
    let mut args = world.args("a");
    // Not within this test.
    args.second_look = std::time::Duration::from_secs(3600);
    let binder = world.binder_as(args, client).await;
    let bind = async |binding: &str| {
        let bound = binder.bind(world.bind_request("i", binding)).await;
        done(bound.unwrap())
    };

    // The first one connects to the database.
    bind("first").await;
    spent(&counter).await;

    let bound = bind("b").await;
    assert_eq!(spent(&counter).await, of_bind(), "bind");

    let fetched = binder.fetch("i", "b").await.unwrap();
    assert_eq!(credentials(&fetched), credentials(&bound));
    let of_fetch = counts([("get servicebindings", 1), ("get secrets", 2)]);
    assert_eq!(counter.take(), of_fetch, "fetch");
    let operation = world.record("i", "b").await.unwrap();
    let operation = operation.operation().id.clone();
    binder.poll("i", "b", &operation).await.unwrap();
    assert_eq!(counter.take(), counts([]), "a poll by a lone replica");

    let mut rotation = world.bind_request("i", "next");
    rotation.predecessor_binding_id = "b".into();
    done(binder.bind(rotation).await.unwrap());
    let mut of_rotation = of_bind();
    // What it takes over: of the predecessor, and its request.
    of_rotation.extend(counts([("get servicebindings", 1), ("get secrets", 1)]));
    assert_eq!(spent(&counter).await, of_rotation, "rotate");

    binder.unbind(world.unbind_request("i", "b")).await.unwrap();
    assert_eq!(
        spent(&counter).await,
        counts([
            ("update servicebindings", 2),
            ("delete secrets", 2),
            ("patch servicebindings/status", 1),
            ("create events", 1),
        ]),
        "unbind"
    );
    binder.stop().await;
}
