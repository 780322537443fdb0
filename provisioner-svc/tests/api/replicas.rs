//! Three replicas on one control plane: they divide the work, take it over,
//! and never tell a client less than another of them has told before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use broker_proto::{
    client::Transport,
    v1::{
        LastOperationRequest, OperationState, OperationStatus, Outcome,
        provisioner_client::ProvisionerClient,
    },
};
use cluster::{names, share::Members};
use futures::future::{join, join_all};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap, events::v1::Event};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{
    Plan, Provisioner, SIMPLE, SYNCHRONOUS, World, code, end_of, eventually, metrics,
};

/// Polls without pause would only measure the machine.
const BETWEEN_POLLS: Duration = Duration::from_millis(10);

/// Instances stay in work until their ConfigMap says that they are done.
const HELD_UP: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "ready:\n  ConfigMap/it: {ready: \"object.data.done == 'yes'\", message: \"waiting for done\"}\n",
    ),
    (
        "1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\n",
    ),
];

/// Replicas of these names that know of each other.
async fn replicas<const N: usize>(world: &World, names: [&str; N]) -> [Provisioner; N] {
    let all = join_all(names.map(|name| world.provisioner(name))).await;
    know_each_other(world, N).await;
    all.try_into().unwrap_or_else(|_| panic!("one of each"))
}

/// Waits until there are so many leases, and each tells of all others.
async fn know_each_other(world: &World, count: usize) {
    eventually("the replicas know of each other", async || {
        let leases = leases(world).await;
        let knows_all = |lease: &Lease| {
            let seen = lease.annotations().get("mongodb-osb.io/sees");
            seen.is_some_and(|seen| seen.split(',').count() == count - 1)
        };
        (leases.len() == count && leases.iter().all(knows_all)).then_some(())
    })
    .await;
}

async fn leases(world: &World) -> Vec<Lease> {
    let leases: Api<Lease> = Api::namespaced(world.client(), &world.namespace);
    leases.list(&ListParams::default()).await.unwrap().items
}

/// How many records each of the replicas owns.
fn partition(live: &[&str], ids: &[String]) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> =
        live.iter().map(|name| ((*name).to_owned(), 0)).collect();
    for id in ids {
        *counts.entry(owner(live, id)).or_default() += 1;
    }
    counts
}

fn owner(live: &[&str], id: &str) -> String {
    let members = Members::new("", live.iter().map(|name| (*name).to_owned()));
    let record = names::instance_record(id);
    members.owner(&record).unwrap().to_owned()
}

/// Records that a replica works on, by its metrics.
async fn in_work(replica: &Provisioner) -> usize {
    let answer = metrics(replica.admin).await;
    answer
        .lines()
        .find_map(|line| line.strip_prefix("provisioner_records_in_work "))
        .unwrap_or_else(|| panic!("the metric is there: {answer}"))
        .trim()
        .parse()
        .unwrap()
}

/// Waits until the work is divided as the hash says.
async fn divided(replicas: &[(&str, &Provisioner)], ids: &[String]) {
    let live: Vec<&str> = replicas.iter().map(|(name, _)| *name).collect();
    let wanted = partition(&live, ids);
    assert!(wanted.values().all(|count| *count > 0), "{wanted:?}");
    eventually("the work is divided", async || {
        for (name, replica) in replicas {
            if in_work(replica).await != wanted[*name] {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_divided_and_moves_no_more_than_it_must() {
    let world = World::start().await;
    let plan = world.plan("held-up", &HELD_UP);
    let [a, b, c] = replicas(&world, ["a", "b", "c"]).await;
    let ids: Vec<String> = (0..30).map(|number| format!("i{number}")).collect();
    let begun = ids.iter().enumerate().map(async |(number, id)| {
        let mut client = [&a, &b, &c][number % 3].client.clone();
        let answer = client.provision(plan.provision(id, json!({}))).await;
        answer.unwrap().into_inner().operation
    });
    let operations = join_all(begun).await;
    divided(&[("a", &a), ("b", &b), ("c", &c)], &ids).await;

    // Whoever joins gets its part, and nobody else gets anything.
    let d = world.provisioner("d").await;
    let four = ["a", "b", "c", "d"];
    for id in &ids {
        let after = owner(&four, id);
        assert!(after == "d" || after == owner(&four[..3], id), "{id}");
    }
    divided(&[("a", &a), ("b", &b), ("c", &c), ("d", &d)], &ids).await;

    // Whoever leaves in order hands over at once.
    d.stop().await;
    assert_eq!(leases(&world).await.len(), 3, "its lease was given back");
    divided(&[("a", &a), ("b", &b), ("c", &c)], &ids).await;

    // The work of one that is killed is taken over when its lease has ended.
    c.kill();
    assert_eq!(
        leases(&world).await.len(),
        3,
        "its lease was not given back"
    );
    divided(&[("a", &a), ("b", &b)], &ids).await;

    for id in &ids {
        let namespace = world.record(id).await.spec.namespace;
        let maps: Api<ConfigMap> = Api::namespaced(world.client(), &namespace);
        let done = json!({"data": {"done": "yes"}});
        let params = PatchParams::default();
        maps.patch("it", &params, &Patch::Merge(&done))
            .await
            .unwrap();
    }
    for (id, operation) in ids.iter().zip(&operations) {
        let ended = end_of(&a.client, id, operation).await;
        assert_eq!(ended.state(), OperationState::Succeeded);
    }
    assert_eq!(world.instance_namespaces().await.len(), ids.len());
    let reporters = eventually("both have told of ends", async || {
        let reporters = reporters(&world).await;
        (reporters.len() == 2).then_some(reporters)
    });
    assert_eq!(reporters.await, ["a", "b"].map(str::to_owned).into());
}

/// The replicas that ended operations, by the events that they published.
async fn reporters(world: &World) -> BTreeSet<String> {
    let events: Api<Event> = Api::namespaced(world.client(), &world.namespace);
    let list = events.list(&ListParams::default()).await.unwrap();
    let ends = list
        .items
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some("Succeeded"));
    ends.filter_map(|event| event.reporting_instance).collect()
}

type Client = ProvisionerClient<Transport>;

async fn poll(client: &Client, id: &str, operation: &str) -> OperationStatus {
    let request = LastOperationRequest {
        instance_id: id.to_owned(),
        operation: operation.to_owned(),
        platform: String::new(),
    };
    let answer = client.clone().last_operation(request).await;
    answer
        .unwrap_or_else(|status| panic!("{id} {operation}: {status:?}"))
        .into_inner()
}

/// Polls through every replica at once until each has told the end. Once any
/// has told it, no poll that starts later may tell less.
async fn hammer(clients: &[Client; 3], id: &str, operation: &str) {
    let told = AtomicBool::new(false);
    let pollers = clients.iter().map(async |client| {
        loop {
            let before = told.load(Ordering::SeqCst);
            let status = poll(client, id, operation).await;
            assert_eq!(status.operation, operation, "{id}");
            match status.state() {
                OperationState::Succeeded => {
                    told.store(true, Ordering::SeqCst);
                    // At once, while watches may still lag behind.
                    for again in join_all(clients.iter().map(|c| poll(c, id, operation))).await {
                        assert_eq!(again.state(), OperationState::Succeeded, "{id}");
                    }
                    return;
                }
                OperationState::InProgress => assert!(!before, "{id}: an older truth was told"),
                other => panic!("{id}: {other:?} {}", status.description),
            }
            tokio::time::sleep(BETWEEN_POLLS).await;
        }
    });
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, join_all(pollers))
        .await
        .unwrap();
}

/// One instance's life, each request through another replica and each answer
/// checked through all of them at once.
async fn life(clients: &[Client; 3], plan: &Plan, number: usize) {
    let id = format!("i{number}");
    let via = |request: usize| clients[(number + request) % 3].clone();
    for round in 0..2 {
        let request = plan.provision(&id, json!({"note": "one"}));
        let answer = via(round).provision(request.clone()).await.unwrap();
        hammer(clients, &id, &answer.into_inner().operation).await;
        for client in clients {
            let replay = client.clone().provision(request.clone()).await.unwrap();
            assert_eq!(replay.into_inner().outcome(), Outcome::Unchanged);
        }

        let request = plan.update(&id, json!({"note": "two"}));
        let answer = via(round + 1).update(request).await.unwrap();
        hammer(clients, &id, &answer.into_inner().operation).await;

        let answer = via(round + 2).deprovision(plan.deprovision(&id)).await;
        let operation = answer.unwrap().into_inner().operation;
        hammer(clients, &id, &operation).await;
        for client in clients {
            let again = client.clone().deprovision(plan.deprovision(&id)).await;
            assert_eq!(code(again), broker_proto::ErrorCode::Gone);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_replica_tells_an_older_truth_than_another_has_told() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let [a, b, c] = replicas(&world, ["a", "b", "c"]).await;
    let clients = [&a, &b, &c].map(|replica| replica.client.clone());
    join_all((0..10).map(|number| life(&clients, &plan, number))).await;
    world.assert_nothing_left().await;
    assert_eq!(reporters(&world).await.len(), 3, "each had its part");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_request_is_worked_by_the_replica_that_took_it() {
    let world = World::start().await;
    let plan = world.plan("synchronous", &SYNCHRONOUS);
    let [a, b, c] = replicas(&world, ["a", "b", "c"]).await;
    // One that hashing gives to another replica.
    let id = (0..100)
        .map(|number| format!("i{number}"))
        .find(|id| owner(&["a", "b", "c"], id) != "a")
        .unwrap();
    let mut request = plan.provision(&id, json!({}));
    request.accepts_incomplete = false;
    let mut client = a.client.clone();
    let created = client.provision(request).await.unwrap().into_inner();
    assert_eq!(created.outcome(), Outcome::Done);
    let record = world.record(&id).await;
    assert_eq!(record.spec.operation.driver.as_deref(), Some("a"));
    eventually("the end is told", async || {
        (reporters(&world).await == BTreeSet::from(["a".to_owned()])).then_some(())
    })
    .await;
    // The driver is gone: the others go on without it.
    a.kill();
    let mut request = plan.deprovision(&id);
    request.accepts_incomplete = false;
    let (one, other) = (b.client.clone(), c.client.clone());
    let both = join(
        async { one.clone().deprovision(request.clone()).await },
        async { other.clone().deprovision(request.clone()).await },
    );
    let (one, other) = both.await;
    for answer in [one, other] {
        match answer {
            Ok(answer) => assert_eq!(answer.into_inner().outcome(), Outcome::Done),
            Err(status) => assert_eq!(code::<()>(Err(status)), broker_proto::ErrorCode::Gone),
        }
    }
    world.assert_nothing_left().await;
}
