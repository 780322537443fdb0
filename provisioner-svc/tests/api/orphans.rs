//! That a record is missing proves nothing: data goes only if somebody asked.
//! Records that are deleted by hand, with their definition, or with the
//! broker's namespace take nothing along, and find their things again when a
//! restore brings them back, in whatever order.

use std::{collections::BTreeMap, fmt::Debug};

use broker_proto::{
    ErrorCode,
    v1::{FetchInstanceRequest, GetInstanceRequest, HoldRequest, InstancePhase, Outcome},
};
use cluster::names;
use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Event, Namespace, PersistentVolumeClaim, Secret},
        rbac::v1::RoleBinding,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use provisioner_svc::{resource::ServiceInstance, state::FINALIZER, step::Step};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testbed::logs;

use crate::{
    crashes::EVERY_STEP,
    harness::{
        PATIENCE, Plan, Provisioner, SIMPLE, World, code, deprovisioned, end_of, eventually,
        install_crd, metrics, provisioned, updated,
    },
};

const ID: &str = "i";
const CLAIM: &str = "data-mdb-0";

/// A provisioner that sweeps all the time.
async fn sweeping(world: &World, replica: &str) -> Provisioner {
    let mut args = world.args(replica);
    args.sweep_interval = std::time::Duration::from_millis(300);
    world.provisioner_with(args).await
}

/// An instance with a volume claim.
async fn instance(world: &World, plan: &Plan, provisioner: &Provisioner) -> ServiceInstance {
    provisioned(
        &provisioner.client,
        plan.provision(ID, json!({"size": "M"})),
    )
    .await;
    let record = world.record(ID).await;
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(world.client(), &record.spec.namespace);
    let labels = names::instance_labels(&record.name_any(), &record.spec.incarnation);
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": CLAIM, "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    }))
    .unwrap();
    claims.create(&PostParams::default(), &claim).await.unwrap();
    record
}

/// All that must outlive its record.
async fn assert_data_is_there(world: &World, record: &ServiceInstance) {
    let namespace = &record.spec.namespace;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client(), namespace);
    let claim = claims.get(CLAIM).await.unwrap();
    assert_eq!(claim.metadata.deletion_timestamp, None);
    let secrets: Api<Secret> = Api::namespaced(world.client(), namespace);
    for name in [
        "login",
        &format!("osb-generated-{}", record.spec.incarnation),
    ] {
        let secret = secrets.get(name).await.unwrap();
        assert_eq!(secret.metadata.deletion_timestamp, None, "{name}");
    }
    assert!(world.config_map(namespace, "settings").await.is_some());
    let found = namespace_of(world, record).await.unwrap();
    assert_eq!(found.metadata.deletion_timestamp, None);
}

async fn namespace_of(world: &World, record: &ServiceInstance) -> Option<Namespace> {
    let api: Api<Namespace> = Api::all(world.client());
    api.get_opt(&record.spec.namespace).await.unwrap()
}

/// Waits for the mark, or for its end.
async fn marked(world: &World, record: &ServiceInstance, wanted: bool) {
    eventually(&format!("the mark of an orphan: {wanted}"), async || {
        let found = namespace_of(world, record).await?;
        let is_marked = found.labels().contains_key(names::ORPHANED);
        let has_time = found.annotations().contains_key(names::ORPHANED_AT);
        (is_marked == wanted && has_time == wanted).then_some(())
    })
    .await;
}

async fn record_is_gone(world: &World) {
    eventually("the record is gone", async || {
        let found = world.records().get_opt(&names::instance_record(ID)).await;
        found.unwrap().is_none().then_some(())
    })
    .await;
}

async fn delete_record(world: &World) {
    let name = names::instance_record(ID);
    let params = DeleteParams::default();
    world.records().delete(&name, &params).await.unwrap();
}

async fn confirm(world: &World, incarnation: &str) {
    let patch = json!({"metadata": {"annotations": {names::CONFIRM_DELETION: incarnation}}});
    let name = names::instance_record(ID);
    world
        .records()
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// A whole sweep begins and ends meanwhile.
async fn swept(world: &World) {
    let api: Api<Namespace> = Api::all(world.client());
    // A namespace that nobody knows is marked: by a sweep that began after it
    // was made, and perhaps has not come to the others. The second sweep began
    // when the first had.
    for _ in 0..2 {
        let bait = format!("bait-{}", names::random(5));
        namespace(world, &bait, names::instance_labels("bait", "one")).await;
        eventually("the bait is marked", async || {
            let found = api.get(&bait).await.unwrap();
            found.labels().contains_key(names::ORPHANED).then_some(())
        })
        .await;
        api.delete(&bait, &DeleteParams::default()).await.unwrap();
    }
}

/// Makes one that looks like an instance's.
async fn namespace(world: &World, name: &str, mut labels: BTreeMap<String, String>) {
    let api: Api<Namespace> = Api::all(world.client());
    labels.insert(names::BROKER.into(), world.namespace.clone());
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap();
    api.create(&PostParams::default(), &namespace)
        .await
        .unwrap();
}

async fn metric(provisioner: &Provisioner, line: &str) {
    eventually(line, async || {
        let text = metrics(provisioner.admin).await;
        text.lines().any(|found| found == line).then_some(())
    })
    .await;
}

/// As a backup has it: without what the API server gives.
fn backed_up<K: Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap();
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
    ] {
        value["metadata"].as_object_mut().unwrap().remove(field);
    }
    value
}

/// What a backup may have dropped of a record.
#[derive(Debug, Clone, Copy)]
enum Dropped {
    Status,
    StatusAndFinalizers,
    Nothing,
}

async fn restore_record(world: &World, saved: &ServiceInstance, dropped: Dropped) {
    let mut value = backed_up(saved);
    if matches!(dropped, Dropped::StatusAndFinalizers) {
        value["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("finalizers");
    }
    let record: ServiceInstance = serde_json::from_value(value).unwrap();
    let api = world.records();
    api.create(&PostParams::default(), &record).await.unwrap();
    if matches!(dropped, Dropped::Nothing) {
        let status = json!({ "status": saved.status });
        let params = PatchParams::default();
        api.patch_status(&record.name_any(), &params, &Patch::Merge(&status))
            .await
            .unwrap();
    }
}

/// A namespace with all that is in it.
struct Contents {
    namespace: Namespace,
    objects: BTreeMap<&'static str, Vec<Value>>,
}

impl Contents {
    async fn save(world: &World, record: &ServiceInstance) -> Self {
        let mut objects = BTreeMap::new();
        let namespace = &record.spec.namespace;
        objects.insert("maps", list::<ConfigMap>(world, namespace).await);
        objects.insert("secrets", list::<Secret>(world, namespace).await);
        objects.insert(
            "claims",
            list::<PersistentVolumeClaim>(world, namespace).await,
        );
        objects.insert("rights", list::<RoleBinding>(world, namespace).await);
        let found = namespace_of(world, record).await.unwrap();
        let mut saved = backed_up(&found);
        saved.as_object_mut().unwrap().remove("spec");
        Self {
            namespace: serde_json::from_value(saved).unwrap(),
            objects,
        }
    }

    async fn restore(&self, world: &World) {
        let api: Api<Namespace> = Api::all(world.client());
        api.create(&PostParams::default(), &self.namespace)
            .await
            .unwrap();
        let namespace = self.namespace.name_any();
        create::<ConfigMap>(world, &namespace, &self.objects["maps"]).await;
        create::<Secret>(world, &namespace, &self.objects["secrets"]).await;
        create::<PersistentVolumeClaim>(world, &namespace, &self.objects["claims"]).await;
        create::<RoleBinding>(world, &namespace, &self.objects["rights"]).await;
    }
}

trait Object:
    Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}
impl<K> Object for K where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

async fn list<K: Object>(world: &World, namespace: &str) -> Vec<Value> {
    let api: Api<K> = Api::namespaced(world.client(), namespace);
    let found = api.list(&ListParams::default()).await.unwrap().items;
    let theirs = |object: &&K| object.name_any() != "kube-root-ca.crt";
    found.iter().filter(theirs).map(backed_up).collect()
}

async fn create<K: Object>(world: &World, namespace: &str, objects: &[Value]) {
    let api: Api<K> = Api::namespaced(world.client(), namespace);
    for object in objects {
        let object: K = serde_json::from_value(object.clone()).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }
}

/// A disaster: record, namespace and all in it are gone, as no broker deleted them.
async fn lose(world: &World, record: &ServiceInstance) {
    let patch = json!({"metadata": {"finalizers": null}});
    let name = record.name_any();
    world
        .records()
        .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
    delete_record(world).await;
    let api: Api<Namespace> = Api::all(world.client());
    api.delete(&record.spec.namespace, &DeleteParams::default())
        .await
        .unwrap();
    eventually("the namespace is lost", async || {
        namespace_of(world, record).await.is_none().then_some(())
    })
    .await;
    record_is_gone(world).await;
}

/// The instance works as it did: it is shown, held for a binding, updated with
/// the values of before, and deleted if asked.
async fn assert_lives_on(
    world: &World,
    plan: &Plan,
    provisioner: &Provisioner,
    before: &ServiceInstance,
) {
    let mut client = provisioner.client.clone();
    eventually("the record is ready", async || {
        let record = world.record(ID).await;
        let status = record.status.as_ref()?;
        let condition = status.conditions.first()?;
        let is_kept = record.finalizers().iter().any(|found| found == FINALIZER);
        (condition.status == "True" && status.phase == "Ready" && is_kept).then_some(())
    })
    .await;
    marked(world, before, false).await;
    assert_data_is_there(world, before).await;
    let fetch = FetchInstanceRequest {
        instance_id: ID.into(),
        platform: String::new(),
    };
    client.fetch_instance(fetch).await.unwrap();
    let get = GetInstanceRequest {
        instance_id: ID.into(),
    };
    let found = client.get_instance(get).await.unwrap().into_inner();
    assert_eq!(
        (found.phase(), found.incarnation.as_str()),
        (InstancePhase::Ready, before.spec.incarnation.as_str())
    );
    let hold = HoldRequest {
        instance_id: ID.into(),
        incarnation: found.incarnation.clone(),
    };
    client.hold(hold).await.unwrap();
    let release = broker_proto::v1::ReleaseHoldRequest {
        instance_id: ID.into(),
        incarnation: found.incarnation,
    };
    client.release_hold(release).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(world.client(), &before.spec.namespace);
    let password = secrets.get("login").await.unwrap().data.unwrap()["password"].clone();
    let again = plan.provision(ID, json!({"size": "M"}));
    let answer = client.provision(again).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Unchanged);
    updated(&client, plan.update(ID, json!({"note": "after"}))).await;
    let map = world.config_map(&before.spec.namespace, "settings").await;
    assert_eq!(map.unwrap().data.unwrap()["note"], "after");
    let after = secrets.get("login").await.unwrap().data.unwrap()["password"].clone();
    assert_eq!(after, password);
    deprovisioned(&client, plan.deprovision(ID)).await;
    eventually("the namespace is gone", async || {
        namespace_of(world, before).await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_deleted_by_hand_takes_nothing_along_and_comes_back_to_its_own() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = sweeping(&world, "a").await;
    let before = instance(&world, &plan, &provisioner).await;
    // A binding: the binder must not be told of a deletion.
    let hold = HoldRequest {
        instance_id: ID.into(),
        incarnation: before.spec.incarnation.clone(),
    };
    provisioner.client.clone().hold(hold).await.unwrap();
    let saved = world.record(ID).await;
    // Of another life: no confirmation.
    confirm(&world, "another").await;
    delete_record(&world).await;
    record_is_gone(&world).await;

    marked(&world, &before, true).await;
    metric(&provisioner, "provisioner_orphans{kind=\"Namespace\"} 1").await;
    swept(&world).await;
    assert_data_is_there(&world, &before).await;
    assert_eq!(
        world.revisions().await.len(),
        1,
        "needed by a record that comes back"
    );
    let events: Api<Event> = Api::namespaced(world.client(), &world.namespace);
    let about = events.list(&ListParams::default()).await.unwrap().items;
    let orphaned = about.iter().find(|event| {
        event.reason.as_deref() == Some("Orphaned")
            && event.involved_object.name == Some(before.name_any())
    });
    let note = orphaned.unwrap().message.clone().unwrap();
    assert!(note.contains(&before.spec.namespace), "{note}");
    // Nothing is known of it, which is not that it was deleted.
    let get = GetInstanceRequest {
        instance_id: ID.into(),
    };
    assert_eq!(
        code(provisioner.client.clone().get_instance(get).await),
        ErrorCode::NotFound
    );

    restore_record(&world, &saved, Dropped::Status).await;
    assert_lives_on(&world, &plan, &provisioner, &before).await;
    metric(&provisioner, "provisioner_orphans{kind=\"Namespace\"} 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_deletion_by_hand_takes_all_along_and_leaves_no_tombstone() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let before = instance(&world, &plan, &provisioner).await;
    confirm(&world, &before.spec.incarnation).await;
    delete_record(&world).await;
    record_is_gone(&world).await;
    world.assert_nothing_left().await;
}

/// Every order of a restore, with a sweep between any two of its parts.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_restored_in_any_order_lives_on() {
    let cases = [
        (true, Dropped::Status),
        (true, Dropped::StatusAndFinalizers),
        (true, Dropped::Nothing),
        (false, Dropped::Status),
        (false, Dropped::StatusAndFinalizers),
        (false, Dropped::Nothing),
    ];
    futures::future::join_all(cases.map(async |(contents_first, dropped)| {
        let world = World::start().await;
        let plan = world.plan("simple", &SIMPLE);
        let provisioner = world.provisioner("a").await;
        let before = instance(&world, &plan, &provisioner).await;
        let saved = world.record(ID).await;
        let contents = Contents::save(&world, &before).await;
        provisioner.stop().await;
        lose(&world, &before).await;

        let provisioner = sweeping(&world, "b").await;
        if contents_first {
            contents.restore(&world).await;
            marked(&world, &before, true).await;
            swept(&world).await;
            assert_data_is_there(&world, &before).await;
            restore_record(&world, &saved, dropped).await;
        } else {
            restore_record(&world, &saved, dropped).await;
            missing(&world, &before).await;
            swept(&world).await;
            // An update must not make an empty namespace where the data belongs.
            refused_without_namespace(&world, &plan, &provisioner, &before).await;
            contents.restore(&world).await;
            repaired(&plan, &provisioner).await;
        }
        assert_lives_on(&world, &plan, &provisioner, &before).await;
    }))
    .await;
}

/// The record shows that its namespace is missing.
async fn missing(world: &World, record: &ServiceInstance) {
    eventually("the record is not ready", async || {
        let found = world.record(ID).await;
        let status = found.status.as_ref()?;
        let condition = status.conditions.first()?;
        let shown = condition.status == "False"
            && condition.reason == "NamespaceMissing"
            && condition.message.contains(&record.spec.namespace);
        shown.then_some(())
    })
    .await;
}

async fn refused_without_namespace(
    world: &World,
    plan: &Plan,
    provisioner: &Provisioner,
    record: &ServiceInstance,
) {
    let mut client = provisioner.client.clone();
    let update = client
        .update(plan.update(ID, json!({"note": "early"})))
        .await;
    let operation = update.unwrap().into_inner().operation;
    let ended = end_of(&client, ID, &operation).await;
    assert!(
        ended.description.contains("lost its namespace"),
        "{}",
        ended.description
    );
    assert_eq!(
        (ended.instance_usable, ended.update_repeatable),
        (Some(true), Some(true))
    );
    assert!(namespace_of(world, record).await.is_none());
}

async fn repaired(plan: &Plan, provisioner: &Provisioner) {
    updated(
        &provisioner.client,
        plan.update(ID, json!({"note": "none"})),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_definition_of_records_takes_no_instance_along() {
    let world = World::alone().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = sweeping(&world, "a").await;
    let before = instance(&world, &plan, &provisioner).await;
    let saved = world.record(ID).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.client());
    let name = "serviceinstances.mongodb-osb.io";
    definitions
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    eventually("the definition is gone", async || {
        definitions
            .get_opt(name)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    marked(&world, &before, true).await;
    assert_data_is_there(&world, &before).await;
    // Where there are no records, nobody knows whether the instance is gone.
    let mut client = provisioner.client.clone();
    eventually("a delete is refused for now", async || {
        let refused = client.clone().deprovision(plan.deprovision(ID)).await;
        (code(refused) == ErrorCode::Unavailable).then_some(())
    })
    .await;
    let fetch = FetchInstanceRequest {
        instance_id: ID.into(),
        platform: String::new(),
    };
    assert_eq!(
        code(client.fetch_instance(fetch).await),
        ErrorCode::Unavailable
    );

    install_crd(&world.client()).await;
    restore_record(&world, &saved, Dropped::Status).await;
    assert_lives_on(&world, &plan, &provisioner, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_namespace_takes_no_instance_along() {
    let world = World::alone().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = sweeping(&world, "a").await;
    let before = instance(&world, &plan, &provisioner).await;
    let saved = world.record(ID).await;
    let secrets: Vec<Value> = list::<Secret>(&world, &world.namespace).await;
    let namespaces: Api<Namespace> = Api::all(world.client());
    namespaces
        .delete(&world.namespace, &DeleteParams::default())
        .await
        .unwrap();
    eventually("the record is being deleted", async || {
        let record = world.records().get_opt(&saved.name_any()).await.unwrap();
        record
            .is_none_or(|record| record.metadata.deletion_timestamp.is_some())
            .then_some(())
    })
    .await;
    // The broker's leases go as well, so that nobody may be there to let the
    // record go: then a person does, as README says.
    let none = json!({"metadata": {"finalizers": null}});
    let params = PatchParams::default();
    let _ = world
        .records()
        .patch(&saved.name_any(), &params, &Patch::Merge(&none))
        .await;
    eventually("the broker's namespace is gone", async || {
        let found = namespaces.get_opt(&world.namespace).await.unwrap();
        found.is_none().then_some(())
    })
    .await;
    assert_data_is_there(&world, &before).await;

    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": world.namespace}})).unwrap();
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    marked(&world, &before, true).await;
    create::<Secret>(&world, &world.namespace, &secrets).await;
    swept(&world).await;
    restore_record(&world, &saved, Dropped::StatusAndFinalizers).await;
    assert_lives_on(&world, &plan, &provisioner, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_kept_for_a_while_outlives_its_record_too() {
    let world = World::start().await;
    let descriptor = SIMPLE[0]
        .1
        .replace("version:", "deletion: {retain: 7d}\nversion:");
    let plan = world.plan("keeping", &[("plan.yaml", &descriptor), SIMPLE[1]]);
    let provisioner = sweeping(&world, "a").await;
    let before = instance(&world, &plan, &provisioner).await;
    deprovisioned(&provisioner.client, plan.deprovision(ID)).await;
    let newest = world.record(ID).await.spec.operation.id;
    delete_record(&world).await;
    record_is_gone(&world).await;
    marked(&world, &before, true).await;
    eventually("the log says that it goes alone", async || {
        let lines = logs::audit(&newest);
        let told = lines.iter().any(|line| line.contains("data stays"));
        told.then_some(())
    })
    .await;
    swept(&world).await;
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(world.client(), &before.spec.namespace);
    let claim = claims.get(CLAIM).await.unwrap();
    assert_eq!(claim.metadata.deletion_timestamp, None);
}

/// The sweep goes by proof: a tombstone, or a record that lists the
/// incarnation as ended, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_a_life_that_ended_is_swept_and_of_an_unknown_one_is_not() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = sweeping(&world, "a").await;
    let client = provisioner.client.clone();
    provisioned(&client, plan.provision(ID, json!({}))).await;
    let first = world.record(ID).await;
    deprovisioned(&client, plan.deprovision(ID)).await;
    let record = first.name_any();
    let ended = names::instance_labels(&record, &first.spec.incarnation);
    for life in ["the tombstone", "the life after"] {
        // As a replica makes it that had slept.
        namespace(&world, &first.spec.namespace, ended.clone()).await;
        eventually(&format!("what came late is swept, by {life}"), async || {
            namespace_of(&world, &first).await.is_none().then_some(())
        })
        .await;
        provisioned(&client, plan.provision(ID, json!({}))).await;
    }
    let unknown = format!("unknown-{}", names::random(5));
    namespace(&world, &unknown, names::instance_labels(&record, "unknown")).await;
    swept(&world).await;
    let api: Api<Namespace> = Api::all(world.client());
    let found = api.get(&unknown).await.unwrap();
    assert_eq!(found.metadata.deletion_timestamp, None);
    assert_eq!(found.labels()[names::ORPHANED], "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn letting_a_record_go_survives_a_crash_after_each_of_its_steps() {
    let world = World::start().await;
    let plan = world.plan("steps", &EVERY_STEP);
    for (number, step) in [Step::MarkOrphaned, Step::RemoveFinalizer]
        .into_iter()
        .enumerate()
    {
        let provisioner = world.provisioner("first").await;
        provisioned(&provisioner.client, plan.provision(ID, json!({}))).await;
        let before = world.record(ID).await;
        provisioner.stop().await;
        let mut doomed = world.process(&format!("doomed-{number}"), Some(step.name()));
        delete_record(&world).await;
        let death = tokio::time::timeout(PATIENCE, doomed.child.wait()).await;
        let status = death.unwrap_or_else(|_| panic!("{step:?} was never taken"));
        assert!(!status.unwrap().success());
        let heir = world.process(&format!("heir-{number}"), None);
        record_is_gone(&world).await;
        marked(&world, &before, true).await;
        for name in ["first", "second", "third"] {
            let map = world.config_map(&before.spec.namespace, name).await;
            assert!(map.is_some(), "{name} after {step:?}");
        }
        drop(heir);
    }
}
