//! What breaks, and what the poll says of it.

use broker_proto::{
    ErrorCode,
    v1::{LastOperationRequest, OperationState, Outcome},
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use crate::harness::{
    SIMPLE, World, code, deprovisioned, end_of, poll_says, provisioned, started, succeeded,
};

const SHARED: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "namespace: {shared: TENANTS}\ndeadline: {total: TOTAL}\n",
    ),
    (
        "1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"app-{{ name }}\"}\ndata: {mine: \"1\"}\n",
    ),
];

/// A namespace of somebody else, and the plan that puts instances into it, with
/// this deadline.
pub(crate) async fn shared(world: &World, total: &str) -> (String, crate::harness::Plan) {
    let name = format!("tenants-of-{}", world.namespace);
    let api: Api<Namespace> = Api::all(world.client());
    let labels = json!({cluster::names::ACCEPTS_INSTANCES_OF: world.namespace});
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
    api.create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    let descriptor = SHARED[0].1.replace("TENANTS", &name);
    let descriptor = descriptor.replace("TOTAL", total);
    let plan = world.plan("shared", &[("plan.yaml", &descriptor), SHARED[1]]);
    (name, plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_somebody_elses_is_waited_for_and_never_touched() {
    let world = World::start().await;
    let (tenants, plan) = shared(&world, "5s").await;
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let record = cluster::names::instance_record("i");
    let name = format!("app-{}", cluster::names::object(&record));
    let foreign: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": name}, "data": {"theirs": "1"}}))
            .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(world.client(), &tenants);
    let foreign = maps.create(&PostParams::default(), &foreign).await.unwrap();

    let operation = started(&client, plan.provision("i", json!({}))).await;
    poll_says(&client, &operation, "not part of this instance").await;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(ended.description.contains(&name), "{}", ended.description);
    deprovisioned(&client, plan.deprovision("i")).await;
    let found = maps.get(&name).await.unwrap();
    assert_eq!(
        (found.uid(), found.resource_version()),
        (foreign.uid(), foreign.resource_version())
    );
}

/// Whoever may write a plan must not own the nodes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_a_privileged_pod_gets_no_pod_and_the_poll_says_why() {
    let world = World::start().await;
    let files = [
        ("plan.yaml", "provision: async\n"),
        (
            "1.yaml",
            "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: root}
spec:
  replicas: 1
  serviceName: root
  selector: {matchLabels: {app: root}}
  template:
    metadata: {labels: {app: root}}
    spec:
      hostPID: true
      containers: [{name: a, image: a, securityContext: {privileged: true}}]
",
        ),
    ];
    let plan = world.plan("privileged", &files);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let operation = started(&client, plan.provision("i", json!({}))).await;
    poll_says(
        &client,
        &operation,
        "violates PodSecurity \"restricted:latest\"",
    )
    .await;
    let namespace = world.record("i").await.spec.namespace;
    let pods: Api<Pod> = Api::namespaced(world.client(), &namespace);
    assert_eq!(
        pods.list(&ListParams::default()).await.unwrap().items.len(),
        0
    );
    deprovisioned(&client, plan.deprovision("i")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_shared_namespace_the_instance_takes_only_its_own_away() {
    let world = World::start().await;
    let (tenants, plan) = shared(&world, "60s").await;
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    provisioned(&client, plan.provision("j", json!({}))).await;
    let map = |id: &str| {
        format!(
            "app-{}",
            cluster::names::object(&cluster::names::instance_record(id))
        )
    };
    assert!(world.config_map(&tenants, &map("i")).await.is_some());
    deprovisioned(&client, plan.deprovision("i")).await;
    assert!(world.config_map(&tenants, &map("i")).await.is_none());
    assert!(world.config_map(&tenants, &map("j")).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_requests_get_unavailable_and_work_resumes_by_itself() {
    let world = World::alone().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("ready", json!({}))).await;
    let operation = started(&client, plan.provision("i", json!({}))).await;
    world.control_plane.stop_api_server().await;
    assert_eq!(
        code(client.provision(plan.provision("new", json!({}))).await),
        ErrorCode::Unavailable
    );
    assert_eq!(
        code(client.deprovision(plan.deprovision("ready")).await),
        ErrorCode::Unavailable
    );
    // What the cache is sure of is answered all the same.
    let poll = LastOperationRequest {
        instance_id: "i".into(),
        operation: operation.clone(),
        platform: String::new(),
    };
    client.last_operation(poll).await.unwrap();
    world.control_plane.start_api_server().await.unwrap();
    succeeded(&client, "i", &operation).await;
    deprovisioned(&client, plan.deprovision("i")).await;
    deprovisioned(&client, plan.deprovision("ready")).await;
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_api_server_refuses_fails_the_operation_with_field_and_no_value() {
    let world = World::start().await;
    let plan = world.plan(
        "refused",
        &[
            ("plan.yaml", "parameters: {create: {properties: {port: {type: integer}}, required: [port]}}\n"),
            ("1.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: {{ port }}}]}\n"),
        ],
    );
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    let request = plan.provision("i", json!({"port": 99999}));
    let operation = started(&client, request).await;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("Service/s") && ended.description.contains("port"),
        "{}",
        ended.description
    );
    assert!(!ended.description.contains("99999"));
    // Who asks for the same again is led to the reason; any other is refused.
    let again = client
        .provision(plan.provision("i", json!({"port": 99999})))
        .await;
    let again = again.unwrap().into_inner();
    assert_eq!(
        (again.outcome(), again.operation.as_str()),
        (Outcome::Accepted, operation.as_str())
    );
    assert_eq!(
        code(
            client
                .provision(plan.provision("i", json!({"port": 99998})))
                .await
        ),
        ErrorCode::Conflict
    );
    deprovisioned(&client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_no_record_can_keep_fail_the_operation_and_say_so() {
    let world = World::start().await;
    let plan = world.plan(
        "talkative",
        &[
            (
                "plan.yaml",
                "parameters: {create: {properties: {note: {type: string}}}}\noutputs: {echo: \"{{ note }}\"}\n",
            ),
            (
                "1.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n",
            ),
        ],
    );
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    let request = plan.provision("i", json!({"note": "x".repeat(100_000)}));
    let operation = started(&client, request).await;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("outputs"),
        "{}",
        ended.description
    );
    deprovisioned(&client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_value_that_is_lost_is_an_error_and_never_a_new_value() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let record = world.record("i").await;
    let secrets: Api<Secret> = Api::namespaced(world.client(), &record.spec.namespace);
    let name = format!("osb-generated-{}", record.spec.incarnation);
    secrets
        .delete(&name, &DeleteParams::default())
        .await
        .unwrap();
    let operation = client
        .update(plan.update("i", json!({"note": "x"})))
        .await
        .unwrap()
        .into_inner()
        .operation;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("GeneratedValueMissing"),
        "{}",
        ended.description
    );
    assert_eq!(
        (ended.instance_usable, ended.update_repeatable),
        (Some(true), Some(false))
    );
    let data = world
        .config_map(&record.spec.namespace, "settings")
        .await
        .unwrap()
        .data
        .unwrap();
    assert_eq!(data["note"], "none", "nothing was applied");
}
