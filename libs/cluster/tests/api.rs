//! The library alone, against a real API server.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::{
    Error, age,
    cache::Cache,
    gate::{self, Deletion, Gate},
    names,
    records::Records,
    revision::{RevisionError, Revisions},
    share::{Members, Share, Timing},
};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::{ControlPlane, Controllers};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

static SHARED: tokio::sync::OnceCell<Arc<ControlPlane>> = tokio::sync::OnceCell::const_new();

/// A client, and a namespace of the test's own.
async fn place(name: &str) -> (Client, String) {
    let shared = SHARED
        .get_or_init(async || {
            let built = ControlPlane::builder()
                .controllers(Controllers::Manager)
                .start()
                .await;
            Arc::new(built.unwrap())
        })
        .await;
    let client = Client::try_from(shared.config()).unwrap();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    (client, name.to_owned())
}

fn labels() -> BTreeMap<String, String> {
    names::instance_labels("record", "one")
}

fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

async fn eventually(what: &str, ask: impl AsyncFn() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !ask().await {
        assert!(
            tokio::time::Instant::now() < until,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_made_once_and_a_foreign_one_is_neither_entered_nor_deleted() {
    let (client, _) = place("gates").await;
    let none = BTreeMap::new();
    let ask = async |labels| {
        gate::namespace(&client, "mdb-x", labels, &none)
            .await
            .unwrap()
    };
    let (ours, other) = (labels(), names::instance_labels("record", "two"));
    assert_eq!(ask(&ours).await, Gate::Created);
    assert_eq!(ask(&ours).await, Gate::Ours);
    assert_eq!(ask(&other).await, Gate::Foreign);
    let delete = async |labels| {
        let deletion = gate::delete_namespace(&client, "mdb-x", labels).await;
        deletion.unwrap()
    };
    assert_eq!(delete(&other).await, Deletion::Gone, "not ours to wait for");
    assert_eq!(ask(&ours).await, Gate::Ours);
    while let Deletion::Going(version) = delete(&ours).await {
        let ended = gate::await_end(&client, "mdb-x", &version, Duration::from_secs(60));
        assert!(ended.await.unwrap(), "it was watched to its end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_written_conditionally_and_known_at_once() {
    let (client, namespace) = place("records").await;
    // Any kind will do: a record is a kind with conditional writes.
    let records: Records<ConfigMap> = Records::new(client, &namespace);
    let cache = Cache::default();
    let stop = CancellationToken::new();
    let run = tokio::spawn(cache.clone().run(records.api().clone(), stop.clone()));
    cache.synced().await;
    let new: ConfigMap = serde_json::from_value(config_map("r", &json!({"n": "1"}))).unwrap();
    let made = records.create(&new).await.unwrap();
    assert!(matches!(
        records.create(&new).await,
        Err(Error::AlreadyExists)
    ));
    let mut changed = made.clone();
    changed.data = Some(BTreeMap::from([("n".to_owned(), "2".to_owned())]));
    let written = records.replace(&changed).await.unwrap();
    assert!(matches!(
        records.replace(&changed).await,
        Err(Error::Conflict)
    ));
    cache.observe(written.clone());
    assert_eq!(
        cache.get("r").unwrap().resource_version(),
        written.resource_version()
    );
    assert!(matches!(records.delete(&made).await, Err(Error::Conflict)));
    records.delete(&written).await.unwrap();
    records.delete(&written).await.unwrap();
    eventually("the cache has heard", async || cache.get("r").is_none()).await;
    assert!(records.get("r").await.unwrap().is_none());
    stop.cancel();
    run.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_immutable_and_has_a_name_of_its_own() {
    let (client, namespace) = place("revisions").await;
    let revisions = Revisions::new(client.clone(), &namespace);
    let one = revisions.write("record", &json!({"n": 1})).await.unwrap();
    let two = revisions.write("record", &json!({"n": 2})).await.unwrap();
    assert_ne!(one, two);
    assert_eq!(
        revisions.read::<Value>(&one).await.unwrap(),
        json!({"n": 1})
    );
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let patch = Patch::Merge(json!({"data": {"revision": "e30="}}));
    assert!(
        secrets
            .patch(&one, &PatchParams::default(), &patch)
            .await
            .is_err()
    );
    assert_eq!(revisions.list(Some("record")).await.unwrap().len(), 2);
    assert!(revisions.list(Some("other")).await.unwrap().is_empty());
    revisions.delete(&one).await.unwrap();
    revisions.delete(&one).await.unwrap();
    let missing = revisions.read::<Value>(&one).await;
    assert!(matches!(missing, Err(RevisionError::Missing(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_divide_the_work_and_the_dead_ones_share_falls_to_the_living() {
    let (client, namespace) = place("share").await;
    let timing = Timing {
        renew: Duration::from_millis(300),
        lifetime: Duration::from_secs(2),
    };
    let start = |replica: &str| {
        let share = Share::new(client.clone(), &namespace, "test", replica, timing);
        let members = share.members();
        let stop = CancellationToken::new();
        (tokio::spawn(share.run(stop.clone())), members, stop)
    };
    let (one, mut one_sees, _keep) = start("one");
    let alone = |members: &Members| members.count() == 1;
    tokio::time::timeout(PATIENCE, one_sees.wait_for(alone))
        .await
        .unwrap()
        .unwrap();
    let (two, mut two_sees, two_stop) = start("two");
    let both = |members: &Members| members.count() == 2;
    tokio::time::timeout(PATIENCE, two_sees.wait_for(|members| members.lives("two")))
        .await
        .unwrap()
        .unwrap();
    assert!(
        one_sees.borrow().lives("two"),
        "a newcomer takes no part before it was seen"
    );
    for sees in [&mut one_sees, &mut two_sees] {
        tokio::time::timeout(PATIENCE, sees.wait_for(both))
            .await
            .unwrap()
            .unwrap();
    }
    for number in 0..50 {
        let record = names::instance_record(&number.to_string());
        assert!(one_sees.borrow().owns(&record) != two_sees.borrow().owns(&record));
    }
    // A crash: nothing is given back, the lease runs out.
    one.abort();
    tokio::time::timeout(PATIENCE, two_sees.wait_for(alone))
        .await
        .unwrap()
        .unwrap();
    assert!(two_sees.borrow().owns("anything"));
    // Pods get new names: what a dead one leaves is cleared away.
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(client.clone(), &namespace);
    assert!(leases.get_opt("test-one").await.unwrap().is_some());
    let cleared = async {
        while leases.get_opt("test-one").await.unwrap().is_some() {
            tokio::time::sleep(timing.renew).await;
        }
    };
    tokio::time::timeout(PATIENCE, cleared).await.unwrap();
    // An orderly end: the lease is gone at once.
    two_stop.cancel();
    two.await.unwrap();
    assert!(leases.get_opt("test-two").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_age_of_an_object_is_told_by_the_api_server() {
    let (client, namespace) = place("age").await;
    let age = async |namespace: &str, name: &str| {
        age::of::<ConfigMap>(&client, namespace, name)
            .await
            .unwrap()
    };
    assert_eq!(age(&namespace, "a").await, None);
    assert_eq!(age("nowhere", "a").await, None);
    let new: ConfigMap = serde_json::from_value(config_map("a", &json!({}))).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    maps.create(&PostParams::default(), &new).await.unwrap();
    // Made by the API server itself when it started.
    let elder = age("kube-system", "extension-apiserver-authentication").await;
    let younger = age(&namespace, "a").await.unwrap();
    assert!(elder.unwrap() >= younger);
}
