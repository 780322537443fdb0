//! The service with exactly the rights that are shipped for it.

use std::path::Path;

use binder_svc::reserve::Reserve;
use broker_proto::v1::Instance;
use k8s_openapi::api::{
    core::v1::{ConfigMap, ServiceAccount},
    rbac::v1::{ClusterRole, Role, RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Resource,
    api::{ObjectMeta, PostParams},
    core::NamespaceResourceScope,
};
use mongo::revocation::{OBJECT, Request};
use serde::{Serialize, de::DeserializeOwned};

use crate::world::{NAMESPACE, World, done, until, uri, use_database};

const ACCOUNT: &str = "binder-svc";

/// The documents of a kind in a shipped manifest.
fn shipped<T: DeserializeOwned + Resource<DynamicType = ()>>(path: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../k8s/base")
        .join(path);
    let text = std::fs::read_to_string(path).unwrap();
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents
        .into_iter()
        .filter(|document| document["kind"] == *T::kind(&()))
        .map(|document| serde_json::from_value(document).unwrap())
        .collect()
}

async fn create<T>(world: &World, objects: Vec<T>)
where
    T: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<T> = Api::namespaced(world.control_plane.client(), NAMESPACE);
    for mut object in objects {
        object.meta_mut().namespace = Some(NAMESPACE.to_owned());
        api.create(&PostParams::default(), &object).await.unwrap();
    }
}

/// It may use the one ConfigMap of the instance's namespace, and no other.
async fn may_ask_for_revocations(world: &World, instance: &Instance, client: kube::Client) {
    let record = cluster::names::instance_record(&instance.instance_id);
    let labels = cluster::names::instance_labels(&record, &instance.incarnation);
    let all: Api<ConfigMap> = Api::namespaced(world.control_plane.client(), &instance.namespace);
    for name in [OBJECT, "another"] {
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        all.create(&PostParams::default(), &object).await.unwrap();
    }
    let reserve = Reserve::new(client.clone());
    let request = Request {
        id: "r".into(),
        operation: None,
        users: vec!["b-1".into()],
        below: 2,
    };
    let asked = reserve
        .ask(instance, "r", request.clone(), None)
        .await
        .unwrap();
    assert!(asked.is_some());
    let answer = reserve.answer(instance, "r", &request).await.unwrap();
    assert_eq!(answer, None);
    reserve.withdraw(instance, "r").await.unwrap();
    let left = all.get(OBJECT).await.unwrap();
    assert!(left.data.unwrap_or_default().is_empty());
    let own: Api<ConfigMap> = Api::namespaced(client, &instance.namespace);
    let error = own.get("another").await.unwrap_err();
    assert!(error.to_string().contains("forbidden"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_rights_are_enough() {
    let world = World::start().await;
    let instance = world.instance("i").await;
    create(
        &world,
        shipped::<ServiceAccount>("broker/binder-svc/account.yaml"),
    )
    .await;
    create(&world, shipped::<Role>("state/bindings/binder-svc.yaml")).await;
    let mut bindings = shipped::<RoleBinding>("state/bindings/binder-svc.yaml");
    for subject in bindings
        .iter_mut()
        .flat_map(|binding| binding.subjects.iter_mut().flatten())
    {
        subject.namespace = Some(NAMESPACE.to_owned());
    }
    create(&world, bindings).await;
    let roles: Api<ClusterRole> = Api::all(world.control_plane.client());
    for role in shipped::<ClusterRole>("access/role-binder.yaml") {
        roles.create(&PostParams::default(), &role).await.unwrap();
    }
    // What the provisioner makes in each instance's own namespace.
    let granted = RoleBinding {
        metadata: ObjectMeta {
            name: Some("mongodb-osb-binder".into()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "ClusterRole".into(),
            name: "mongodb-osb-binder".into(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: ACCOUNT.into(),
            namespace: Some(NAMESPACE.into()),
            ..Subject::default()
        }]),
    };
    let api: Api<RoleBinding> = Api::namespaced(world.control_plane.client(), &instance.namespace);
    api.create(&PostParams::default(), &granted).await.unwrap();

    let identity = world
        .control_plane
        .service_account(NAMESPACE, ACCOUNT)
        .await
        .unwrap();
    let binder = world.binder_as(world.args("r1"), identity.client()).await;
    let binding = done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    use_database(&uri(&binding)).await.unwrap();
    until("the status is written", async || {
        world
            .record("i", "b")
            .await
            .unwrap()
            .object()
            .status
            .is_some()
    })
    .await;
    may_ask_for_revocations(&world, &instance, identity.client()).await;
    binder.unbind(world.unbind_request("i", "b")).await.unwrap();
    assert!(world.users_of("i", "b").await.is_empty());
    until("what is owed is settled", async || {
        world.record("i", "b").await.unwrap().ledger.owed.is_empty()
    })
    .await;
    let events: Api<k8s_openapi::api::events::v1::Event> =
        Api::namespaced(world.control_plane.client(), NAMESPACE);
    until("there are events", async || {
        !events
            .list(&kube::api::ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    })
    .await;
    binder.stop().await;
}
