//! Updates that have little to change.

use broker_proto::v1::OperationState;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    awaited::Gated,
    harness::{World, end_of, poll_says, provisioned, started, succeeded, updated},
};

async fn merge(maps: &Api<ConfigMap>, name: &str, patch: &Value) {
    maps.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_only_deletes_is_a_change_of_the_instance() {
    let world = World::start().await;
    let files = [
        (
            "plan.yaml",
            "parameters:
  create: {properties: {extra: {type: boolean, default: true}}}
  update: {inherit: create}
kinds: [v1/ConfigMap]
deadline: {total: 5s}
",
        ),
        (
            "1.yaml",
            "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
{% if extra %}---
apiVersion: v1
kind: ConfigMap
metadata: {name: companion}
{% endif %}
",
        ),
    ];
    let plan = world.plan("optional", &files);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let namespace = world.record("i").await.spec.namespace;
    let maps: Api<ConfigMap> = Api::namespaced(world.client(), &namespace);
    let stays = json!({"metadata": {"finalizers": ["example.com/stays"]}});
    merge(&maps, "companion", &stays).await;

    let update = plan.update("i", json!({"extra": false}));
    let accepted = client.clone().update(update.clone()).await.unwrap();
    let operation = accepted.into_inner().operation;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("ConfigMap/companion"),
        "{}",
        ended.description
    );
    assert_eq!(ended.instance_usable, Some(false));

    merge(
        &maps,
        "companion",
        &json!({"metadata": {"finalizers": null}}),
    )
    .await;
    updated(&client, update).await;
    assert!(world.config_map(&namespace, "companion").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_while_an_update_waits_is_mended_by_it() {
    let world = World::start().await;
    let files = [
        (
            "plan.yaml",
            "parameters:
  create: {properties: {note: {type: string, maxLength: 40, default: none}}}
  update: {inherit: create}
kinds: [v1/ConfigMap]
ready:
  ConfigMap/gate: {ready: \"object.data.open == 'yes'\", message: \"waiting for the gate\"}
",
        ),
        (
            "1.yaml",
            "apiVersion: v1
kind: ConfigMap
metadata: {name: gate}
data: {note: \"{{ note }}\"}
",
        ),
        (
            "2.yaml",
            "apiVersion: v1
kind: ConfigMap
metadata: {name: deleted}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: edited}
data: {ours: \"1\"}
",
        ),
    ];
    let plan = world.plan("two-files", &files);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let operation = started(&client, plan.provision("i", json!({}))).await;
    poll_says(&client, &operation, "waiting for the gate").await;
    let objects = Gated::of(&world).await;
    let maps = &objects.maps;
    objects.open().await;
    succeeded(&client, "i", &operation).await;

    merge(maps, "gate", &json!({"data": {"open": "no"}})).await;
    let update = plan.update("i", json!({"note": "changed"}));
    let accepted = client.clone().update(update).await.unwrap();
    let operation = accepted.into_inner().operation;
    poll_says(&client, &operation, "waiting for the gate").await;
    maps.delete("deleted", &DeleteParams::default())
        .await
        .unwrap();
    merge(maps, "edited", &json!({"data": {"ours": "2"}})).await;
    objects.open().await;
    succeeded(&client, "i", &operation).await;
    assert!(maps.get_opt("deleted").await.unwrap().is_some());
    let edited = maps.get("edited").await.unwrap();
    assert_eq!(edited.data.unwrap()["ours"], "1");
}
