//! mongo-bootstrap against a real mongod and a real API server, as a process that can be killed.

#![expect(
    clippy::unwrap_used,
    reason = "what a helper cannot do fails the test that called it"
)]

mod claims;
mod pod;
mod revocations;
mod versions;
mod world;

use std::time::Duration;

use mongodb::bson::{Bson, doc};
use plan::claims::Membership;
use tokio::time::{Instant, sleep};

use claims::Claims;
use pod::{PASSWORD, Pod};
use world::{World, admin, certificates, config, connect, hello, users};

/// A set of one member, working.
async fn single(world: &World, namespace: &str) -> (pod::Set, Pod) {
    let set = world.set(namespace, 1).await;
    let mut pod = Pod::new(&set, 0);
    pod.start_mongod().await;
    pod.start_sidecar(None);
    pod.becomes_ready().await;
    world.settles(&set, 1).await;
    (set, pod)
}

/// There is one set, initiated once, with one admin user.
async fn is_whole(world: &World, set: &pod::Set) {
    world.settles(set, 1).await;
    assert!(world.is_marked(set).await);
    let config = config(&set.host(0)).await;
    assert_eq!(config.get("version"), Some(&Bson::Int32(1)), "{config}");
    assert_eq!(users(&set.host(0)).await, ["admin.osb-admin"]);
}

#[tokio::test]
async fn a_fresh_mongod_becomes_a_set_with_an_admin_who_can_make_users() {
    let world = World::start().await;
    let (set, mut pod) = single(&world, "fresh").await;
    is_whole(&world, &set).await;
    assert_eq!(pod.probe("/live").await, (200, "alive".to_owned()));

    let command = doc! {
        "createUser": "app", "pwd": "x", "mechanisms": ["SCRAM-SHA-256"],
        "roles": [{ "role": "readWrite", "db": "shop" }, { "role": "dbAdmin", "db": "shop" }],
    };
    admin(&set.host(0), command).await;
    admin(&set.host(0), doc! { "dropUser": "app" }).await;

    // A restart of either half changes nothing.
    pod.kill_sidecar().await;
    pod.start_sidecar(None);
    pod.becomes_ready().await;
    pod.kill_mongod().await;
    pod.start_mongod().await;
    pod.becomes_ready().await;
    is_whole(&world, &set).await;

    // SIGTERM ends it, in good order.
    assert!(pod.terminate_sidecar().await.success());
    assert!(!pod.sidecar_log().contains(PASSWORD));
}

#[tokio::test]
async fn killed_after_any_step_it_finishes_the_work_when_it_comes_back() {
    let world = World::start().await;
    for (number, step) in ["Initiate", "Mark", "CreateAdmin", "Report"]
        .into_iter()
        .enumerate()
    {
        let set = world.set(&format!("killed-{number}"), 1).await;
        let mut pod = Pod::new(&set, 0);
        pod.start_mongod().await;
        pod.start_sidecar(Some(step));
        assert!(
            !pod.sidecar_ends().await.success(),
            "{step} was never reached"
        );
        pod.start_sidecar(None);
        pod.becomes_ready().await;
        is_whole(&world, &set).await;
    }
}

#[tokio::test]
async fn killed_again_and_again_at_any_instant_it_still_ends_up_whole() {
    let world = World::start().await;
    let set = world.set("killed", 1).await;
    let mut pod = Pod::new(&set, 0);
    pod.start_mongod().await;
    for life in 0..25 {
        pod.start_sidecar(None);
        sleep(Duration::from_millis(20 + 35 * life)).await;
        pod.kill_sidecar().await;
    }
    pod.start_sidecar(None);
    pod.becomes_ready().await;
    is_whole(&world, &set).await;
}

#[tokio::test]
async fn a_lost_volume_never_becomes_a_second_set() {
    const REASON: &str = "never starts a second set";
    let world = World::start().await;
    let (set, mut pod) = single(&world, "lost").await;
    pod.kill_mongod().await;
    pod.lose_data();
    pod.start_mongod().await;

    let report = world
        .reported(&set, |report| report.members.is_empty())
        .await;
    assert!(report.message.unwrap().contains(REASON));
    // Another sidecar decides the same.
    pod.kill_sidecar().await;
    let logged = pod.times_logged(REASON);
    pod.start_sidecar(None);
    pod.logs(REASON, logged + 1).await;
    let hello = hello(&set.host(0)).await;
    assert!(!hello.contains_key("setName"), "{hello}");
    assert_eq!(
        pod.probe("/ready").await,
        (503, "not in the replica set".to_owned())
    );
    assert_eq!(pod.probe("/live").await.0, 200);
}

#[tokio::test]
async fn a_wrong_admin_password_is_reported_and_never_reset() {
    let world = World::start().await;
    let (set, mut pod) = single(&world, "refused").await;
    pod.write_password("not-the-password");
    pod.kill_sidecar().await;
    pod.start_sidecar(None);
    let report = world
        .reported(&set, |report| report.message.is_some())
        .await;
    assert!(
        report
            .message
            .unwrap()
            .contains("is not the one in the Secret")
    );
    // The right one works as before, and the set with it.
    assert_eq!(users(&set.host(0)).await, ["admin.osb-admin"]);
    assert_eq!(pod.probe("/ready").await.0, 200);
    pod.write_password(PASSWORD);
    is_whole(&world, &set).await;
}

#[tokio::test]
async fn probes_go_on_while_the_api_server_is_away() {
    let world = World::start().await;
    let (set, mut pod) = single(&world, "away").await;
    world.control_plane.stop_api_server().await;
    assert_eq!(pod.probe("/ready").await.0, 200);

    pod.kill_mongod().await;
    assert_eq!(
        pod.probe("/ready").await,
        (503, "mongod does not answer".to_owned())
    );
    assert_eq!(
        pod.probe("/live").await.0,
        200,
        "a mongod that is down for a moment is not dead"
    );
    pod.kill_sidecar().await;
    pod.start_sidecar(None);
    pod.start_mongod().await;
    pod.becomes_ready().await;

    world.control_plane.start_api_server().await.unwrap();
    world.want(&set, 3).await;
    world.reported(&set, |report| report.desired == 3).await;
}

#[tokio::test]
async fn a_member_that_did_not_find_its_own_name_asks_for_a_restart() {
    let world = World::start().await;
    let (set, mut pod) = single(&world, "moved").await;
    pod.kill_sidecar().await;
    pod.kill_mongod().await;
    // Its name leads nowhere while it starts, as that of a pod that was moved may for a moment.
    pod.move_to(Some("127.0.2.1"));
    pod.start_mongod().await;
    pod.start_sidecar(None);
    let report = world
        .reported(&set, |report| report.message.is_some())
        .await;
    assert_eq!((report.members, report.primary_ordinal), (vec![], None));
    assert_eq!(pod.probe("/ready").await.0, 503);
    assert_eq!(
        pod.probe("/live").await.0,
        200,
        "a restart would not help yet"
    );

    // Now it leads to it.
    let listener = tokio::net::TcpListener::bind(set.host(0)).await.unwrap();
    let address = pod.address();
    let forward = tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut to = tokio::net::TcpStream::connect(&address).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    while pod.probe("/live").await.0 == 200 {
        sleep(Duration::from_millis(200)).await;
    }
    // The kubelet starts it again.
    pod.kill_mongod().await;
    pod.start_mongod().await;
    pod.becomes_ready().await;
    world.settles(&set, 1).await;
    assert_eq!(pod.probe("/live").await.0, 200);
    assert_eq!(users(&set.host(0)).await, ["admin.osb-admin"]);
    forward.abort();
}

#[tokio::test]
async fn a_set_that_accepts_only_tls_is_initiated_too() {
    let world = World::start().await;
    let mut set = world.set("tls", 1).await;
    let (pem, ca) = certificates(&world, "localhost");
    for argument in [
        "--tlsMode=requireTLS",
        "--tlsAllowConnectionsWithoutCertificates",
    ] {
        set.mongod_args.push(argument.to_owned());
    }
    set.mongod_args
        .push(format!("--tlsCertificateKeyFile={}", pem.display()));
    set.mongod_args
        .push(format!("--tlsCAFile={}", ca.display()));
    set.environment
        .push(("BROKER_MONGOD_CA".to_owned(), ca.display().to_string()));
    set.environment.push((
        "BROKER_MONGOD".to_owned(),
        format!("localhost:{}", set.port.number()),
    ));
    let mut pod = Pod::new(&set, 0);
    // Both: its name, and what localhost means.
    pod.move_to(Some("127.0.0.1,127.0.1.0"));
    pod.start_mongod().await;
    pod.start_sidecar(None);
    pod.becomes_ready().await;
    world.settles(&set, 1).await;
}

#[tokio::test]
async fn liveness_fails_once_mongod_has_not_answered_for_long() {
    let world = World::start().await;
    let mut set = world.set("dead", 1).await;
    set.environment
        .push(("BROKER_DEAD_AFTER".to_owned(), "1".to_owned()));
    let mut pod = Pod::new(&set, 0);
    pod.start_sidecar(None);
    // Each probe waits for mongod: two take longer than it may be silent.
    while pod.probe("/live").await.0 == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    let (status, text) = pod.probe("/live").await;
    assert_eq!(status, 200, "a mongod that starts is not dead: {text}");
    pod.start_mongod().await;
    pod.becomes_ready().await;
    pod.kill_mongod().await;
    let start = Instant::now();
    loop {
        let (status, text) = pod.probe("/live").await;
        if status == 503 {
            break;
        }
        assert!(start.elapsed() < pod::LIMIT, "{status} {text}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Pods 1 and 2, started.
async fn others(set: &pod::Set) -> [Pod; 2] {
    let mut others = [Pod::new(set, 1), Pod::new(set, 2)];
    for pod in &mut others {
        pod.start_mongod().await;
        pod.start_sidecar(None);
    }
    others
}

/// Three members, each with a vote.
async fn are_three(world: &World, set: &pod::Set) {
    world.settles(set, 3).await;
    let config = config(&set.host(0)).await;
    let members = config.get_array("members").unwrap();
    assert_eq!(members.len(), 3, "{config}");
    for member in members {
        let votes = member.as_document().unwrap().get("votes");
        assert_eq!(votes, Some(&Bson::Int32(1)), "{config}");
    }
}

#[tokio::test]
async fn a_growth_that_is_killed_after_any_of_its_steps_ends_with_three_voters() {
    let world = World::start().await;
    let (set, mut first) = single(&world, "growth").await;
    first.kill_sidecar().await;
    world.want(&set, 3).await;
    let others = others(&set).await;
    for step in ["Report", "Add", "Promote", "Add", "Promote"] {
        first.start_sidecar(Some(step));
        let ended = first.sidecar_ends().await;
        assert!(!ended.success(), "{step} was never reached");
    }
    first.start_sidecar(None);
    are_three(&world, &set).await;
    for pod in &others {
        pod.becomes_ready().await;
    }
    assert_eq!(users(&set.host(0)).await, ["admin.osb-admin"]);
}

#[tokio::test]
async fn a_set_grows_to_three_and_shrinks_to_one_without_losing_data() {
    let world = World::start().await;
    let (set, mut first) = single(&world, "sizes").await;
    let note = doc! { "kept": true };
    admin(
        &set.host(0),
        doc! {
            "createUser": "app", "pwd": "x", "roles": [{ "role": "readWrite", "db": "shop" }],
        },
    )
    .await;
    let app = mongodb::Client::with_uri_str(format!(
        "mongodb://app:x@{},{},{}/?authSource=admin&replicaSet=mdb",
        set.host(0),
        set.host(1),
        set.host(2),
    ))
    .await
    .unwrap();
    app.database("shop")
        .collection("notes")
        .insert_one(note.clone())
        .await
        .unwrap();

    let claims = Claims::shipped();
    let alone = [Membership::Member, Membership::Left, Membership::Left];
    let all = [Membership::Member, Membership::Member, Membership::Member];
    assert_eq!(claims.of(&world, &set).await, alone);
    // The order of the provisioner: the topology first, then the pods.
    world.want(&set, 3).await;
    assert_eq!(
        claims.of(&world, &set).await,
        all,
        "before they have joined"
    );
    let mut others = others(&set).await;
    for pod in &others {
        pod.becomes_ready().await;
    }
    are_three(&world, &set).await;
    assert_eq!(claims.of(&world, &set).await, all);

    // The worst case: the primary is the last member, which must go.
    admin(&set.host(1), doc! { "replSetFreeze": 60 }).await;
    let stepped = connect(&set.host(0), Some(PASSWORD))
        .database("admin")
        .run_command(doc! { "replSetStepDown": 60 })
        .await;
    stepped.unwrap();
    world
        .reported(&set, |report| report.primary_ordinal == Some(2))
        .await;
    // It could not take over again for a minute otherwise.
    admin(&set.host(0), doc! { "replSetFreeze": 0 }).await;

    // Killed in the middle, twice.
    others[1].kill_sidecar().await;
    world.want(&set, 1).await;
    let unknown = [Membership::Member, Membership::Unknown, Membership::Unknown];
    assert_eq!(
        claims.of(&world, &set).await,
        unknown,
        "the report is older"
    );
    others[1].start_sidecar(Some("Remove"));
    others[1].sidecar_ends().await;
    assert_eq!(claims.of(&world, &set).await, unknown, "2 is a member");
    others[1].start_sidecar(Some("StepDown"));
    others[1].sidecar_ends().await;
    assert_eq!(claims.of(&world, &set).await, unknown, "2 is a member");
    others[1].start_sidecar(None);
    let report = world.settles(&set, 1).await;
    assert_eq!(report.primary_ordinal, Some(0));
    assert_eq!(claims.of(&world, &set).await, alone);

    // Then the provisioner lets the pods go.
    drop(others);
    let found = app
        .database("shop")
        .collection::<mongodb::bson::Document>("notes");
    assert_eq!(found.count_documents(note.clone()).await.unwrap(), 1);
    found.insert_one(doc! { "late": true }).await.unwrap();
    first.kill_sidecar().await;
}
