//! The common work loop as instances see it: who joins a creation, what waits
//! keeps no place, and a worker that panics harms one record only.

use broker_proto::v1::{LastOperationRequest, OperationState, Outcome};
use futures::future::join_all;
use serde_json::json;

use crate::harness::{SIMPLE, SYNCHRONOUS, World, code, end_of, eventually, started};

/// Never ready.
const STUCK: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "ready:\n  ConfigMap/it: {ready: \"false\", message: \"waiting for ever\"}\n",
    ),
    (
        "1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: it}\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn one_creation_has_one_creator_however_many_ask_at_once() {
    let world = World::start().await;
    let plan = world.plan("synchronous", &SYNCHRONOUS);
    let (one, other) = tokio::join!(world.provisioner("a"), world.provisioner("b"));
    let mut request = plan.provision("crowd", json!({}));
    request.accepts_incomplete = false;
    let answers = (0..12).map(async |number| {
        let mut client = [&one, &other][number % 2].client.clone();
        let answer = client.provision(request.clone()).await.unwrap();
        answer.into_inner().outcome()
    });
    let outcomes = join_all(answers).await;
    let created = |outcome: &&Outcome| **outcome == Outcome::Done;
    assert_eq!(outcomes.iter().filter(created).count(), 1, "{outcomes:?}");
    let joined = |outcome: &&Outcome| **outcome == Outcome::Unchanged;
    assert_eq!(outcomes.iter().filter(joined).count(), 11, "{outcomes:?}");
    assert_eq!(world.instance_namespaces().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_poll_is_not_kept_waiting_for_a_creation_that_another_began() {
    let world = World::start().await;
    let mut files = STUCK;
    files[0].1 =
        "provision: sync\nready:\n  ConfigMap/it: {ready: \"false\", message: \"waiting\"}\n";
    let plan = world.plan("synchronous", &files);
    let provisioner = world.provisioner("a").await;
    let mut request = plan.provision("slow", json!({}));
    request.accepts_incomplete = false;
    let mut first = provisioner.client.clone();
    let waits = tokio::spawn({
        let request = request.clone();
        async move { first.provision(request).await }
    });
    eventually("the record is there", async || {
        let name = cluster::names::instance_record("slow");
        world.records().get_opt(&name).await.unwrap()
    })
    .await;
    request.accepts_incomplete = true;
    let joined = provisioner.client.clone().provision(request).await.unwrap();
    assert_eq!(joined.into_inner().outcome(), Outcome::Accepted);
    assert!(!waits.is_finished(), "the creator waits for the end");
    waits.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_wait_to_be_ready_keep_no_place_from_others() {
    let world = World::start().await;
    let (stuck, simple) = (world.plan("stuck", &STUCK), world.plan("simple", &SIMPLE));
    let mut args = world.args("a");
    args.work.work_at_once = 1;
    let provisioner = world.provisioner_with(args).await;
    let client = provisioner.client.clone();
    for number in 0..3 {
        let request = stuck.provision(&format!("stuck-{number}"), json!({}));
        let operation = started(&client, request).await;
        let poll = LastOperationRequest {
            instance_id: format!("stuck-{number}"),
            operation,
            platform: String::new(),
        };
        eventually("it waits to be ready", async || {
            let answer = client.clone().last_operation(poll.clone()).await;
            let status = answer.unwrap().into_inner();
            status
                .description
                .contains("waiting for ever")
                .then_some(())
        })
        .await;
    }
    let request = simple.provision("quick", json!({}));
    let operation = started(&client, request).await;
    let ended = end_of(&client, "quick", &operation).await;
    assert_eq!(ended.state(), OperationState::Succeeded, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_panics_marks_its_record_answers_who_waits_and_is_tried_again() {
    let world = World::start().await;
    let plan = world.plan("synchronous", &SYNCHRONOUS);
    let process = world.process_with("a", &[("BROKER_PANIC_AT", "before-Apply")]);
    let mut request = plan.provision("panics", json!({}));
    request.accepts_incomplete = false;
    let answer = eventually("the process serves", async || {
        let answer = process.client.clone().provision(request.clone()).await;
        let unavailable = |code| code == broker_proto::ErrorCode::Unavailable;
        match answer {
            Err(status) if unavailable(code::<()>(Err(status.clone()))) => None,
            answer => Some(answer),
        }
    })
    .await;
    assert_eq!(code(answer), broker_proto::ErrorCode::Internal);
    eventually("the record says so", async || {
        let status = world.record("panics").await.status?;
        let message = status.message?;
        message
            .contains("An internal error interrupted the work")
            .then_some(())
    })
    .await;
    // The record and its objects are there for a program without the fault.
    drop(process);
    let provisioner = world.provisioner("b").await;
    let record = world.record("panics").await;
    let ended = end_of(&provisioner.client, "panics", &record.spec.operation.id).await;
    assert_eq!(ended.state(), OperationState::Succeeded, "{ended:?}");
}
