//! Creation as a gate, writes that come late, the inventory, deletion.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PropagationPolicy},
};
use objects::{
    inventory::{self, Entry},
    kinds::{self, Kinds},
    manifest::identity,
    write::{Outcome, Place},
};
use serde_json::json;

use crate::harness::{applied, config_map, eventually, objects_of, place};

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_are_no_longer_rendered_go_wherever_the_object_was_made() {
    let (client, namespace) = place("fields").await;
    for place in [Place::Own, Place::Shared] {
        let name = format!("{place:?}").to_lowercase();
        let mut objects = objects_of(&client, &namespace, place, "record");
        let manifest = |data| config_map(&name, &data);
        let first = manifest(json!({"a": "1", "b": "2"}));
        let first = applied(objects.write(&first, 0).await.unwrap());
        assert_eq!(first.labels()[cluster::names::INCARNATION], "one");
        let second = manifest(json!({"a": "1"}));
        let second = applied(objects.write(&second, 0).await.unwrap());
        assert_eq!(second.data["data"], json!({"a": "1"}), "{place:?}");
        assert_eq!(first.uid(), second.uid());
        let third = applied(objects.write(&manifest(json!({})), 0).await.unwrap());
        assert!(third.data.get("data").is_none(), "{place:?}");
        assert_eq!(objects.inventory().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_based_on_something_older_or_on_nothing_writes_nothing() {
    let (client, namespace) = place("older").await;
    let manifest = |text| config_map("a", &json!({"n": text}));
    let mut late = objects_of(&client, &namespace, Place::Own, "record");
    late.write(&manifest("1"), 0).await.unwrap();
    let mut newer = objects_of(&client, &namespace, Place::Own, "record");
    newer
        .find(&[kinds::parse("v1", "ConfigMap")])
        .await
        .unwrap();
    let written = applied(newer.write(&manifest("2"), 0).await.unwrap());

    let mut ignorant = objects_of(&client, &namespace, Place::Own, "record");
    for objects in [&mut late, &mut ignorant] {
        match objects.write(&manifest("late"), 0).await.unwrap() {
            Outcome::Changed(found) => {
                assert_eq!(found.resource_version(), written.resource_version());
            }
            other => panic!("{other:?}"),
        }
        // Having seen what is there, it may go on.
        assert_eq!(objects.inventory(), newer.inventory());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_resurrects_nothing_and_a_foreign_object_is_left_alone() {
    let (client, namespace) = place("late").await;
    let manifest = config_map("a", &json!({"a": "1"}));
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let mut ours = objects_of(&client, &namespace, Place::Own, "record");
    ours.write(&manifest, 0).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(matches!(
        ours.write(&manifest, 0).await.unwrap(),
        Outcome::Vanished
    ));
    assert!(maps.get_opt("a").await.unwrap().is_none());
    assert_eq!(ours.inventory(), [], "it would be made anew");

    let mut shared = objects_of(&client, &namespace, Place::Shared, "record");
    let made = applied(shared.write(&manifest, 0).await.unwrap());
    let mut other = objects_of(&client, &namespace, Place::Shared, "other");
    assert!(matches!(
        other.write(&manifest, 0).await.unwrap(),
        Outcome::Foreign
    ));
    assert_eq!(
        maps.get("a").await.unwrap().resource_version(),
        made.resource_version()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_the_kind_does_not_have_is_named_at_creation_and_at_a_change() {
    let (client, namespace) = place("strict").await;
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    let right = config_map("a", &json!({}));
    let mut wrong = right.clone();
    wrong["dta"] = json!({"password": "hunter2"});
    for at in ["creation", "change"] {
        let tried = objects.try_out(&wrong, 0).await.map_err(|e| e.to_string());
        let written = objects.write(&wrong, 0).await.unwrap_err().to_string();
        assert!(written.contains("dta (unknown field)"), "{at}: {written}");
        assert!(!written.contains("hunter2"), "{at}: {written}");
        if at == "change" {
            assert_eq!(tried.unwrap_err(), written);
        }
        objects.write(&right, 0).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_found_by_label_and_deleted_by_uid() {
    let (client, namespace) = place("inventory").await;
    let mut made = objects_of(&client, &namespace, Place::Own, "record");
    for (file, name) in (3..).zip(["a", "b"]) {
        made.write(&config_map(name, &json!({})), file)
            .await
            .unwrap();
    }
    // Kinds that the cluster does not serve have no objects.
    let wanted = [
        kinds::parse("v1", "ConfigMap"),
        kinds::parse("nobody.example/v1", "Nothing"),
    ];
    let mut found = objects_of(&client, &namespace, Place::Own, "record");
    found.find(&wanted).await.unwrap();
    assert_eq!(found.inventory(), made.inventory());

    let entry = found.inventory()[0].clone();
    let stale = Entry {
        uid: "another".into(),
        ..entry.clone()
    };
    let foreground = PropagationPolicy::Foreground;
    let gone = found.delete(&stale, foreground.clone()).await.unwrap();
    assert!(gone, "another object counts as gone");
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    assert!(maps.get_opt("a").await.unwrap().is_some());
    eventually("a is gone", async || {
        found.delete(&entry, foreground.clone()).await.unwrap()
    })
    .await;
    assert!(maps.get_opt("a").await.unwrap().is_none());
    assert!(maps.get_opt("b").await.unwrap().is_some());
    let left: Vec<String> = found.inventory().iter().map(Entry::label).collect();
    assert_eq!(left, ["ConfigMap/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_apply_would_refuse_is_told_beforehand_and_nothing_is_written() {
    let (client, namespace) = place("tried").await;
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    let service = |port: u32, address: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
            "spec": {"clusterIP": address, "ports": [{"port": port}]}})
    };
    objects.try_out(&service(1, "None"), 0).await.unwrap();
    let made = applied(objects.write(&service(1, "None"), 0).await.unwrap());
    objects.own(&service(2, "None"), None, 0).await.unwrap();
    objects.try_out(&service(2, "None"), 0).await.unwrap();
    let refused = objects.try_out(&service(2, "10.0.0.1"), 0).await;
    assert!(matches!(refused, Err(cluster::Error::Invalid(_))));
    let services: Api<Service> = Api::namespaced(client, &namespace);
    let live = services.get("s").await.unwrap();
    assert_eq!(live.spec.unwrap().ports.unwrap()[0].port, 1);
    assert_eq!(live.metadata.uid, made.uid());
}

/// Of the kinds that plans have most.
fn usual() -> Vec<serde_json::Value> {
    let container = json!({
        "name": "main", "image": "example.invalid/none",
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
        "env": [{"name": "A", "value": "b"}], "volumeMounts": [{"name": "data", "mountPath": "/data"}]
    });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"},
        "spec": {
            "serviceName": "headless", "replicas": 0, "selector": {"matchLabels": {"app": "set"}},
            "template": {"metadata": {"labels": {"app": "set"}}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}
            }}]
        }
    });
    vec![
        config_map("settings", &json!({"a": "1"})),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
               "stringData": {"password": "text"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "headless"},
               "spec": {"clusterIP": "None", "selector": {"app": "set"}, "ports": [{"port": 27017}]}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pods"}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"},
               "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 27017}]}]}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
               "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "set"}}}}),
        set,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_as_it_was_written_is_known_and_what_somebody_changed_is_not() {
    let (client, namespace) = place("unchanged").await;
    let manifests = usual();
    let gvks: Vec<_> = manifests
        .iter()
        .map(|manifest| identity(manifest).unwrap().0)
        .collect();
    let mut maker = objects_of(&client, &namespace, Place::Own, "record");
    for manifest in &manifests {
        applied(maker.write(manifest, 0).await.unwrap());
        // Not from memory alone: only what was read since counts.
        assert!(maker.unchanged(manifest, 0).await.unwrap().is_none());
    }
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    objects.find(&gvks).await.unwrap();
    for manifest in &manifests {
        let known = objects.unchanged(manifest, 0).await.unwrap();
        assert!(known.is_some(), "{manifest}");
        assert!(objects.unchanged(manifest, 1).await.unwrap().is_none());
    }

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let patch = Patch::Merge(json!({"data": {"a": "2"}}));
    maps.patch("settings", &PatchParams::default(), &patch)
        .await
        .unwrap();
    objects.find(&gvks).await.unwrap();
    assert!(objects.unchanged(&manifests[0], 0).await.unwrap().is_none());
    assert!(objects.unchanged(&manifests[1], 0).await.unwrap().is_some());
    let written = applied(objects.write(&manifests[0], 0).await.unwrap());
    assert_eq!(written.data["data"], json!({"a": "1"}));
    let less = config_map("settings", &json!({}));
    assert!(objects.unchanged(&less, 0).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_goes_backwards_and_no_further_before_a_file_is_gone() {
    let (client, namespace) = place("backwards").await;
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    for (file, name) in [(0, "first"), (1, "held"), (1, "free")] {
        let mut manifest = config_map(name, &json!({}));
        if name == "held" {
            manifest["metadata"]["finalizers"] = json!(["test.example/held"]);
        }
        objects.write(&manifest, file).await.unwrap();
    }
    let kinds = Kinds::new(client.clone());
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    // One is held: the file before is not touched.
    eventually("the free one is gone", async || {
        let step = inventory::delete_last(&kinds, objects.inventory()).await;
        let gone = |name: &str| {
            let found = step.iter().find(|(entry, _)| entry.name == name);
            *found.unwrap().1.as_ref().unwrap()
        };
        assert_eq!(step.len(), 2);
        assert!(!gone("held"));
        gone("free")
    })
    .await;
    assert!(maps.get_opt("first").await.unwrap().is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let mut left = objects.inventory().to_vec();
    eventually("all are gone", async || {
        for (entry, gone) in inventory::delete_last(&kinds, &left).await {
            if gone.unwrap() {
                left.retain(|kept| kept.name != entry.name);
            }
        }
        left.is_empty()
    })
    .await;
    assert!(maps.get_opt("first").await.unwrap().is_none());
}
