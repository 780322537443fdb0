//! The service with exactly the rights that are shipped for it, kept to its
//! namespaces by the shipped admission policy.

use std::path::Path;

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace},
    events::v1::Event,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    crashes::EVERY_STEP,
    harness::{World, deprovisioned, eventually, provisioned, updated},
};

/// Below k8s/base.
const MANIFESTS: [&str; 6] = [
    "provisioner-svc/account.yaml",
    "provisioner-svc/role.yaml",
    "access/role-plans.yaml",
    "access/role-binder.yaml",
    "access/role-mongo-bootstrap.yaml",
    "access/instance-namespaces.yaml",
];

/// Makes the shipped account with its rights in the world's broker namespace,
/// and returns a client with its token once the policy is enforced. The world
/// must have an API server of its own: the policy is the cluster's.
pub(crate) async fn shipped_account(world: &World) -> Client {
    for manifest in MANIFESTS.into_iter().flat_map(documents) {
        create(world, manifest).await;
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

fn documents(manifest: &str) -> Vec<Value> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/base");
    let text = std::fs::read_to_string(base.join(manifest)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// Makes an object in the world's namespace, as kustomize would for an overlay
/// with that namespace.
async fn create(world: &World, mut object: Value) {
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
        "ServiceAccount" | "Role" | "RoleBinding" => {
            Api::namespaced_with(world.client(), &world.namespace, &resource)
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
    let mut args = world.args("a");
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
