//! Whatever is updated, for the first time or a later one, comes out as from
//! `kubectl apply --server-side` of the same manifests: compared with kubectl
//! itself, on the same API server.

use std::{path::Path, process::Stdio};

use cluster::Error;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use objects::{
    kinds::Kinds,
    manifest::{FILE, MANIFEST, identity},
    write::{Outcome, Place},
};
use serde_json::{Value, json};
use testbed::binaries::{self, Binary};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::harness::{PATIENCE, applied, control_plane, objects_of, place};

/// One thing that happens to an object.
#[derive(Clone)]
enum Event {
    /// We, or kubectl, apply this.
    Apply(Value),
    /// Somebody else changes it by a merge patch.
    ByHand(Value),
}

use Event::{Apply, ByHand};

/// What became of an apply.
#[derive(Debug, PartialEq)]
enum Answer {
    Taken,
    Refused,
}

/// One object and what happens to it.
#[derive(Clone)]
struct Row {
    name: &'static str,
    events: Vec<Event>,
}

/// The same object with one spec after the other.
fn specs(name: &'static str, api_version: &str, kind: &str, specs: &[Value]) -> Row {
    let manifest = |spec: &Value| {
        let metadata = json!({"name": name});
        let manifest =
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec});
        Apply(manifest)
    };
    Row {
        name,
        events: specs.iter().map(manifest).collect(),
    }
}

fn service(name: &'static str, ports: &[Value]) -> Row {
    let spec = |ports: &Value| json!({"selector": {"app": "a"}, "ports": ports});
    let all: Vec<Value> = ports.iter().map(spec).collect();
    specs(name, "v1", "Service", &all)
}

/// A StatefulSet of no replicas with this pod spec.
fn pods(name: &'static str, pod_specs: &[Value]) -> Row {
    let spec = |pod: &Value| {
        json!({
            "replicas": 0, "serviceName": "s", "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod}
        })
    };
    let all: Vec<Value> = pod_specs.iter().map(spec).collect();
    specs(name, "apps/v1", "StatefulSet", &all)
}

/// A StatefulSet with these fields over the least that it needs.
fn set(name: &'static str, fields: &[Value]) -> Row {
    let spec = |fields: &Value| {
        let mut spec = json!({
            "replicas": 0, "serviceName": "s", "selector": {"matchLabels": {"app": "a"}},
            "template": {
                "metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "a", "image": "a"}]}
            }
        });
        for (key, value) in fields.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    };
    let all: Vec<Value> = fields.iter().map(spec).collect();
    specs(name, "apps/v1", "StatefulSet", &all)
}

/// An object without a spec: one set of top-level fields after the other.
fn plain(name: &'static str, api_version: &str, kind: &str, all: &[Value]) -> Row {
    let manifest = |fields: &Value| {
        let mut manifest = fields.clone();
        manifest["apiVersion"] = json!(api_version);
        manifest["kind"] = json!(kind);
        manifest["metadata"]["name"] = json!(name);
        Apply(manifest)
    };
    Row {
        name,
        events: all.iter().map(manifest).collect(),
    }
}

fn lists(name: &'static str, all: &[Value]) -> Row {
    specs(name, "test.example/v1", "Lists", all)
}

fn services() -> Vec<Row> {
    vec![
        service(
            "unnamed-port",
            &[
                json!([{"port": 8080}]),
                json!([{"port": 8081}]),
                json!([{"port": 8082}]),
            ],
        ),
        service(
            "named-ports",
            &[
                json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]),
                json!([{"name": "b", "port": 3}]),
                json!([{"name": "b", "port": 3, "targetPort": 4}, {"name": "c", "port": 5}]),
                json!([{"name": "c", "port": 5}, {"name": "b", "port": 3}]),
            ],
        ),
        service(
            "protocols",
            &[
                json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]),
                json!([{"name": "u", "port": 53, "protocol": "UDP"}]),
            ],
        ),
        service(
            "target-port",
            &[
                json!([{"port": 1, "targetPort": 2}]),
                json!([{"port": 1}]),
                json!([{"port": 1, "targetPort": "x"}]),
            ],
        ),
        specs(
            "headless",
            "v1",
            "Service",
            &[
                json!({"ports": [{"port": 1}]}),
                json!({"ports": [{"port": 1}], "clusterIP": "None"}),
                json!({"ports": [{"port": 1}], "publishNotReadyAddresses": true}),
                json!({"ports": [{"port": 1}], "sessionAffinity": "ClientIP"}),
                json!({"ports": [{"port": 1}]}),
            ],
        ),
    ]
}

fn containers() -> Vec<Row> {
    vec![
        pods(
            "containers",
            &[
                json!({"containers": [{"name": "a", "image": "a"}, {"name": "b", "image": "b"}]}),
                json!({"containers": [{"name": "b", "image": "c", "imagePullPolicy": "Always"}]}),
                json!({"containers": [{"name": "x", "image": "x"}, {"name": "b", "image": "c"}]}),
            ],
        ),
        pods(
            "environment",
            &[
                json!({"containers": [{"name": "a", "image": "a",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}),
                json!({"containers": [{"name": "a", "image": "a",
                    "env": [{"name": "B", "value": "3"}, {"name": "C"}]}]}),
                json!({"containers": [{"name": "a", "image": "a"}]}),
            ],
        ),
        pods(
            "arguments",
            &[
                json!({"containers": [{"name": "a", "image": "a", "args": ["x", "y"], "command": ["c"]}]}),
                json!({"containers": [{"name": "a", "image": "a", "args": ["y"]}]}),
                json!({"containers": [{"name": "a", "image": "a", "command": ["d"]}]}),
            ],
        ),
        pods(
            "resources",
            &[
                json!({"containers": [{"name": "a", "image": "a",
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]}),
                json!({"containers": [{"name": "a", "image": "a",
                    "resources": {"limits": {"memory": "1024Mi"}}}]}),
                json!({"containers": [{"name": "a", "image": "a"}]}),
            ],
        ),
        pods(
            "probes",
            &[
                json!({"containers": [{"name": "a", "image": "a",
                    "readinessProbe": {"httpGet": {"path": "/", "port": 1}, "periodSeconds": 3}}]}),
                json!({"containers": [{"name": "a", "image": "a",
                    "readinessProbe": {"tcpSocket": {"port": 1}}}]}),
            ],
        ),
    ]
}

fn workloads() -> Vec<Row> {
    vec![
        pods(
            "volumes",
            &[
                json!({"containers": [{"name": "a", "image": "a",
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "w", "mountPath": "/w"}]}],
                    "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "w"}}]}),
                json!({"containers": [{"name": "a", "image": "a",
                    "volumeMounts": [{"name": "w", "mountPath": "/w"}]}],
                    "volumes": [{"name": "w", "secret": {"secretName": "w"}}]}),
                json!({"containers": [{"name": "a", "image": "a",
                    "volumeMounts": [{"name": "w", "mountPath": "/x"}]}],
                    "volumes": [{"name": "w", "emptyDir": {"medium": "Memory"}}]}),
                json!({"containers": [{"name": "a", "image": "a"}]}),
            ],
        ),
        pods(
            "tolerations",
            &[
                json!({"containers": [{"name": "a", "image": "a"}],
                    "tolerations": [{"key": "a"}, {"key": "b"}], "nodeSelector": {"x": "1", "y": "2"}}),
                json!({"containers": [{"name": "a", "image": "a"}],
                    "tolerations": [{"key": "b"}], "nodeSelector": {"y": "2"}}),
                json!({"containers": [{"name": "a", "image": "a"}], "securityContext": {"runAsUser": 1}}),
            ],
        ),
        set(
            "strategy",
            &[
                json!({}),
                json!({"updateStrategy": {"type": "OnDelete"}}),
                json!({"updateStrategy": {"rollingUpdate": {"partition": 1}}}),
                json!({"minReadySeconds": 3, "revisionHistoryLimit": 2}),
                json!({}),
            ],
        ),
        set(
            "immutable",
            &[
                json!({}),
                json!({"serviceName": "other"}),
                json!({"replicas": 0}),
            ],
        ),
        set(
            "claims",
            &[
                json!({"volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}),
                json!({"minReadySeconds": 3, "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]}),
                json!({"volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}]}),
            ],
        ),
        specs(
            "recreate",
            "apps/v1",
            "Deployment",
            &["RollingUpdate", "Recreate"].map(|strategy| {
                json!({
                    "replicas": 0, "selector": {"matchLabels": {"app": "a"}},
                    "strategy": {"type": strategy},
                    "template": {
                        "metadata": {"labels": {"app": "a"}},
                        "spec": {"containers": [{"name": "a", "image": "a"}]}
                    }
                })
            }),
        ),
    ]
}

fn configuration() -> Vec<Row> {
    vec![
        plain(
            "data",
            "v1",
            "ConfigMap",
            &[
                json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AA=="}}),
                json!({"data": {"a": "1", "d": "3"}}),
                json!({"data": {}}),
                json!({"data": {"a": "1"}, "immutable": true}),
                json!({"data": {"a": "2"}, "immutable": true}),
            ],
        ),
        plain(
            "secret",
            "v1",
            "Secret",
            &[
                json!({"data": {"a": "AA==", "b": "AA=="}}),
                json!({"data": {"b": "AAA="}}),
                json!({"type": "other"}),
            ],
        ),
        plain(
            "written-as-text",
            "v1",
            "Secret",
            &[
                json!({"stringData": {"a": "1", "b": "2"}}),
                json!({"stringData": {"a": "3"}}),
                json!({"stringData": {"a": "3", "c": "4"}}),
            ],
        ),
        plain(
            "labels",
            "v1",
            "ConfigMap",
            &[
                json!({"metadata": {"labels": {"x": "1", "y": "2"}, "annotations": {"x": "1", "y": "2"}}}),
                json!({"metadata": {"labels": {"y": "3"}, "annotations": {"y": "3"}}}),
                json!({"metadata": {}}),
            ],
        ),
        plain(
            "account",
            "v1",
            "ServiceAccount",
            &[
                json!({"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}),
                json!({"imagePullSecrets": [{"name": "b"}], "automountServiceAccountToken": false}),
                json!({}),
            ],
        ),
    ]
}

fn policies() -> Vec<Row> {
    vec![
        plain(
            "role",
            "rbac.authorization.k8s.io/v1",
            "Role",
            &[
                json!({"rules": [
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
                    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
                ]}),
                json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}),
                json!({"rules": []}),
            ],
        ),
        specs(
            "network-policy",
            "networking.k8s.io/v1",
            "NetworkPolicy",
            &[
                json!({"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}, {"from": [{"podSelector": {}}]}]}),
                json!({"podSelector": {}, "ingress": [{"ports": [{"port": 2, "protocol": "UDP"}]}]}),
                json!({"podSelector": {"matchLabels": {"a": "b"}}, "ingress": []}),
            ],
        ),
        // The API server fills in what a policy is about when it is made.
        specs(
            "policy-types",
            "networking.k8s.io/v1",
            "NetworkPolicy",
            &[
                json!({"podSelector": {}, "ingress": [{}]}),
                json!({"podSelector": {}, "ingress": [{}], "egress": [{}]}),
            ],
        ),
        specs(
            "disruptions",
            "policy/v1",
            "PodDisruptionBudget",
            &[
                json!({"selector": {"matchLabels": {"a": "b"}}, "minAvailable": 1}),
                json!({"selector": {"matchLabels": {"a": "c"}}, "maxUnavailable": 1}),
            ],
        ),
        specs(
            "ingress",
            "networking.k8s.io/v1",
            "Ingress",
            &[
                json!({"defaultBackend": {"service": {"name": "a", "port": {"number": 1}}},
                    "tls": [{"hosts": ["a"]}, {"hosts": ["b"]}]}),
                json!({"defaultBackend": {"service": {"name": "a", "port": {"name": "x"}}},
                    "tls": [{"hosts": ["b"]}]}),
            ],
        ),
    ]
}

fn custom() -> Vec<Row> {
    vec![
        lists(
            "keyed",
            &[
                json!({"keyed": [{"name": "a", "size": 1}, {"name": "b", "size": 2}]}),
                json!({"keyed": [{"name": "b"}, {"name": "c", "size": 3}]}),
                json!({"keyed": []}),
                json!({}),
            ],
        ),
        lists(
            "set",
            &[
                json!({"set": ["a", "b"]}),
                json!({"set": ["b", "c"]}),
                json!({"set": ["c"]}),
            ],
        ),
        lists(
            "atomic",
            &[
                json!({"atomic": ["a", "b"], "whole": {"a": "1", "b": "2"}}),
                json!({"atomic": ["b"], "whole": {"b": "2"}}),
                json!({"whole": {}}),
            ],
        ),
        lists(
            "map",
            &[
                json!({"map": {"a": "1", "b": "2"}, "defaulted": "y"}),
                json!({"map": {"b": "3"}}),
                json!({"defaulted": "z"}),
                json!({}),
            ],
        ),
    ]
}

fn by_hand() -> Vec<Row> {
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "edited"}, "data": data});
    let port = |port: u32| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "moved"},
            "spec": {"ports": [{"port": port}]}})
    };
    vec![
        Row {
            name: "edited",
            events: vec![
                Apply(map(json!({"a": "1", "b": "2"}))),
                ByHand(json!({"data": {"b": "theirs", "c": "theirs"}})),
                Apply(map(json!({"a": "1"}))),
                ByHand(json!({"data": {"a": "theirs", "d": "theirs"}})),
                Apply(map(json!({"a": "1", "d": "4"}))),
                Apply(map(json!({}))),
            ],
        },
        // What it was made from does not fit the object any more.
        Row {
            name: "moved",
            events: vec![
                Apply(port(8080)),
                ByHand(json!({"spec": {"ports": [{"port": 9090}]}})),
                Apply(port(9090)),
                Apply(port(9091)),
            ],
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_updated_as_kubectl_does() {
    Comparison::start("services").await.all(services()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_updated_as_kubectl_does() {
    Comparison::start("workloads")
        .await
        .all([containers(), workloads()].concat())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_is_updated_as_kubectl_does() {
    Comparison::start("configuration")
        .await
        .all([configuration(), policies()].concat())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_list_of_a_custom_resource_is_updated_as_kubectl_does() {
    let comparison = Comparison::start("custom").await;
    install(&comparison.client).await;
    comparison.all(custom()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_changed_is_updated_as_kubectl_does() {
    Comparison::start("by-hand").await.all(by_hand()).await;
}

/// Our objects in one namespace, kubectl's in another.
struct Comparison {
    client: Client,
    ours: String,
    theirs: String,
    kubectl: std::path::PathBuf,
    kubeconfig: std::path::PathBuf,
}

impl Comparison {
    async fn start(name: &str) -> Self {
        let (client, ours) = place(&format!("{name}-ours")).await;
        let (_, theirs) = place(&format!("{name}-theirs")).await;
        Self {
            client,
            ours,
            theirs,
            kubectl: binaries::provide(Binary::Kubectl).await.unwrap(),
            kubeconfig: control_plane().await.kubeconfig().to_owned(),
        }
    }

    async fn all(&self, rows: Vec<Row>) {
        for row in rows {
            self.row(&row).await;
        }
    }

    async fn row(&self, row: &Row) {
        let mut previous: Option<&Value> = None;
        let Some(Apply(first)) = row.events.first() else {
            panic!("{}: nothing makes it", row.name);
        };
        for (number, event) in row.events.iter().enumerate() {
            let at = format!("{}, event {number}", row.name);
            match event {
                ByHand(patch) => {
                    for namespace in [&self.ours, &self.theirs] {
                        let params = PatchParams {
                            field_manager: Some("somebody".to_owned()),
                            ..PatchParams::default()
                        };
                        let api = self.api(first, namespace).await;
                        let patch = Patch::Merge(patch);
                        api.patch(row.name, &params, &patch).await.unwrap();
                    }
                }
                Apply(manifest) => {
                    let ours = self.update(manifest, previous).await;
                    let theirs = self.kubectl(manifest).await;
                    assert_eq!(ours, theirs, "{at}");
                    if ours == Answer::Taken {
                        previous = Some(manifest);
                    }
                }
            }
            let ours = self.api(first, &self.ours).await.get(row.name).await;
            let theirs = self.api(first, &self.theirs).await.get(row.name).await;
            let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
            assert_eq!(content(&ours), content(&theirs), "{at}");
            // As created, fields are owned otherwise: until the first update.
            if number > 0 && matches!(event, Apply(_)) {
                let (ours, theirs) = (owned(&ours, "mongodb-osb"), owned(&theirs, "kubectl"));
                assert_eq!(ours, theirs, "{at}");
            }
        }
    }

    async fn api(&self, manifest: &Value, namespace: &str) -> Api<DynamicObject> {
        let kinds = Kinds::new(self.client.clone());
        let kind = kinds.get(&identity(manifest).unwrap().0).await.unwrap();
        kind.api(self.client.clone(), namespace)
    }

    /// As a worker does it that knows nothing yet. A controller that writes a status in between
    /// makes it begin anew.
    async fn update(&self, manifest: &Value, previous: Option<&Value>) -> Answer {
        loop {
            if let Some(answer) = self.try_update(manifest, previous).await {
                return answer;
            }
        }
    }

    /// Find, own, try, write; nothing if the object was changed meanwhile.
    async fn try_update(&self, manifest: &Value, previous: Option<&Value>) -> Option<Answer> {
        let mut objects = objects_of(&self.client, &self.ours, Place::Own, "record");
        objects
            .find(&[identity(manifest).unwrap().0])
            .await
            .unwrap();
        objects.own(manifest, previous, 0).await.unwrap();
        assert!(
            previous.is_none() || !objects.is_as_created(manifest),
            "turned before it is tried"
        );
        match objects.try_out(manifest, 0).await {
            Ok(()) => {}
            Err(Error::Invalid(_)) => return Some(Answer::Refused),
            Err(error) => panic!("{error}"),
        }
        match objects.write(manifest, 0).await.unwrap() {
            Outcome::Changed(_) => None,
            outcome => {
                applied(outcome);
                Some(Answer::Taken)
            }
        }
    }

    async fn kubectl(&self, manifest: &Value) -> Answer {
        let mut kubectl = Command::new(&self.kubectl)
            .args(["apply", "--server-side", "--force-conflicts", "-f", "-"])
            .args(["--namespace", &self.theirs, "--kubeconfig"])
            .arg::<&Path>(&self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = kubectl.stdin.take().unwrap();
        stdin
            .write_all(manifest.to_string().as_bytes())
            .await
            .unwrap();
        drop(stdin);
        let ended = tokio::time::timeout(PATIENCE, kubectl.wait_with_output());
        let ended = ended.await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        if ended.status.success() {
            return Answer::Taken;
        }
        assert!(
            said.contains("is invalid") || said.contains("Forbidden"),
            "{said}"
        );
        Answer::Refused
    }
}

/// What the manifests say of an object, and the API server's defaults.
fn content(object: &DynamicObject) -> Value {
    let mut content = serde_json::to_value(object).unwrap();
    content["status"].take();
    let allocated = ["clusterIP", "clusterIPs"];
    if content["kind"] == "Service" && content["spec"]["clusterIP"] != "None" {
        for field in allocated {
            content["spec"][field].take();
        }
    }
    // Ours alone.
    let ours = cluster::names::instance_labels("record", "one");
    for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
        strip(&mut content, labels, ours.keys());
    }
    for claim in content["spec"]["volumeClaimTemplates"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        strip(claim, "/metadata/labels", ours.keys());
    }
    strip(&mut content, "/metadata/annotations", [FILE, MANIFEST]);
    let metadata = content["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| ["name", "labels", "annotations"].contains(&&**key));
    content
}

fn strip(content: &mut Value, map: &str, keys: impl IntoIterator<Item = impl AsRef<str>>) {
    let Some(parent) = map.rsplit_once('/').map(|(parent, _)| parent) else {
        return;
    };
    let Some(entries) = content.pointer_mut(map).and_then(Value::as_object_mut) else {
        return;
    };
    for key in keys {
        entries.remove(key.as_ref());
    }
    if entries.is_empty() {
        let name = map
            .trim_start_matches(parent)
            .trim_start_matches('/')
            .to_owned();
        let parent = content.pointer_mut(parent).and_then(Value::as_object_mut);
        parent.unwrap().remove(&name);
    }
}

/// The fields that a manager owns by applying, without our labels and marks.
fn owned(object: &DynamicObject, manager: &str) -> Value {
    let entries = object.managed_fields();
    let ours = |entry: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(manager) && entry.subresource.is_none()
    };
    let entries: Vec<_> = entries.iter().filter(ours).collect();
    assert!(
        entries.len() <= 1
            && entries
                .iter()
                .all(|entry| entry.operation.as_deref() == Some("Apply")),
        "{manager}: {entries:?}"
    );
    let mut fields = entries.first().map_or_else(
        || json!({}),
        |entry| serde_json::to_value(&entry.fields_v1).unwrap(),
    );
    let labels: Vec<String> = cluster::names::instance_labels("record", "one")
        .into_keys()
        .map(|key| format!("f:{key}"))
        .collect();
    strip(
        &mut fields,
        "/f:spec/f:template/f:metadata/f:labels",
        &labels,
    );
    strip(&mut fields, "/f:metadata/f:labels", &labels);
    strip(
        &mut fields,
        "/f:metadata/f:annotations",
        [FILE, MANIFEST].map(|key| format!("f:{key}")),
    );
    strip(&mut fields, "/f:metadata", [""; 0]);
    fields
}

/// A kind with a list of every type.
async fn install(client: &Client) {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": text});
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "lists.test.example"},
        "spec": {
            "group": "test.example", "scope": "Namespaced",
            "names": {"kind": "Lists", "plural": "lists", "singular": "list", "listKind": "ListsList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "keyed": {
                            "type": "array",
                            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "required": ["name"], "properties": {
                                "name": text, "size": {"type": "integer"}
                            }}
                        },
                        "set": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
                        "atomic": {"type": "array", "items": text, "x-kubernetes-list-type": "atomic"},
                        "map": texts,
                        "whole": {
                            "type": "object", "additionalProperties": text,
                            "x-kubernetes-map-type": "atomic"
                        },
                        "defaulted": {"type": "string", "default": "x"}
                    }}
                }}}
            }]
        }
    }))
    .unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &crd).await.unwrap();
    let name = crd.name_any();
    let established = await_condition(api, &name, is_crd_established());
    tokio::time::timeout(PATIENCE, established)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_is_refused_leaves_the_object_as_it_was() {
    let (client, namespace) = place("refused").await;
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    let service = |fields: Value| {
        let mut manifest = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "s"}, "spec": {"ports": [{"port": 8080}]}});
        for (key, value) in fields.as_object().unwrap() {
            manifest["spec"][key] = value.clone();
        }
        manifest
    };
    let first = service(json!({}));
    let made = applied(objects.write(&first, 0).await.unwrap());
    let wrong = service(json!({"clusterIP": "None"}));
    objects.own(&wrong, Some(&first), 0).await.unwrap();
    assert!(matches!(
        objects.try_out(&wrong, 0).await,
        Err(Error::Invalid(_))
    ));
    // Whoever takes over here finds it owned, and all else as it was.
    let mut heir = objects_of(&client, &namespace, Place::Own, "record");
    heir.find(&[identity(&first).unwrap().0]).await.unwrap();
    assert!(!heir.is_as_created(&first));
    let live = heir
        .read(&identity(&first).unwrap().0, "s")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(content(&live), content(&made));
    assert_eq!(live.metadata.generation, made.metadata.generation);
    // With or without what it was made from, nothing is left to do.
    for previous in [Some(&first), None] {
        heir.own(&wrong, previous, 0).await.unwrap();
    }
    let again = heir.read(&identity(&first).unwrap().0, "s").await.unwrap();
    assert_eq!(again.unwrap().resource_version(), live.resource_version());
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_is_turned_only_on_the_object_that_was_seen() {
    let (client, namespace) = place("seen").await;
    let mut objects = objects_of(&client, &namespace, Place::Own, "record");
    let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a"}, "data": {"a": "1"}});
    applied(objects.write(&manifest, 0).await.unwrap());
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(client, &namespace);
    let patch = Patch::Merge(json!({"data": {"b": "2"}}));
    maps.patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert!(matches!(
        objects.own(&manifest, None, 0).await,
        Err(Error::Conflict)
    ));
    // It has been read again meanwhile.
    objects.own(&manifest, None, 0).await.unwrap();
    assert!(!objects.is_as_created(&manifest));
    maps.delete("a", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let mut late = objects_of(
        &maps.clone().into_client(),
        &namespace,
        Place::Own,
        "record",
    );
    late.own(&manifest, None, 0).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}
