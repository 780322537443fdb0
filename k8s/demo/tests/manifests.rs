//! The manifests on a real API server: it accepts all of them, and the rights
//! that they give end where they should.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{path::Path, time::Duration};

use demo::{
    deploy::NAMESPACE,
    kubectl::{Access, Kubectl},
};
use k8s_openapi::api::{
    core::v1::{Namespace, Secret},
    rbac::v1::{ClusterRole, PolicyRule, Role, RoleBinding},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::{
    ControlPlane,
    binaries::{self, Binary},
};

const LIMIT: Duration = Duration::from_secs(60);
const THREE: [&str; 3] = [
    "mongodb-osb-plans",
    "mongodb-osb-binder",
    "mongodb-osb-mongo-bootstrap",
];

/// A control plane with the broker's manifests.
async fn deployed() -> ControlPlane {
    let control_plane = ControlPlane::start().await.unwrap();
    let kubectl = Kubectl {
        program: binaries::provide(Binary::Kubectl).await.unwrap(),
        cluster: Access::File(control_plane.kubeconfig().to_owned()),
    };
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/dev");
    let overlay = overlay.to_str().unwrap();
    kubectl
        .output(&["apply", "--server-side", "-k", overlay], LIMIT)
        .await
        .unwrap();
    control_plane
}

async fn account(control_plane: &ControlPlane, name: &str) -> Client {
    control_plane
        .service_account(NAMESPACE, name)
        .await
        .unwrap()
        .client()
}

#[track_caller]
fn forbidden<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> String {
    match result {
        Err(kube::Error::Api(status)) if status.code == 403 => status.message.clone(),
        other => panic!("expected 403, got {other:?}"),
    }
}

fn namespace(name: &str, managed_by: Option<&str>) -> Namespace {
    let labels = managed_by.map_or_else(
        || json!({}),
        |by| json!({"app.kubernetes.io/managed-by": by}),
    );
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

fn role_binding(name: &str, role: &str, subject: &Value) -> RoleBinding {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }))
    .unwrap()
}

fn service_account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

/// A new policy takes a moment to be enforced.
async fn wait_for_the_policy(namespaces: &Api<Namespace>) {
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    for _ in 0..60 {
        if namespaces
            .create(&parameters, &namespace("probe", None))
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("the policy is not enforced after 30 s");
}

#[tokio::test]
async fn the_provisioner_is_kept_to_namespaces_of_ours_and_to_three_roles() {
    let control_plane = deployed().await;
    let admin = control_plane.client();
    let provisioner = account(&control_plane, "provisioner-svc").await;
    let namespaces: Api<Namespace> = Api::all(provisioner.clone());
    let create = PostParams::default();
    wait_for_the_policy(&namespaces).await;

    // Namespaces: ours can be made and deleted, others not; the label stays.
    let ours = namespaces
        .create(&create, &namespace("ours", Some("mongodb-osb")))
        .await
        .unwrap();
    assert_eq!(ours.name_any(), "ours");
    let message = forbidden(
        namespaces
            .create(&create, &namespace("other", Some("somebody")))
            .await,
    );
    assert!(
        message.contains("app.kubernetes.io/managed-by=mongodb-osb"),
        "{message}"
    );
    Api::<Namespace>::all(admin.clone())
        .create(&create, &namespace("theirs", None))
        .await
        .unwrap();
    forbidden(namespaces.delete("theirs", &DeleteParams::default()).await);
    let adopt = Patch::Merge(
        json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "mongodb-osb"}}}),
    );
    forbidden(
        namespaces
            .patch("theirs", &PatchParams::default(), &adopt)
            .await,
    );
    let disown =
        Patch::Merge(json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}));
    forbidden(
        namespaces
            .patch("ours", &PatchParams::default(), &disown)
            .await,
    );
    let mark = Patch::Merge(json!({"metadata": {"annotations": {"note": "fine"}}}));
    namespaces
        .patch("ours", &PatchParams::default(), &mark)
        .await
        .unwrap();

    // Role bindings: the three roles, to whom they are for, in a namespace of ours.
    let bindings: Api<RoleBinding> = Api::namespaced(provisioner.clone(), "ours");
    for (role, namespace, name) in [
        (THREE[0], NAMESPACE, "provisioner-svc"),
        (THREE[1], NAMESPACE, "binder-svc"),
        (THREE[2], "ours", "mdb"),
    ] {
        let good = role_binding(role, role, &service_account(namespace, name));
        bindings.create(&create, &good).await.unwrap();
    }
    for (role, subject) in [
        ("view", service_account(NAMESPACE, "provisioner-svc")),
        (
            "cluster-admin",
            service_account(NAMESPACE, "provisioner-svc"),
        ),
        (THREE[0], service_account("theirs", "default")),
        (THREE[0], service_account("ours", "mdb")),
        (
            THREE[1],
            json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}),
        ),
        (THREE[2], service_account("theirs", "mdb")),
    ] {
        forbidden(
            bindings
                .create(&create, &role_binding("bad", role, &subject))
                .await,
        );
    }
    let elsewhere: Api<RoleBinding> = Api::namespaced(provisioner.clone(), "theirs");
    let good = role_binding(
        "good",
        THREE[0],
        &service_account(NAMESPACE, "provisioner-svc"),
    );
    forbidden(elsewhere.create(&create, &good).await);
    Api::<RoleBinding>::namespaced(admin, "theirs")
        .create(&create, &good)
        .await
        .unwrap();
    forbidden(elsewhere.delete("good", &DeleteParams::default()).await);
    bindings
        .delete(THREE[0], &DeleteParams::default())
        .await
        .unwrap();
    namespaces
        .delete("ours", &DeleteParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn no_service_reads_secrets_beyond_the_brokers_namespace() {
    let control_plane = deployed().await;
    let list = ListParams::default();
    for (name, own) in [
        ("catalog-svc", false),
        ("provisioner-svc", true),
        ("binder-svc", true),
        ("gateway", false),
    ] {
        let client = account(&control_plane, name).await;
        forbidden(Api::<Secret>::all(client.clone()).list(&list).await);
        forbidden(
            Api::<Secret>::namespaced(client.clone(), "kube-system")
                .list(&list)
                .await,
        );
        let here = Api::<Secret>::namespaced(client, NAMESPACE)
            .list(&list)
            .await;
        assert_eq!(here.is_ok(), own, "{name}");
    }
}

#[tokio::test]
async fn no_role_of_ours_holds_a_wildcard_or_the_right_to_widen_itself() {
    let control_plane = deployed().await;
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=mongodb-osb");
    let client = control_plane.client();
    let cluster_roles = Api::<ClusterRole>::all(client.clone())
        .list(&ours)
        .await
        .unwrap();
    let roles = Api::<Role>::namespaced(client, NAMESPACE)
        .list(&ours)
        .await
        .unwrap();
    assert!(cluster_roles.items.len() >= 5 && roles.items.len() == 3);
    let rules = cluster_roles
        .iter()
        .map(|role| (role.name_any(), role.rules.clone()))
        .chain(
            roles
                .iter()
                .map(|role| (role.name_any(), role.rules.clone())),
        );
    for (name, rules) in rules {
        for rule in rules.unwrap_or_default() {
            assert_narrow(&name, &rule);
        }
    }
}

#[track_caller]
fn assert_narrow(name: &str, rule: &PolicyRule) {
    let all = [
        rule.verbs.clone(),
        rule.api_groups.clone().unwrap_or_default(),
        rule.resources.clone().unwrap_or_default(),
    ]
    .concat();
    assert!(
        !all.iter().any(|word| word.contains('*')),
        "{name} holds a wildcard: {rule:?}"
    );
    assert!(
        !all.iter()
            .any(|word| word == "escalate" || word == "impersonate"),
        "{name}: {rule:?}"
    );
    if rule.verbs.iter().any(|verb| verb == "bind") {
        assert_eq!(
            rule.resource_names.as_deref().unwrap_or_default(),
            THREE,
            "{name}"
        );
    }
}
