//! The revision is written beside the record. What if it is not there?

use broker_proto::v1::OperationState;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::harness::{
    Plan, Provisioner, SIMPLE, World, deprovisioned, end_of, eventually, poll_says, provisioned,
};

/// No Secret can be made in the broker's namespace until the quota is deleted.
async fn without_secrets(world: &World) -> Api<ResourceQuota> {
    let quotas: Api<ResourceQuota> = Api::namespaced(world.client(), &world.namespace);
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}
    }))
    .unwrap();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(world.client(), &world.namespace);
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"generateName": "x"}})).unwrap();
    eventually("the quota counts", async || {
        let made = secrets.create(&PostParams::default(), &secret).await;
        made.is_err().then_some(())
    })
    .await;
    quotas
}

/// Orders an instance whose revision cannot be stored; the operation.
async fn refused(world: &World, plan: &Plan, provisioner: &Provisioner) -> String {
    let request = plan.provision("i", json!({}));
    let answer = provisioner.client.clone().provision(request).await;
    answer.unwrap_err();
    world.record("i").await.spec.operation.id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_never_accepted_is_deprovisioned_and_leaves_nothing() {
    let world = World::start().await;
    let plan = world.plan("plan", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let quotas = without_secrets(&world).await;
    let operation = refused(&world, &plan, &provisioner).await;

    // As long as it may arrive it is waited for, and the order is not taken again.
    let client = provisioner.client.clone();
    poll_says(&client, &operation, "waiting for the stored request").await;
    let again = plan.provision("i", json!({}));
    client.clone().provision(again).await.unwrap_err();
    deprovisioned(&client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;

    quotas
        .delete("none", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the quota is gone", async || {
        let answer = client
            .clone()
            .provision(plan.provision("j", json!({})))
            .await;
        answer.ok()
    })
    .await;
    provisioned(&client, plan.provision("i", json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_never_came_fails_its_operation_on_any_replica() {
    let world = World::start().await;
    let plan = world.plan("plan", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    without_secrets(&world).await;
    let operation = refused(&world, &plan, &provisioner).await;
    provisioner.stop().await;

    let minute_ago = Timestamp::now() - SignedDuration::from_mins(1);
    let patch = json!({"spec": {"operation": {"startedAt": minute_ago}}});
    let name = cluster::names::instance_record("i");
    world
        .records()
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    let heir = world.provisioner("b").await;
    let ended = end_of(&heir.client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("stored request"),
        "{}",
        ended.description
    );
    deprovisioned(&heir.client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
}
