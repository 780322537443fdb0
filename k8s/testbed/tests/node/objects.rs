//! What the test puts into the cluster.

use anyhow::Context as _;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Event, Pod, Service},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};
use serde_json::json;
use testbed::images;

/// A pod that runs one image without any rights, as our services do.
pub(crate) fn restricted_pod(name: &str, image: &str) -> anyhow::Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": { "runAsNonRoot": true },
            "containers": [{
                "name": "main",
                "image": image,
                "securityContext": {
                    "readOnlyRootFilesystem": true,
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    }))?)
}

/// A replica set of mongod, not initiated, with volumes and names.
pub(crate) async fn create_database(client: &kube::Client, replicas: i32) -> anyhow::Result<()> {
    let service: Service = serde_json::from_value(json!({
        "metadata": { "name": "db" },
        "spec": {
            "clusterIP": "None",
            "selector": { "app": "db" },
            "publishNotReadyAddresses": true,
            "ports": [{ "port": 27017 }],
        },
    }))?;
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": { "name": "db" },
        "spec": {
            "serviceName": "db",
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": { "app": "db" } },
            "template": {
                "metadata": { "labels": { "app": "db" } },
                "spec": {
                    "securityContext": { "runAsUser": 999, "runAsGroup": 999, "fsGroup": 999 },
                    "containers": [{
                        "name": "mongod",
                        "image": images::MONGO,
                        "command": ["mongod", "--bind_ip_all", "--replSet=rs0", "--wiredTigerCacheSizeGB=0.25"],
                        "readinessProbe": { "tcpSocket": { "port": 27017 }, "periodSeconds": 1 },
                        "volumeMounts": [{ "name": "data", "mountPath": "/data/db" }],
                    }],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "1Gi" } },
                },
            }],
        },
    }))?;
    let params = PostParams::default();
    Api::namespaced(client.clone(), "default")
        .create(&params, &service)
        .await?;
    Api::namespaced(client.clone(), "default")
        .create(&params, &set)
        .await?;
    Ok(())
}

/// Lets the members of the database reach each other, and nobody else.
pub(crate) async fn close_database(client: &kube::Client) -> anyhow::Result<()> {
    let policy: NetworkPolicy = serde_json::from_value(json!({
        "metadata": { "name": "db" },
        "spec": {
            "podSelector": { "matchLabels": { "app": "db" } },
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{ "podSelector": { "matchLabels": { "app": "db" } } }],
                "ports": [{ "port": 27017 }],
            }],
        },
    }))?;
    Api::namespaced(client.clone(), "default")
        .create(&PostParams::default(), &policy)
        .await?;
    Ok(())
}

/// The address of a pod, once it is ready.
pub(crate) async fn ready_address(client: &kube::Client, name: &str) -> anyhow::Result<String> {
    let pod = Api::<Pod>::namespaced(client.clone(), "default")
        .get(name)
        .await?;
    let status = pod.status.context("it has no status")?;
    let conditions = status.conditions.unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    status.pod_ip.filter(|_| ready).context("it is not ready")
}

/// What a person would look at first.
pub(crate) async fn describe(client: kube::Client) -> String {
    let all = ListParams::default();
    let pods = Api::<Pod>::all(client.clone())
        .list(&all)
        .await
        .into_iter()
        .flatten();
    let pods = pods.map(|pod| {
        let name = pod.name_any();
        let status = pod.status.unwrap_or_default();
        format!(
            "pod {name}: {:?} {:?}\n",
            status.phase, status.container_statuses
        )
    });
    let events = Api::<Event>::all(client)
        .list(&all)
        .await
        .into_iter()
        .flatten();
    let events = events.map(|event| {
        let name = event.involved_object.name.unwrap_or_default();
        format!("{name}: {}\n", event.message.unwrap_or_default())
    });
    pods.chain(events).collect()
}
