//! Create, update of parameters, delete, and the id that comes back.

use broker_proto::ErrorCode;
use broker_proto::v1::{
    FetchInstanceRequest, GetInstanceRequest, HoldRequest, Outcome, ReleaseHoldRequest,
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::harness::{
    SIMPLE, World, code, crd_file, deprovisioned, eventually, poll_says, provisioned, succeeded,
    updated,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_made_changed_and_deleted_and_leaves_nothing_but_its_record() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();

    provisioned(&client, plan.provision("i", json!({"size": "M"}))).await;
    let record = world.shown("i", "Ready").await;
    let namespace = record.spec.namespace.clone();
    let status = record.status.as_ref().unwrap();
    assert_eq!(status.inventory.len(), 2);
    assert_eq!(status.conditions[0].status, "True");
    assert_eq!(status.message, None, "nothing is waited for any more");
    let settings = world.config_map(&namespace, "settings").await.unwrap();
    assert_eq!(settings.data.as_ref().unwrap()["size"], "M");
    assert_eq!(
        settings.labels()["mongodb-osb.io/incarnation"],
        record.spec.incarnation
    );
    // The custom resource holds no user parameter.
    assert!(!serde_json::to_string(&record).unwrap().contains("\"size\""));
    let secrets: Api<Secret> = Api::namespaced(world.client(), &namespace);
    let password = secrets.get("login").await.unwrap().data.unwrap()["password"].clone();
    assert_eq!(password.0.len(), 24);

    updated(&client, plan.update("i", json!({"note": "new"}))).await;
    let settings = world
        .config_map(&namespace, "settings")
        .await
        .unwrap()
        .data
        .unwrap();
    assert_eq!(
        (settings["size"].as_str(), settings["note"].as_str()),
        ("M", "new")
    );
    let after = secrets.get("login").await.unwrap().data.unwrap()["password"].clone();
    assert_eq!(after, password, "generated values are made once");
    let fetched = client
        .fetch_instance(FetchInstanceRequest {
            instance_id: "i".into(),
            platform: String::new(),
        })
        .await
        .unwrap();
    let parameters = broker_proto::json::from_struct(fetched.into_inner().parameters.unwrap());
    assert_eq!(
        serde_json::Value::Object(parameters),
        json!({"size": "M", "note": "new"})
    );
    assert_eq!(
        world.revisions().await.len(),
        1,
        "the superseded revision is gone"
    );

    deprovisioned(&client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
    let record = world.record("i").await;
    assert!(record.finalizers().is_empty());
    assert_eq!(
        code(client.deprovision(plan.deprovision("i")).await),
        ErrorCode::Gone
    );
    assert_eq!(
        code(
            client
                .fetch_instance(FetchInstanceRequest {
                    instance_id: "i".into(),
                    platform: String::new(),
                })
                .await
        ),
        ErrorCode::NotFound
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_comes_back_shares_nothing_with_its_past() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let first = world.record("i").await;
    deprovisioned(&client, plan.deprovision("i")).await;
    let deletion = world.record("i").await.spec.operation.id;

    provisioned(&client, plan.provision("i", json!({"size": "M"}))).await;
    let second = world.record("i").await;
    assert_ne!(first.spec.incarnation, second.spec.incarnation);
    assert_ne!(first.spec.namespace, second.spec.namespace);
    assert!(second.spec.operation.seq > first.spec.operation.seq);
    assert_eq!(
        world.instance_namespaces().await,
        std::slice::from_ref(&second.spec.namespace)
    );
    // The past stays readable: the deletion succeeded, whatever came after.
    succeeded(&client, "i", &deletion).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_removes_fields_and_objects_that_are_no_longer_rendered() {
    let world = World::start().await;
    let plan = world.plan(
        "optional",
        &[
            (
                "plan.yaml",
                "parameters:
  create: {properties: {extra: {type: boolean, default: true}}}
  update: {inherit: create}
kinds: [v1/ConfigMap]
",
            ),
            (
                "10-all.yaml",
                "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  always: \"1\"
{% if extra %}  sometimes: \"2\"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: companion}
{% endif %}
",
            ),
        ],
    );
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let namespace = world.record("i").await.spec.namespace;
    assert!(world.config_map(&namespace, "companion").await.is_some());

    updated(&client, plan.update("i", json!({"extra": false}))).await;
    assert!(world.config_map(&namespace, "companion").await.is_none());
    let data = world
        .config_map(&namespace, "settings")
        .await
        .unwrap()
        .data
        .unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["always"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_instance_is_deleted_only_after_its_release() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let instance = client
        .get_instance(GetInstanceRequest {
            instance_id: "i".into(),
        })
        .await
        .unwrap()
        .into_inner();
    let outputs = broker_proto::json::from_struct(instance.outputs.clone().unwrap());
    assert_eq!(outputs["where"], instance.namespace.as_str());
    let hold = HoldRequest {
        instance_id: "i".into(),
        incarnation: instance.incarnation.clone(),
    };
    client.hold(hold.clone()).await.unwrap();
    let generation = world.record("i").await.metadata.generation;
    client.hold(hold.clone()).await.unwrap();
    assert_eq!(
        world.record("i").await.metadata.generation,
        generation,
        "a second hold writes nothing"
    );

    let operation = client
        .deprovision(plan.deprovision("i"))
        .await
        .unwrap()
        .into_inner()
        .operation;
    poll_says(&client, &operation, "bindings").await;
    assert!(
        world
            .config_map(&instance.namespace, "settings")
            .await
            .is_some(),
        "nothing is deleted before"
    );
    assert_eq!(code(client.hold(hold).await), ErrorCode::ConcurrencyError);
    let release = ReleaseHoldRequest {
        instance_id: "i".into(),
        incarnation: instance.incarnation,
    };
    client.release_hold(release.clone()).await.unwrap();
    succeeded(&client, "i", &operation).await;
    client.release_hold(release).await.unwrap();
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_plan_is_done_when_it_is_answered() {
    let world = World::start().await;
    let plan = world.plan(
        "sync",
        &[
            ("plan.yaml", "provision: sync\n"),
            (
                "10.yaml",
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n",
            ),
        ],
    );
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    let mut request = plan.provision("i", json!({}));
    request.accepts_incomplete = false;
    assert_eq!(
        client
            .provision(request.clone())
            .await
            .unwrap()
            .into_inner()
            .outcome(),
        Outcome::Done
    );
    assert_eq!(
        client
            .provision(request)
            .await
            .unwrap()
            .into_inner()
            .outcome(),
        Outcome::Unchanged
    );
    let mut request = plan.deprovision("i");
    request.accepts_incomplete = false;
    assert_eq!(
        client
            .deprovision(request)
            .await
            .unwrap()
            .into_inner()
            .outcome(),
        Outcome::Done
    );
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_status_was_lost_is_picked_up_where_it_was() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let before = world.record("i").await;
    let wipe = json!({"status": {"phase": "", "message": null, "observedGeneration": 0, "conditions": [], "inventory": []}});
    let params = kube::api::PatchParams::default();
    world
        .records()
        .patch_status(&before.name_any(), &params, &kube::api::Patch::Merge(&wipe))
        .await
        .unwrap();
    let after = eventually("the status is back", async || {
        let record = world.record("i").await;
        (record.status.as_ref()?.phase == "Ready").then_some(record)
    })
    .await;
    assert_eq!(after.spec, before.spec);
    let names = |record: &provisioner_svc::resource::ServiceInstance| {
        let mut names: Vec<_> = record
            .status
            .as_ref()
            .unwrap()
            .inventory
            .iter()
            .map(|e| (e.label(), e.uid.clone(), e.file))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&after), names(&before));
    deprovisioned(&client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
}

#[test]
fn the_shipped_custom_resource_definition_is_the_types() {
    use kube::CustomResourceExt as _;
    let crd = provisioner_svc::resource::ServiceInstance::crd();
    let wanted = format!(
        "# Made from the Rust type; a test of the provisioner rewrites it with UPDATE_CRDS=1.\n{}",
        serde_saphyr::to_string(&crd).unwrap()
    );
    if std::env::var("UPDATE_CRDS").is_ok() {
        std::fs::write(crd_file(), &wanted).unwrap();
    }
    let found = std::fs::read_to_string(crd_file()).unwrap();
    assert!(found == wanted, "k8s/crds is stale: run with UPDATE_CRDS=1");
}

const KEEPING: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "deletion: {retain: 6s}
generate: {admin: {type: password}}
kinds: [v1/ConfigMap]
",
    ),
    (
        "1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n",
    ),
];

async fn claim(world: &World, namespace: &str, labels: &serde_json::Value) {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(world.client(), namespace);
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "data-mdb-0", "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    }))
    .unwrap();
    api.create(&kube::api::PostParams::default(), &claim)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_data_outlives_its_instance_is_never_touched_by_the_id_that_comes_back_and_is_purged()
{
    let world = World::start().await;
    let plan = world.plan("keeping", &KEEPING);
    let mut args = world.args("a");
    args.sweep_interval = std::time::Duration::from_secs(1);
    let provisioner = world.provisioner_with(args).await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let first = world.record("i").await;
    let old = first.spec.namespace.clone();
    let labels = json!({
        "mongodb-osb.io/instance": first.name_any(),
        "mongodb-osb.io/incarnation": first.spec.incarnation,
    });
    claim(&world, &old, &labels).await;
    deprovisioned(&client, plan.deprovision("i")).await;

    assert!(world.config_map(&old, "settings").await.is_none());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client(), &old);
    let secrets: Api<Secret> = Api::namespaced(world.client(), &old);
    let generated = format!("osb-generated-{}", first.spec.incarnation);
    assert!(claims.get_opt("data-mdb-0").await.unwrap().is_some());
    assert!(secrets.get_opt(&generated).await.unwrap().is_some());
    world.shown("i", "Retained").await;
    let fetch = FetchInstanceRequest {
        instance_id: "i".into(),
        platform: String::new(),
    };
    assert_eq!(
        code(client.clone().fetch_instance(fetch).await),
        ErrorCode::NotFound
    );
    assert_eq!(
        code(client.clone().deprovision(plan.deprovision("i")).await),
        ErrorCode::Gone
    );

    // The id comes back while the data of its past is still kept.
    provisioned(&client, plan.provision("i", json!({}))).await;
    let second = world.record("i").await;
    assert_ne!(second.spec.namespace, old);
    assert!(claims.get_opt("data-mdb-0").await.unwrap().is_some());
    eventually("the past is purged", async || {
        let left = world.instance_namespaces().await;
        (left == [second.spec.namespace.clone()]).then_some(())
    })
    .await;
    // What lives is untouched by that.
    assert!(
        world
            .config_map(&second.spec.namespace, "settings")
            .await
            .is_some()
    );
    eventually("its revision is gone", async || {
        (world.revisions().await.len() == 1).then_some(())
    })
    .await;
    let answer = client
        .clone()
        .provision(plan.provision("i", json!({})))
        .await
        .unwrap();
    assert_eq!(answer.into_inner().outcome(), Outcome::Unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_never_succeeded_keeps_nothing() {
    let world = World::start().await;
    let plan = world.plan(
        "keeping-nothing",
        &[
            (
                "plan.yaml",
                "deletion: {retain: 7d}\nready:\n  ConfigMap/settings: {ready: \"false\"}\n",
            ),
            KEEPING[1],
        ],
    );
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    client
        .provision(plan.provision("i", json!({})))
        .await
        .unwrap();
    deprovisioned(&client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
}
