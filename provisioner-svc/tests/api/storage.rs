//! Storage grows as a step of its own, never shrinks, and is refused before
//! anything changes where the class does not allow it. Volumes are real
//! objects without a driver behind them: a fake resizer stands in for it.

use std::time::Duration;

use broker_proto::v1::OperationState;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    harness::{World, deprovisioned, end_of, eventually, provisioned},
    rights::{shipped_account, shipped_args},
};

const SIZED: [(&str, &str); 2] = [
    (
        "plan.yaml",
        "parameters:
  create:
    properties:
      storage: {type: string, enum: [512Mi, 1Gi, 2Gi], default: 1Gi}
      class: {type: string, enum: [growing, rigid], default: growing, x-immutable: true}
      serial: {type: string, enum: ['1', '2'], default: '1'}
  update: {inherit: create}
kinds: [apps/v1/StatefulSet]
ready:
  StatefulSet/mdb: {ready: \"true\"}
",
    ),
    (
        "1.yaml",
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: mdb}
spec:
  replicas: 1
  serviceName: \"{{ 'other' if serial == '2' else 'mdb' }}\"
  selector: {matchLabels: {app: mdb}}
  template:
    metadata: {labels: {app: mdb}}
    spec: {containers: [{name: a, image: a}]}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: \"{{ class }}\"
        resources: {requests: {storage: \"{{ storage }}\"}}
",
    ),
];

async fn classes_and_volumes(world: &World) {
    let params = PostParams::default();
    let classes: Api<StorageClass> = Api::all(world.client());
    let volumes: Api<PersistentVolume> = Api::all(world.client());
    for (name, expands) in [("growing", true), ("rigid", false)] {
        let class: StorageClass = serde_json::from_value(json!({
            "metadata": {"name": name},
            "provisioner": "kubernetes.io/no-provisioner",
            "allowVolumeExpansion": expands
        }))
        .unwrap();
        classes.create(&params, &class).await.unwrap();
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": {"name": format!("volume-{name}")},
            "spec": {
                "storageClassName": name,
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/nowhere"}
            }
        }))
        .unwrap();
        volumes.create(&params, &volume).await.unwrap();
    }
}

/// Does what a storage driver does for the claims of a namespace: gives them
/// the size that they ask for.
async fn fake_resizer(claims: Api<PersistentVolumeClaim>) {
    loop {
        for claim in claims
            .list(&ListParams::default())
            .await
            .map(|list| list.items)
            .unwrap_or_default()
        {
            let requested = claim
                .spec
                .clone()
                .unwrap()
                .resources
                .unwrap()
                .requests
                .unwrap();
            let bound = claim
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                == Some("Bound");
            if bound {
                let status = json!({"status": {"capacity": {"storage": requested["storage"]}}});
                let patch = Patch::Merge(&status);
                let _ = claims
                    .patch_status(&claim.name_any(), &PatchParams::default(), &patch)
                    .await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_grows_never_shrinks_and_is_refused_before_anything_changes() {
    // Its own API server: storage classes and volumes are nobody's namespace.
    let world = World::alone().await;
    classes_and_volumes(&world).await;
    let plan = world.plan("sized", &SIZED);
    // Volumes are what no other test changes with the shipped rights.
    let account = shipped_account(&world).await;
    let provisioner = world
        .provisioner_as(shipped_args(&world, "a"), account)
        .await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("grows", json!({}))).await;
    provisioned(&client, plan.provision("rigid", json!({"class": "rigid"}))).await;
    let grows = world.record("grows").await.spec.namespace;
    let rigid = world.record("rigid").await.spec.namespace;
    let sets: Api<StatefulSet> = Api::namespaced(world.client(), &grows);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client(), &grows);
    for namespace in [&grows, &rigid] {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client(), namespace);
        eventually("the claim is bound", async || {
            let claim = claims.get_opt("data-mdb-0").await.unwrap()?;
            (claim.status?.phase.as_deref() == Some("Bound")).then_some(())
        })
        .await;
    }
    let resizer = tokio::spawn(fake_resizer(claims.clone()));
    let before = sets.get("mdb").await.unwrap();

    let mut update = async |id: &str, patch| {
        let answer = client.update(plan.update(id, patch)).await.unwrap();
        end_of(&client, id, &answer.into_inner().operation).await
    };
    let ended = update("grows", json!({"storage": "2Gi"})).await;
    assert_eq!(
        ended.state(),
        OperationState::Succeeded,
        "{}",
        ended.description
    );
    let claim = claims.get("data-mdb-0").await.unwrap();
    assert_eq!(claim.status.unwrap().capacity.unwrap()["storage"].0, "2Gi");
    let after = sets.get("mdb").await.unwrap();
    assert_ne!(before.uid(), after.uid(), "made anew over its pods");
    let storage = |set: &StatefulSet| {
        let template = set
            .spec
            .as_ref()
            .unwrap()
            .volume_claim_templates
            .as_ref()
            .unwrap()[0]
            .clone();
        template.spec.unwrap().resources.unwrap().requests.unwrap()["storage"]
            .0
            .clone()
    };
    assert_eq!(storage(&after), "2Gi");

    // Less is asked: what there is stays, and nothing else stands in the way.
    let ended = update("grows", json!({"storage": "512Mi"})).await;
    assert_eq!(
        ended.state(),
        OperationState::Succeeded,
        "{}",
        ended.description
    );
    let kept = sets.get("mdb").await.unwrap();
    assert_eq!((storage(&kept).as_str(), kept.uid()), ("2Gi", after.uid()));
    resizer.abort();

    let ended = update("rigid", json!({"storage": "2Gi"})).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("StorageClass rigid"),
        "{}",
        ended.description
    );
    assert_eq!(
        (ended.instance_usable, ended.update_repeatable),
        (Some(true), Some(false))
    );
    // Any other immutable field is the API server's to name.
    let ended = update("rigid", json!({"serial": "2"})).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(
        ended.description.contains("nothing was changed"),
        "{}",
        ended.description
    );

    deprovisioned(&client, plan.deprovision("grows")).await;
    deprovisioned(&client, plan.deprovision("rigid")).await;
    world.assert_nothing_left().await;
}
