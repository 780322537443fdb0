//! A broker that Tilt deployed, on a real API server with its controllers: what
//! `tilt down` leaves, what `make down` removes and says, and what it refuses.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{path::Path, time::Duration};

use cluster::names::State;
use demo::{
    deploy::NAMESPACE,
    kubectl::{Access, Kubectl},
    occupancy,
    removal::{self, Whose},
    transcript::Transcript,
};
use k8s_openapi::{
    api::{core::v1::Namespace, rbac::v1::ClusterRole},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{
        ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    },
};
use serde_json::{Value, json};
use testbed::{
    ControlPlane, Controllers,
    binaries::{self, Binary},
};

const LIMIT: Duration = Duration::from_secs(120);
/// The namespace of the instance that is alive.
const INSTANCE: &str = "mdb-alive-1";

struct World {
    control_plane: ControlPlane,
    kubectl: Kubectl,
}

impl World {
    async fn start() -> Self {
        let control_plane = ControlPlane::builder()
            .controllers(Controllers::Manager)
            .start()
            .await
            .unwrap();
        let kubectl = Kubectl {
            program: binaries::provide(Binary::Kubectl).await.unwrap(),
            cluster: Access::File(control_plane.kubeconfig().to_owned()),
        };
        Self {
            control_plane,
            kubectl,
        }
    }

    async fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl.output(args, LIMIT).await.unwrap()
    }

    /// As `tilt up` does.
    async fn tilt_up(&self) {
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/dev");
        let overlay = overlay.to_str().unwrap();
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-k", overlay])
            .await;
        let established = ["wait", "--for=condition=Established", "crd", "--all"];
        self.kubectl(&established).await;
    }

    /// As `tilt down` does: deletes what it applied, but neither namespaces nor
    /// what is marked to be kept.
    async fn tilt_down(&self) {
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/dev");
        let overlay = overlay.to_str().unwrap();
        let text = self.kubectl(&["kustomize", overlay]).await;
        let documents = text.split("\n---\n");
        let deleted: Vec<&str> = documents
            .filter(|text| !text.contains("tilt.dev/down-policy: keep"))
            .filter(|text| !text.contains("\nkind: Namespace\n"))
            .collect();
        let file = self.control_plane.folder().join("down.yaml");
        std::fs::write(&file, deleted.join("\n---\n")).unwrap();
        let file = file.to_str().unwrap();
        self.kubectl(&["delete", "--ignore-not-found", "--wait=false", "-f", file])
            .await;
    }

    async fn create<K>(&self, api: Api<K>, object: Value)
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
    {
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// An instance's record, which waits for its broker, in the namespace of a broker.
    async fn record(&self, broker: &str, name: &str) {
        let kind = GroupVersionKind::gvk(
            cluster::names::GROUP,
            cluster::names::VERSION,
            "ServiceInstance",
        );
        let records: Api<DynamicObject> = Api::namespaced_with(
            self.control_plane.client(),
            broker,
            &ApiResource::from_gvk(&kind),
        );
        let spec = sample(&self.definition("serviceinstances").await.unwrap());
        let record = json!({
            "apiVersion": "mongodb-osb.io/v1alpha1", "kind": "ServiceInstance",
            "metadata": {"name": name, "finalizers": ["mongodb-osb.io/instance"]},
            "spec": spec,
        });
        self.create(records, record).await;
    }

    /// Its namespace, with something inside.
    async fn instance_namespace(&self, broker: &str, name: &str) {
        let labels = json!({
            "app.kubernetes.io/managed-by": "mongodb-osb", "mongodb-osb.io/broker": broker,
        });
        self.create::<Namespace>(
            Api::all(self.control_plane.client()),
            json!({"metadata": {"name": name, "labels": labels}}),
        )
        .await;
    }

    async fn definition(&self, plural: &str) -> Option<CustomResourceDefinition> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.control_plane.client());
        let name = format!("{plural}.mongodb-osb.io");
        definitions.get_opt(&name).await.unwrap()
    }

    async fn has_namespace(&self, name: &str) -> bool {
        let namespaces: Api<Namespace> = Api::all(self.control_plane.client());
        namespaces.get_opt(name).await.unwrap().is_some()
    }

    async fn remove(&self, whose: Whose) -> anyhow::Result<String> {
        let transcript = Transcript::default();
        removal::remove(&self.control_plane.client(), "kind-dev", whose, &transcript).await?;
        Ok(transcript.text())
    }
}

/// Some value for each field that the definition of a kind requires in the spec.
fn sample(definition: &CustomResourceDefinition) -> Value {
    let schema = definition.spec.versions[0].schema.clone().unwrap();
    let schema = serde_json::to_value(schema.open_api_v3_schema.unwrap()).unwrap();
    value_of(&schema["properties"]["spec"])
}

fn value_of(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let fields = required.iter().map(|name| {
                let name = name.as_str().unwrap();
                (name.to_owned(), value_of(&schema["properties"][name]))
            });
            Value::Object(fields.collect())
        }
        Some("array") => json!([]),
        Some("integer" | "number") => json!(schema["minimum"].as_f64().unwrap_or(1.0)),
        Some("boolean") => json!(false),
        Some("string") if schema["format"] == "date-time" => json!("2026-01-01T00:00:00Z"),
        _ => json!("text"),
    }
}

#[tokio::test]
async fn tilt_down_and_up_leave_an_instance_alive_and_down_removes_all_of_it() {
    let world = World::start().await;
    world.tilt_up().await;
    world.instance_namespace(NAMESPACE, INSTANCE).await;
    world
        .record(&State::Instances.namespace(NAMESPACE), "alive")
        .await;

    world.tilt_down().await;
    for plural in ["serviceinstances", "servicebindings"] {
        let definition = world.definition(plural).await.unwrap();
        assert_eq!(definition.metadata.deletion_timestamp, None, "{plural}");
    }
    let records = occupancy::records(&world.control_plane.client(), "ServiceInstance")
        .await
        .unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].metadata.deletion_timestamp, None);
    assert!(world.has_namespace(INSTANCE).await);
    world.tilt_up().await;
    world.tilt_down().await;

    // The demo does not deploy over it, and says what helps.
    let found = occupancy::find(&world.control_plane.client())
        .await
        .unwrap();
    let refusal = found.refuse_deployment("kind-dev").unwrap_err().to_string();
    assert!(refusal.contains("came from tilt"), "{refusal}");
    assert!(refusal.contains("make down CONTEXT=kind-dev"), "{refusal}");

    let said = world.remove(Whose::Ours).await.unwrap();
    for text in [
        "deployed by tilt",
        "removing ServiceInstance alive",
        "removing Namespace mdb-alive-1",
        "removing Namespace mongodb-osb",
        "removing CustomResourceDefinition serviceinstances.mongodb-osb.io",
        "objects removed from kind-dev",
    ] {
        assert!(said.contains(text), "{text} is not in {said}");
    }
    for name in [NAMESPACE, INSTANCE] {
        assert!(!world.has_namespace(name).await, "{name}");
    }
    assert!(world.definition("serviceinstances").await.is_none());
    let roles: Api<ClusterRole> = Api::all(world.control_plane.client());
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=mongodb-osb");
    assert_eq!(roles.list(&ours).await.unwrap().items.len(), 0);

    // Again: there is nothing, and it says so.
    let said = world.remove(Whose::Ours).await.unwrap();
    assert_eq!(said, "there is nothing of the broker in kind-dev\n");
}

#[tokio::test]
async fn a_broker_that_somebody_else_deployed_goes_only_by_force_and_its_neighbour_stays() {
    let world = World::start().await;
    world.tilt_up().await;
    // As if it had been deployed by other means.
    let unlabel = json!({"metadata": {"labels": {"mongodb-osb.io/deployed-by": null}}});
    let namespaces: Api<Namespace> = Api::all(world.control_plane.client());
    namespaces
        .patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(&unlabel))
        .await
        .unwrap();
    world.instance_namespace(NAMESPACE, INSTANCE).await;
    // Another broker has its records and instances in the same cluster.
    world
        .create::<Namespace>(
            Api::all(world.control_plane.client()),
            json!({"metadata": {"name": "neighbour"}}),
        )
        .await;
    world.record("neighbour", "theirs").await;
    world.instance_namespace("neighbour", "mdb-theirs-1").await;

    let refusal = world.remove(Whose::Ours).await.unwrap_err().to_string();
    assert!(refusal.contains("nothing was removed"), "{refusal}");
    assert!(refusal.contains("FORCE=1"), "{refusal}");
    assert!(world.has_namespace(INSTANCE).await);

    let said = world.remove(Whose::Anybodys).await.unwrap();
    assert!(said.contains("records of another broker"), "{said}");
    for name in [NAMESPACE, INSTANCE] {
        assert!(!world.has_namespace(name).await, "{name}");
    }
    for name in ["neighbour", "mdb-theirs-1"] {
        assert!(world.has_namespace(name).await, "{name}");
    }
    assert!(world.definition("serviceinstances").await.is_some());
}
