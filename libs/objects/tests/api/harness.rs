//! One API server, and a namespace for each test.

use std::{sync::Arc, time::Duration};

use cluster::names;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams, core::DynamicObject};
use objects::{
    Objects, Scope,
    kinds::Kinds,
    write::{Outcome, Place},
};
use serde_json::{Value, json};
use testbed::{ControlPlane, Controllers};

/// Longest time that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static SHARED: tokio::sync::OnceCell<Arc<ControlPlane>> = tokio::sync::OnceCell::const_new();

pub(crate) async fn control_plane() -> Arc<ControlPlane> {
    let start = async || {
        let built = ControlPlane::builder()
            .controllers(Controllers::Manager)
            .start()
            .await;
        Arc::new(built.unwrap())
    };
    Arc::clone(SHARED.get_or_init(start).await)
}

/// A client, and a namespace of the test's own.
pub(crate) async fn place(name: &str) -> (Client, String) {
    // A client of its own: connections belong to the test's runtime.
    let client = Client::try_from(control_plane().await.config()).unwrap();
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let api: Api<Namespace> = Api::all(client.clone());
    api.create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    (client, name.to_owned())
}

/// Nothing known yet of the objects of an owner.
pub(crate) fn objects_of(client: &Client, namespace: &str, place: Place, record: &str) -> Objects {
    let scope = Scope {
        namespace: namespace.to_owned(),
        place,
        labels: names::instance_labels(record, "one"),
        selector: names::instance_selector(record, "one"),
    };
    Objects::new(Kinds::new(client.clone()), scope, Vec::new())
}

pub(crate) fn config_map(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

pub(crate) fn applied(outcome: Outcome) -> DynamicObject {
    match outcome {
        Outcome::Applied(object) => *object,
        other => panic!("{other:?}"),
    }
}

/// Asks again and again until it is so.
pub(crate) async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !ask().await {
        assert!(
            tokio::time::Instant::now() < until,
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
