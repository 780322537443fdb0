//! What is waited for, and what goes meanwhile.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use objects::{
    Objects,
    barrier::{Barrier, Written, gone_unwatched},
    manifest::identity,
    write::Place,
};
use serde_json::{Value, json};

use crate::harness::{applied, config_map, eventually, objects_of, place};

async fn write(objects: &mut Objects, manifest: Value) -> Written {
    let live = applied(objects.write(&manifest, 0).await.unwrap());
    let gvk = identity(&manifest).unwrap().0;
    Written {
        gvk,
        manifest,
        live,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_seen_and_what_goes_or_is_replaced_is_told() {
    let (client, namespace) = place("barrier").await;
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    let mut awaited = Vec::new();
    for name in ["changed", "gone", "replaced", "unlabelled"] {
        awaited.push(write(&mut objects, config_map(name, &json!({"n": "1"}))).await);
    }
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    // One goes before anything is watched.
    maps.delete("gone", &DeleteParams::default()).await.unwrap();
    let mut barrier = Barrier::open(&objects, &awaited).await.unwrap();
    assert!(
        barrier.refresh(&mut awaited).is_empty(),
        "what was not looked at yet is not gone"
    );
    let gone = async |barrier: &mut Barrier, awaited: &mut [Written]| {
        barrier.changed(Duration::from_secs(1)).await;
        let gone = barrier.refresh(awaited);
        gone.iter().map(|object| object.title()).collect::<Vec<_>>()
    };
    eventually("one is gone", async || {
        gone(&mut barrier, &mut awaited).await == ["ConfigMap/gone"]
    })
    .await;

    let merge = async |name: &str, patch: Value| {
        maps.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    };
    merge("changed", json!({"data": {"n": "2"}})).await;
    merge("unlabelled", json!({"metadata": {"labels": null}})).await;
    maps.delete("replaced", &DeleteParams::default())
        .await
        .unwrap();
    objects.forget(&awaited[2].gvk.clone(), "replaced");
    write(&mut objects, config_map("replaced", &json!({}))).await;
    eventually("all is seen", async || {
        let gone = gone(&mut barrier, &mut awaited).await;
        gone == [
            "ConfigMap/gone",
            "ConfigMap/replaced",
            "ConfigMap/unlabelled",
        ] && awaited[0].live.data["data"]["n"] == "2"
    })
    .await;
    assert_eq!(awaited[0].live_json()["kind"], "ConfigMap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_not_watched_and_its_end_is_found_by_asking() {
    let (client, namespace) = place("secrets").await;
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    let manifest = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let mut awaited = [write(&mut objects, manifest.clone()).await];
    let mut barrier = Barrier::open(&objects, &awaited).await.unwrap();
    assert!(gone_unwatched(&objects, &awaited).await.unwrap().is_empty());
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    secrets.delete("s", &DeleteParams::default()).await.unwrap();
    barrier.changed(Duration::from_millis(100)).await;
    assert!(barrier.refresh(&mut awaited).is_empty());
    let gone = gone_unwatched(&objects, &awaited).await.unwrap();
    assert_eq!(gone[0].title(), "Secret/s");
    objects.forget(&awaited[0].gvk, "s");
    let anew = write(&mut objects, manifest).await;
    assert_ne!(anew.live.uid(), awaited[0].live.uid());
    assert_eq!(
        gone_unwatched(&objects, &awaited).await.unwrap().len(),
        1,
        "another one"
    );
}
