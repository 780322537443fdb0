//! The two deadlines of an operation: without progress, and in all.

use broker_proto::v1::OperationState;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    awaited::{GATED, Gated},
    harness::{Plan, World, end_of, eventually, poll_says, started},
};

/// [`GATED`] with these deadlines; what a poll says changes with the gate's `step`.
fn plan(world: &World, deadline: &str) -> Plan {
    let descriptor = format!("deadline: {deadline}\n{}", GATED[0].1);
    let message = "waiting for the gate: {{ object.data.step | default('0') }}";
    let descriptor = descriptor.replace("waiting for the gate", message);
    world.plan("gated", &[("plan.yaml", &descriptor), GATED[1]])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_without_progress_fails_long_before_its_total_time() {
    let world = World::start().await;
    let plan = plan(&world, "{idle: 15s, total: 1h}");
    let provisioner = world.provisioner("a").await;
    let operation = started(&provisioner.client, plan.provision("i", json!({}))).await;
    let ended = end_of(&provisioner.client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert_eq!(
        ended.description,
        "No progress within 15 s: ConfigMap/gate: waiting for the gate: 0."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_with_progress_goes_on_until_its_total_time() {
    let world = World::start().await;
    let plan = plan(&world, "{idle: 20s, total: 30s}");
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let operation = started(&client, plan.provision("i", json!({}))).await;
    poll_says(&client, &operation, "waiting for the gate: 0").await;
    let maps = Gated::of(&world).await.maps;
    let busy = async {
        for step in 1.. {
            step_to(&maps, step).await;
            poll_says(
                &client,
                &operation,
                &format!("waiting for the gate: {step}"),
            )
            .await;
        }
    };
    let ended = tokio::select! {
        ended = end_of(&client, "i", &operation) => ended,
        () = busy => panic!("progress ended"),
    };
    assert_eq!(ended.state(), OperationState::Failed);
    let told = "Not done within 30 s: ConfigMap/gate: waiting for the gate: ";
    assert!(ended.description.starts_with(told), "{}", ended.description);
}

async fn step_to(maps: &Api<ConfigMap>, step: u32) {
    let patch = Patch::Merge(json!({"data": {"step": step.to_string()}}));
    let params = PatchParams::default();
    maps.patch("gate", &params, &patch).await.unwrap();
}

/// If it began anew, the replica that takes over would find the gate open and
/// the operation in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_does_not_begin_the_time_without_progress_anew() {
    let world = World::start().await;
    let plan = plan(&world, "{idle: 15s, total: 1h}");
    let mut doomed = world.process("doomed", None);
    let operation = started(&doomed.client, plan.provision("i", json!({}))).await;
    poll_says(&doomed.client, &operation, "waiting for the gate: 0").await;
    doomed.child.kill().await.unwrap();
    let status = world.record("i").await.status.unwrap();
    let over = status.progress.unwrap().at + SignedDuration::from_secs(15);
    eventually("the time without progress is over", async || {
        (Timestamp::now() > over).then_some(())
    })
    .await;
    Gated::of(&world).await.open().await;
    let heir = world.process("heir", None);
    let ended = end_of(&heir.client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    let told = "No progress within 15 s";
    assert!(ended.description.starts_with(told), "{}", ended.description);
}
