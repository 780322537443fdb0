//! Logins that the broker wants revoked and has no connection for.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use mongo::{
    marks::{self, Mark},
    revocation::{ANSWERS, Answer, Answers, OBJECT, Request},
};
use mongodb::bson::doc;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    pod::{LIMIT, PASSWORD, Pod, Set},
    single,
    world::{World, admin, connect, users},
};

fn objects(world: &World, set: &Set) -> Api<ConfigMap> {
    Api::namespaced(world.control_plane.client(), &set.namespace)
}

/// A user of an attempt of the binding.
async fn make_user(set: &Set, name: &str, binding: &str, attempt: u32) {
    let mark = Mark {
        instance: "i".into(),
        binding: binding.into(),
        incarnation: "x".into(),
        attempt,
    };
    let command = doc! {
        "createUser": name, "pwd": "x", "roles": [],
        "customData": marks::custom_data(&mark),
    };
    admin(&set.host(0), command).await;
}

async fn ask(world: &World, set: &Set, binding: &str, id: &str, names: &[&str], below: u32) {
    let request = Request {
        id: id.into(),
        operation: None,
        users: names.iter().map(|name| (*name).to_owned()).collect(),
        below,
    };
    put(world, set, binding, json!(json!(request).to_string())).await;
}

async fn put(world: &World, set: &Set, binding: &str, value: serde_json::Value) {
    let patch = Patch::Merge(json!({ "data": { binding: value } }));
    let params = PatchParams::default();
    let api = objects(world, set);
    api.patch(OBJECT, &params, &patch).await.unwrap();
}

async fn answers(world: &World, set: &Set) -> Answers {
    let object = objects(world, set).get(OBJECT).await.unwrap();
    let text = object.metadata.annotations.unwrap_or_default();
    let text = text.get(ANSWERS).map_or("{}", String::as_str);
    serde_json::from_str(text).unwrap()
}

async fn answered(world: &World, set: &Set, binding: &str, id: &str) -> Answer {
    let start = Instant::now();
    loop {
        let answer = answers(world, set).await.remove(binding);
        match answer {
            Some(answer) if answer.id == id => return answer,
            last => assert!(start.elapsed() < LIMIT, "the last answer is {last:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn clean(id: &str) -> Answer {
    Answer {
        id: id.into(),
        left: [].into(),
        refused: Vec::new(),
    }
}

#[tokio::test]
async fn only_users_of_the_binding_and_of_older_attempts_are_dropped() {
    let world = World::start().await;
    let (set, _pod) = single(&world, "dropped").await;
    world.apply(&set, OBJECT, json!({})).await;
    for (name, binding, attempt) in [
        ("b-1", "r", 1),
        ("b-2", "r", 2),
        ("b-3", "r", 3),
        ("c-1", "other", 1),
    ] {
        make_user(&set, name, binding, attempt).await;
    }
    // What cannot be read is passed over.
    put(&world, &set, "broken", json!("{")).await;
    ask(&world, &set, "r", "one", &["b-1", "b-0"], 3).await;
    let answer = answered(&world, &set, "r", "one").await;
    let left = [("b-2".to_owned(), 2), ("b-3".to_owned(), 3)];
    assert_eq!(answer.left, left.into());
    assert!(answer.refused.is_empty(), "{answer:?}");

    // A newer attempt, another binding's user and the admin are not the request's to drop.
    let names = ["b-2", "b-3", "c-1", "osb-admin"];
    ask(&world, &set, "r", "two", &names, 3).await;
    let answer = answered(&world, &set, "r", "two").await;
    assert_eq!(answer.left, [("b-3".to_owned(), 3)].into());
    let mut refused = answer.refused;
    refused.sort();
    assert_eq!(refused, ["b-3", "c-1", "osb-admin"]);
    let mut there = users(&set.host(0)).await;
    there.sort();
    assert_eq!(there, ["admin.b-3", "admin.c-1", "admin.osb-admin"]);

    // The answer goes with its request.
    put(&world, &set, "r", serde_json::Value::Null).await;
    let start = Instant::now();
    while !answers(&world, &set).await.is_empty() {
        assert!(start.elapsed() < LIMIT, "the answer stays");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn killed_after_any_step_of_a_revocation_it_ends_it_when_it_comes_back() {
    let world = World::start().await;
    let (set, mut pod) = single(&world, "revoking").await;
    world.apply(&set, OBJECT, json!({})).await;
    for step in ["DropRevoked", "ReportRevoked"] {
        pod.kill_sidecar().await;
        make_user(&set, step, "r", 1).await;
        ask(&world, &set, "r", step, &[step], 2).await;
        pod.start_sidecar(Some(step));
        assert!(
            !pod.sidecar_ends().await.success(),
            "{step} was never reached"
        );
        pod.start_sidecar(None);
        assert_eq!(answered(&world, &set, "r", step).await, clean(step));
        assert_eq!(users(&set.host(0)).await, ["admin.osb-admin"]);
    }
}

#[tokio::test]
async fn a_primary_that_changes_half_way_leaves_the_rest_to_the_next_one() {
    let world = World::start().await;
    let (set, mut first) = single(&world, "handed").await;
    world.apply(&set, OBJECT, json!({})).await;
    world.want(&set, 3).await;
    let mut others = [Pod::new(&set, 1), Pod::new(&set, 2)];
    for pod in &mut others {
        pod.start_mongod().await;
        pod.start_sidecar(None);
    }
    world.settles(&set, 3).await;
    for name in ["b-1", "b-2"] {
        make_user(&set, name, "r", 1).await;
    }
    // It drops one of two, tells nobody, and its mongod goes as well.
    first.kill_sidecar().await;
    first.start_sidecar(Some("DropRevoked"));
    ask(&world, &set, "r", "one", &["b-1", "b-2"], 2).await;
    assert!(!first.sidecar_ends().await.success());
    assert!(answers(&world, &set).await.is_empty());
    first.kill_mongod().await;

    assert_eq!(answered(&world, &set, "r", "one").await, clean("one"));
    let mut primary = None;
    for host in [set.host(1), set.host(2)] {
        let hello = crate::world::hello(&host).await;
        if hello.get_bool("isWritablePrimary").unwrap() {
            primary = Some(host);
        }
    }
    assert_eq!(users(&primary.unwrap()).await, ["admin.osb-admin"]);

    // Without a primary nothing is done, and nothing told.
    others[1].kill_mongod().await;
    ask(&world, &set, "r", "two", &["b-1"], 2).await;
    let alone = connect(&set.host(1), Some(PASSWORD)).database("admin");
    let start = Instant::now();
    loop {
        let hello = alone.run_command(doc! { "hello": 1 }).await.unwrap();
        if !hello.get_bool("isWritablePrimary").unwrap() {
            break;
        }
        assert!(start.elapsed() < LIMIT, "it stays primary alone");
        sleep(Duration::from_millis(200)).await;
    }
    let told = answers(&world, &set).await;
    assert_eq!(told.get("r").map(|answer| &*answer.id), Some("one"));
    others[1].start_mongod().await;
    assert_eq!(answered(&world, &set, "r", "two").await, clean("two"));
}
