//! The service with exactly the rights that are shipped for it, kept to its
//! namespaces by the shipped admission policy.

use std::path::Path;

use broker_proto::v1::OperationState;
use cluster::names::{self, State};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace},
    events::v1::Event,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{
        ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    },
};
use serde_json::{Value, json};

use crate::{
    crashes::EVERY_STEP,
    harness::{World, deprovisioned, end_of, eventually, provisioned, started, updated},
};

/// Below k8s/base.
const MANIFESTS: [&str; 11] = [
    "broker/provisioner-svc/account.yaml",
    "broker/provisioner-svc/role.yaml",
    "broker/pod-security-exceptions.yaml",
    "state/instances/provisioner-svc.yaml",
    "state/bundles/provisioner-svc.yaml",
    "state/plans/provisioner-svc.yaml",
    "access/role-plans.yaml",
    "access/role-binder.yaml",
    "access/role-mongo-bootstrap.yaml",
    "access/instance-namespaces.yaml",
    "access/pod-security.yaml",
];
const PART_OF: &str = "app.kubernetes.io/part-of";

/// Makes the shipped account with its rights: the world's namespace is the
/// broker's and the instances', bundles and plans have theirs, as
/// [`shipped_args`] has it. Returns a client with the account's token once the
/// policy is enforced. The world must have an API server of its own: the policy
/// is the cluster's.
pub(crate) async fn shipped_account(world: &World) -> Client {
    let namespaces: Api<Namespace> = Api::all(world.client());
    for state in [State::Bundles, State::Plans] {
        let name = state.namespace(&world.namespace);
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let created = namespaces.create(&PostParams::default(), &object).await;
        created.unwrap();
    }
    for file in MANIFESTS {
        let namespace = match file.split('/').nth(1).unwrap() {
            "bundles" => State::Bundles.namespace(&world.namespace),
            "plans" => State::Plans.namespace(&world.namespace),
            _ => world.namespace.clone(),
        };
        for document in documents(file) {
            create(world, &namespace, document).await;
        }
    }
    let account = world
        .control_plane
        .service_account(&world.namespace, "provisioner-svc")
        .await
        .unwrap()
        .client();
    let namespaces: Api<Namespace> = Api::all(account.clone());
    let foreign = serde_json::from_value(json!({"metadata": {"name": "foreign"}})).unwrap();
    let trial = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    eventually("the policy is enforced", async || {
        match namespaces.create(&trial, &foreign).await {
            Err(kube::Error::Api(status)) => status
                .message
                .contains("mongodb-osb-instance-namespaces")
                .then_some(()),
            _ => None,
        }
    })
    .await;
    account
}

/// Arguments for that account.
pub(crate) fn shipped_args(world: &World, replica: &str) -> provisioner_svc::Args {
    let mut args = world.args(replica);
    args.broker.bundles_namespace = None;
    args.broker.plans_namespace = None;
    args
}

fn documents(manifest: &str) -> Vec<Value> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/base");
    let text = std::fs::read_to_string(base.join(manifest)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// Makes an object, in this namespace if it is in any, with the account in the
/// world's.
async fn create(world: &World, namespace: &str, mut object: Value) {
    object["metadata"]["labels"][PART_OF] = json!("mongodb-osb");
    for subject in object["subjects"].as_array_mut().into_iter().flatten() {
        subject["namespace"] = json!(world.namespace);
    }
    if let Some(account) = object.pointer_mut("/spec/paramRef/namespace") {
        *account = json!(world.namespace);
    }
    let text = |key: &str| object[key].as_str().unwrap().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let api: Api<DynamicObject> = match kind.as_str() {
        "ServiceAccount" | "Role" | "RoleBinding" | "ConfigMap" => {
            Api::namespaced_with(world.client(), namespace, &resource)
        }
        _ => Api::all_with(world.client(), &resource),
    };
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_rights_are_enough_for_the_whole_life_of_an_instance() {
    let world = World::alone().await;
    let account = shipped_account(&world).await;
    let plan = world.plan("steps", &EVERY_STEP);
    let mut args = shipped_args(&world, "a");
    args.sweep_interval = std::time::Duration::from_secs(1);
    args.keep_results = std::time::Duration::ZERO;
    let provisioner = world.provisioner_as(args, account).await;

    provisioned(&provisioner.client, plan.provision("i", json!({}))).await;
    let record = world.record("i").await;
    let namespace: Namespace = Api::all(world.client())
        .get(&record.spec.namespace)
        .await
        .unwrap();
    assert_eq!(
        namespace.labels()["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    let maps: Api<ConfigMap> = Api::namespaced(world.client(), &record.spec.namespace);
    updated(
        &provisioner.client,
        plan.update("i", json!({"extra": false})),
    )
    .await;
    assert!(maps.get_opt("third").await.unwrap().is_none());
    eventually("the status is written", async || {
        let status = world.record("i").await.status?;
        (status.phase == "Ready").then_some(())
    })
    .await;
    let list = ListParams::default();
    let events: Api<Event> = Api::namespaced(world.client(), &world.namespace);
    eventually("there are events", async || {
        (!events.list(&list).await.unwrap().items.is_empty()).then_some(())
    })
    .await;

    deprovisioned(&provisioner.client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
    eventually("the sweep removes the record", async || {
        let records = world.records().list(&list).await.unwrap();
        records.items.is_empty().then_some(())
    })
    .await;
    provisioner.stop().await;
    let leases: Api<Lease> = Api::namespaced(world.client(), &world.namespace);
    assert!(leases.list(&list).await.unwrap().items.is_empty());
}

/// A plan whose pods need more than `restricted` fails until the administrator allows
/// it, and says what is to be allowed.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_gets_a_lower_level_of_pod_security_only_where_it_is_excepted() {
    let world = World::alone().await;
    let account = shipped_account(&world).await;
    let provisioner = world
        .provisioner_as(shipped_args(&world, "a"), account)
        .await;
    let client = provisioner.client.clone();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n";
    let descriptor = ("plan.yaml", "pod_security: baseline\n");
    let plan = world.plan("level", &[descriptor, ("1.yaml", template)]);

    let operation = started(&client, plan.provision("refused", json!({}))).await;
    let ended = end_of(&client, "refused", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    let told = "test.level in the ConfigMap pod-security-exceptions";
    assert!(ended.description.contains(told), "{}", ended.description);
    deprovisioned(&client, plan.deprovision("refused")).await;
    let maps: Api<ConfigMap> = Api::namespaced(world.client(), &world.namespace);
    let allow = Patch::Merge(json!({"data": {"test.level": "baseline"}}));
    let params = PatchParams::default();
    maps.patch("pod-security-exceptions", &params, &allow)
        .await
        .unwrap();
    // The API server learns of its policies' parameters by a watch.
    let id = eventually("the exception counts", async || {
        let id = names::random(8);
        let operation = started(&client, plan.provision(&id, json!({}))).await;
        let ended = end_of(&client, &id, &operation).await;
        (ended.state() == OperationState::Succeeded).then_some(id)
    })
    .await;
    let name = world.record(&id).await.spec.namespace;
    let namespaces: Api<Namespace> = Api::all(world.client());
    let namespace = namespaces.get(&name).await.unwrap();
    assert_eq!(
        namespace.labels()["pod-security.kubernetes.io/enforce"],
        "baseline"
    );
}
