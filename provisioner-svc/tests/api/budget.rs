//! How many requests each kind of operation costs the API server. What is
//! counted is what leaves the provisioner's client; leases and the watches that
//! belong to the process, not to an operation, are left out.
//!
//! A number that changes here changes what a cluster has to bear: a request
//! that is added needs a reason, one that goes may be taken off.

use broker_proto::v1::{FetchInstanceRequest, HoldRequest, ReleaseHoldRequest};
use serde_json::json;
use testbed::requests::{Counter, Counts, counts};

use crate::harness::{World, deprovisioned, end_of, eventually, provisioned, updated};

/// Four objects, as an instance has at least.
const FOUR: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "parameters:\n  create:\n    properties:\n      note: {type: string, maxLength: 40, default: none}\n  update: {inherit: create}\n",
    ),
    (
        "10-objects.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: text}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {note: \"{{ note }}\"}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: scripts}\ndata: {start.sh: \"exec mongod\"}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: database}\n\
         spec: {clusterIP: None, selector: {app: database}, ports: [{port: 27017}]}\n",
    ),
];

/// The requests since the last time, once the operation has told its end.
async fn spent(counter: &Counter) -> Counts {
    eventually("the end is told", async || {
        (counter.has("create events") || counter.has("patch events")).then_some(())
    })
    .await;
    counter.take()
}

/// The requests since the last time, once there was one of these.
async fn counted(counter: &Counter, last: &str) -> Counts {
    eventually(last, async || counter.has(last).then_some(())).await;
    counter.take()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_keeps_to_its_budget_of_api_requests() {
    let world = World::start().await;
    let plan = world.plan("four", &FOUR);
    let counter = Counter::default();
    let client = counter.client(world.control_plane.config()).unwrap();
    let provisioner = world.provisioner_as(world.args("a"), client).await;
    let mut client = provisioner.client.clone();

    // The first of its kinds asks what the cluster serves.
    provisioned(&client, plan.provision("first", json!({}))).await;
    spent(&counter).await;

    provisioned(&client, plan.provision("i", json!({}))).await;
    assert_eq!(
        spent(&counter).await,
        counts([
            ("create secrets", 2), // the revision, and an object
            ("create serviceinstances", 1),
            ("create namespaces", 1),
            ("create rolebindings", 2),
            ("create configmaps", 2),
            ("create services", 1),
            ("update serviceinstances", 1),
            ("patch serviceinstances/status", 1),
            ("create events", 1),
        ]),
        "provision"
    );

    // The operation was polled by its id until it ended; now whatever is newest,
    // and its end.
    let operation = world.record("i").await.spec.operation.id;
    for operation in ["", &operation] {
        end_of(&client, "i", operation).await;
    }
    let fetch = FetchInstanceRequest {
        instance_id: "i".into(),
        platform: String::new(),
    };
    client.fetch_instance(fetch).await.unwrap();
    let hold = HoldRequest {
        instance_id: "i".into(),
        incarnation: world.record("i").await.spec.incarnation,
    };
    assert_eq!(
        counter.take(),
        counts([]),
        "polls and fetches by a lone replica"
    );
    client.hold(hold.clone()).await.unwrap();
    let shown = counted(&counter, "patch serviceinstances/status").await;
    assert_eq!(
        shown,
        counts([
            ("update serviceinstances", 1),
            // The record has a new generation, which the status shows.
            ("get serviceinstances", 1),
            ("patch serviceinstances/status", 1),
        ]),
        "the first hold"
    );
    client.hold(hold.clone()).await.unwrap();
    assert_eq!(
        counter.take(),
        counts([("get serviceinstances", 1)]),
        "another hold"
    );
    let release = ReleaseHoldRequest {
        instance_id: hold.instance_id,
        incarnation: hold.incarnation,
    };
    client.release_hold(release).await.unwrap();
    counted(&counter, "patch serviceinstances/status").await;
    eventually("the status is current", async || {
        let record = world.record("i").await;
        let shown = record.status.map(|status| status.observed_generation);
        (shown == record.metadata.generation).then_some(())
    })
    .await;

    let update = plan.update("i", json!({"note": "once"}));
    updated(&client, update).await;
    // What was created is from now on owned as if it had been applied: the
    // object that changes is tried and written twice.
    let first = spent(&counter).await;
    assert_eq!(first, of_update(2), "the first update");
    updated(&client, plan.update("i", json!({"note": "twice"}))).await;
    assert_eq!(spent(&counter).await, of_update(1), "another update");

    deprovisioned(&client, plan.deprovision("i")).await;
    assert_eq!(
        spent(&counter).await,
        counts([
            ("get serviceinstances", 1),
            ("update serviceinstances", 2),
            ("get namespaces", 1),
            ("delete namespaces", 1),
            ("watch namespaces", 1),
            ("delete secrets", 1), // the revision
            ("patch serviceinstances/status", 2),
            ("patch events", 1),
        ]),
        "deprovision"
    );
}

/// An update that changes one of the four objects, which is tried and written
/// so often. The others are not asked for.
fn of_update(times: usize) -> Counts {
    counts([
        ("get serviceinstances", 2), // of the request; before the first write
        ("create secrets", 1),       // the revision
        ("update serviceinstances", 3),
        ("get namespaces", 1),
        ("create rolebindings", 2),
        ("list secrets", 1),
        ("list configmaps", 1),
        ("list services", 1),
        ("get secrets", times), // revisions
        ("dry-run configmaps", times),
        ("patch configmaps", times),
        ("delete secrets", 1), // the revision before
        ("patch serviceinstances/status", 1),
        ("patch events", 1),
    ])
}
