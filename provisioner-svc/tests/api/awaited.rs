//! Objects that go while they are awaited, and first updates: over a takeover.

use broker_proto::v1::OperationState;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{
    PATIENCE, World, end_of, eventually, poll_says, provisioned, started, succeeded, updated,
};

/// One object is ready at once, one when somebody says so.
pub(crate) const GATED: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "kinds: [v1/ConfigMap, v1/Secret]
ready:
  ConfigMap/gate: {ready: \"object.data.open == 'yes'\", message: \"waiting for the gate\"}
",
    ),
    (
        "1.yaml",
        "apiVersion: v1
kind: ConfigMap
metadata: {name: gate}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ready}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
",
    ),
];

/// The objects of [`GATED`] in one instance's namespace.
pub(crate) struct Gated {
    pub(crate) maps: Api<ConfigMap>,
    secrets: Api<Secret>,
}

impl Gated {
    pub(crate) async fn of(world: &World) -> Self {
        let namespace = world.record("i").await.spec.namespace;
        Self {
            maps: Api::namespaced(world.client(), &namespace),
            secrets: Api::namespaced(world.client(), &namespace),
        }
    }

    async fn delete(&self) -> Vec<Option<String>> {
        let before = self.uids().await;
        for name in ["gate", "ready"] {
            self.maps
                .delete(name, &DeleteParams::default())
                .await
                .unwrap();
        }
        before
    }

    async fn uids(&self) -> Vec<Option<String>> {
        let mut uids = Vec::new();
        for name in ["gate", "ready"] {
            let found = self.maps.get_opt(name).await.unwrap();
            uids.push(found.and_then(|map| map.uid()));
        }
        uids
    }

    /// Waits until both are there again.
    async fn are_made_again(&self, before: &[Option<String>]) {
        eventually("both are there again", async || {
            let now = self.uids().await;
            let anew = now
                .iter()
                .zip(before)
                .all(|(now, before)| now.is_some() && now != before);
            anew.then_some(())
        })
        .await;
    }

    pub(crate) async fn open(&self) {
        let patch = Patch::Merge(json!({"data": {"open": "yes"}}));
        let params = PatchParams::default();
        self.maps.patch("gate", &params, &patch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_while_it_is_awaited_is_made_again() {
    let world = World::start().await;
    let plan = world.plan("gated", &GATED);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let operation = started(&client, plan.provision("i", json!({}))).await;
    poll_says(&client, &operation, "waiting for the gate").await;
    let objects = Gated::of(&world).await;
    let before = objects.delete().await;
    objects.are_made_again(&before).await;
    poll_says(&client, &operation, "waiting for the gate").await;
    // No watch shows the end of a Secret.
    let hidden = objects.secrets.get("hidden").await.unwrap();
    objects
        .secrets
        .delete("hidden", &DeleteParams::default())
        .await
        .unwrap();
    objects.open().await;
    succeeded(&client, "i", &operation).await;
    let anew = objects.secrets.get("hidden").await.unwrap();
    assert_ne!(anew.uid(), hidden.uid());
    assert!(objects.uids().await.iter().all(Option::is_some));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_between_two_workers_is_made_again() {
    let world = World::start().await;
    let plan = world.plan("gated", &GATED);
    let mut doomed = world.process("doomed", None);
    let operation = started(&doomed.client, plan.provision("i", json!({}))).await;
    poll_says(&doomed.client, &operation, "waiting for the gate").await;
    doomed.child.kill().await.unwrap();
    let objects = Gated::of(&world).await;
    let before = objects.delete().await;
    let heir = world.process("heir", None);
    objects.are_made_again(&before).await;
    // And once more, while the other one waits.
    let before = objects.delete().await;
    objects.are_made_again(&before).await;
    objects.open().await;
    let ended = end_of(&heir.client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Succeeded);
    assert!(objects.uids().await.iter().all(Option::is_some));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_deleted_while_its_objects_are_awaited_is_made_again() {
    let world = World::start().await;
    let plan = world.plan("gated", &GATED);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let operation = started(&client, plan.provision("i", json!({}))).await;
    poll_says(&client, &operation, "waiting for the gate").await;
    let objects = Gated::of(&world).await;
    let before = objects.uids().await;
    let namespaces: Api<Namespace> = Api::all(world.client());
    let name = world.record("i").await.spec.namespace;
    namespaces
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    objects.are_made_again(&before).await;
    objects.open().await;
    succeeded(&client, "i", &operation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_waited_for_is_told_by_the_one_that_finds_the_time_over() {
    let world = World::start().await;
    let descriptor = format!("deadline: {{total: 15s}}\n{}", GATED[0].1);
    let plan = world.plan("gated", &[("plan.yaml", &descriptor), GATED[1]]);
    let mut doomed = world.process("doomed", None);
    let operation = started(&doomed.client, plan.provision("i", json!({}))).await;
    poll_says(&doomed.client, &operation, "waiting for the gate").await;
    doomed.child.kill().await.unwrap();
    let deadline = world.record("i").await.spec.operation.ends_by();
    eventually("the deadline has passed", async || {
        (jiff::Timestamp::now() > deadline).then_some(())
    })
    .await;
    let heir = world.process("heir", None);
    let ended = end_of(&heir.client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("waiting for the gate"),
        "{}",
        ended.description
    );
}

/// A Service whose only port has no name: lists are merged by the port itself.
const PORT: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "kinds: [v1/Service]
parameters:
  create:
    properties:
      port: {type: integer, default: 8080}
      address: {type: string, enum: ['', None], default: ''}
  update: {inherit: create}
",
    ),
    (
        "1.yaml",
        "apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  ports: [{port: {{ port }}}]
{% if address %}
  clusterIP: \"{{ address }}\"
{% endif %}
",
    ),
];

async fn port(world: &World) -> i32 {
    let namespace = world.record("i").await.spec.namespace;
    let services: Api<Service> = Api::namespaced(world.client(), &namespace);
    let ports = services.get("s").await.unwrap().spec.unwrap().ports;
    let ports = ports.unwrap();
    assert_eq!(ports.len(), 1);
    ports[0].port
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_update_changes_what_every_later_one_changes() {
    let world = World::start().await;
    let plan = world.plan("port", &PORT);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    for wanted in [8081, 8082] {
        updated(&client, plan.update("i", json!({"port": wanted}))).await;
        assert_eq!(port(&world).await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_update_that_is_refused_changes_nothing_and_the_next_one_works() {
    let world = World::start().await;
    let plan = world.plan("port", &PORT);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let wrong = plan.update("i", json!({"port": 8081, "address": "None"}));
    let operation = client.update(wrong).await.unwrap().into_inner().operation;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("Service/s cannot be changed"),
        "{}",
        ended.description
    );
    assert_eq!(ended.instance_usable, Some(true));
    assert_eq!(port(&world).await, 8080);
    let right = json!({"port": 8082, "address": null});
    updated(&client, plan.update("i", right)).await;
    assert_eq!(port(&world).await, 8082);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_update_survives_a_crash_between_owning_the_fields_and_trying_it_out() {
    let world = World::start().await;
    let plan = world.plan("port", &PORT);
    let provisioner = world.provisioner("first").await;
    provisioned(&provisioner.client, plan.provision("i", json!({}))).await;
    provisioner.stop().await;
    let mut doomed = world.process("doomed", Some("Compare-owned"));
    let request = plan.update("i", json!({"port": 8081}));
    let operation = eventually("the update is accepted", async || {
        let answer = doomed.client.clone().update(request.clone()).await;
        answer.ok().map(|answer| answer.into_inner().operation)
    })
    .await;
    let death = tokio::time::timeout(PATIENCE, doomed.child.wait()).await;
    assert!(!death.unwrap().unwrap().success());
    assert_eq!(port(&world).await, 8080);
    let heir = world.process("heir", None);
    let ended = end_of(&heir.client, "i", &operation).await;
    assert_eq!(
        ended.state(),
        OperationState::Succeeded,
        "{}",
        ended.description
    );
    assert_eq!(port(&world).await, 8081);
}
