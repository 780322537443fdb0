//! The service with no more rights than its manifests give it.

use std::{fs, path::Path};

use catalog_svc::Args;
use cluster::names::State;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{ConfigMap, Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
};
use kube::{Api, Client, Resource, api::PostParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testbed::ControlPlane;

use crate::fixture::{Templates, TestApp, stored};

const NAMESPACE: &str = "mongodb-osb";
const ACCOUNT: &str = "catalog-svc";

/// The objects of a file in k8s/base.
fn manifests(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../k8s/base")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

async fn create<K>(api: Api<K>, object: Value)
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn create_in<K>(client: &Client, namespace: &str, object: Value)
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    create::<K>(Api::namespaced(client.clone(), namespace), object).await;
}

/// A control plane of its own: the manifests name the namespace.
#[tokio::test]
async fn the_rights_in_the_manifests_suffice() {
    let control_plane = ControlPlane::start().await.unwrap();
    let admin = control_plane.client();
    let named = |name: &str| json!({"metadata": {"name": name}});
    let (bundles, plans) = (
        State::Bundles.namespace(NAMESPACE),
        State::Plans.namespace(NAMESPACE),
    );
    for name in [NAMESPACE, &bundles, &plans] {
        create::<Namespace>(Api::all(admin.clone()), named(name)).await;
    }
    create_in::<ServiceAccount>(&admin, NAMESPACE, named(ACCOUNT)).await;
    for (file, namespace) in [
        ("broker/catalog-svc/role.yaml", NAMESPACE),
        ("state/bundles/catalog-svc.yaml", &bundles),
        ("state/plans/catalog-svc.yaml", &plans),
        ("access/role-plans.yaml", NAMESPACE),
    ] {
        for mut object in manifests(file) {
            // What kustomize does for all of them.
            for subject in object["subjects"].as_array_mut().into_iter().flatten() {
                subject["namespace"] = json!(NAMESPACE);
            }
            match object["kind"].as_str().unwrap() {
                "Role" => create_in::<Role>(&admin, namespace, object).await,
                "RoleBinding" => create_in::<RoleBinding>(&admin, namespace, object).await,
                "ClusterRole" => create::<ClusterRole>(Api::all(admin.clone()), object).await,
                "ClusterRoleBinding" => {
                    create::<ClusterRoleBinding>(Api::all(admin.clone()), object).await;
                }
                kind => panic!("{kind} is no right"),
            }
        }
    }
    let account = control_plane
        .service_account(NAMESPACE, ACCOUNT)
        .await
        .unwrap();

    let templates = Templates::with_plan();
    let mut args = Args::for_tests(vec![templates.path()], NAMESPACE);
    args.check_rights = true;
    (args.bundles_namespace, args.plans_namespace) = (None, None);
    let app = TestApp::start_with(&account.client(), args).await;
    let first = app.plan("map", "the plan", |_| true).await;
    assert_eq!(first.not_orderable_reason, "");
    assert_eq!(
        stored(&admin, &bundles, &first.bundle_digest).await.len(),
        1
    );
    templates.plan("map", "description: Another.\n");
    app.plan("map", "the edit", |plan| {
        plan.bundle_digest != first.bundle_digest
    })
    .await;
    assert!(app.bundle(&first.bundle_digest).await.is_ok());

    let site = json!({
        "metadata": {"name": "site", "labels": {"mongodb-osb.io/plan": "test.site"}},
        "data": {"map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: site}\n"},
    });
    create_in::<ConfigMap>(&admin, &plans, site).await;
    app.plan("site", "the plan in a ConfigMap", |_| true).await;

    // Asking what the cluster serves needs no right of its own.
    templates.plan("map", "requires: [v1/ConfigMap]\n");
    let plan = app
        .plan("map", "the requirement", |plan| {
            plan.description != "Another."
        })
        .await;
    assert_eq!(plan.not_orderable_reason, "");
    app.stop().await;
}
