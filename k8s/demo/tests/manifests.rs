//! The manifests on a real API server: it accepts all of them, and the rights
//! that they give end where they should.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{path::Path, time::Duration};

use clap::{CommandFactory as _, Parser};
use demo::{
    deploy::NAMESPACE,
    kubectl::{Access, Kubectl},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Secret, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding},
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
    let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/dev");
    deployed_from(&overlay).await
}

async fn deployed_from(overlay: &Path) -> ControlPlane {
    let control_plane = ControlPlane::start().await.unwrap();
    let kubectl = Kubectl {
        program: binaries::provide(Binary::Kubectl).await.unwrap(),
        cluster: Access::File(control_plane.kubeconfig().to_owned()),
    };
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

/// In the message of what a policy refuses.
const POLICY: &str = "ValidatingAdmissionPolicy";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const BROKER: &str = "mongodb-osb.io/broker";
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";

fn namespace(name: &str, labels: &Value) -> Namespace {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

/// The labels with which a broker in `broker` makes an instance's namespace, with one changed,
/// or without it.
fn labels(broker: &str, (key, value): (&str, Value)) -> Value {
    let mut labels = json!({
        MANAGED_BY: "mongodb-osb", BROKER: broker,
        ENFORCE: "restricted", ENFORCE_VERSION: "latest",
    });
    labels[key] = value;
    labels
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    labels
}

/// The same, unchanged.
fn right_labels(broker: &str) -> Value {
    labels(broker, (MANAGED_BY, json!("mongodb-osb")))
}

/// A merge patch of one label.
fn relabel(key: &str, value: Value) -> Patch<Value> {
    let mut labels = json!({});
    labels[key] = value;
    Patch::Merge(json!({"metadata": {"labels": labels}}))
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

/// New rights and a new policy take a moment to be enforced.
async fn wait_for_the_policy(namespaces: &Api<Namespace>) {
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let probe = namespace("probe", &json!({}));
    for _ in 0..60 {
        match namespaces.create(&parameters, &probe).await {
            Err(kube::Error::Api(status)) if status.message.contains(POLICY) => return,
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    panic!("the policy is not enforced after 30 s");
}

#[tokio::test]
async fn the_provisioner_makes_only_namespaces_of_its_own_that_are_restricted() {
    let control_plane = deployed().await;
    let admin: Api<Namespace> = Api::all(control_plane.client());
    let namespaces: Api<Namespace> = Api::all(account(&control_plane, "provisioner-svc").await);
    let create = PostParams::default();
    wait_for_the_policy(&namespaces).await;

    for (name, labels, reason) in [
        ("ours", right_labels(NAMESPACE), "begins with mdb-"),
        (
            "mdb-one",
            labels(NAMESPACE, (MANAGED_BY, json!("somebody"))),
            "app.kubernetes.io/managed-by=mongodb-osb",
        ),
        (
            "mdb-one",
            right_labels("another-broker"),
            "mongodb-osb.io/broker=mongodb-osb",
        ),
        (
            "mdb-one",
            labels(NAMESPACE, (ENFORCE, Value::Null)),
            "pod-security.kubernetes.io/enforce=restricted",
        ),
        (
            "mdb-one",
            labels(NAMESPACE, (ENFORCE, json!("privileged"))),
            "pod-security.kubernetes.io/enforce=restricted",
        ),
        // An old version has few rules.
        (
            "mdb-one",
            labels(NAMESPACE, (ENFORCE_VERSION, json!("v1.10"))),
            "pod-security.kubernetes.io/enforce-version=latest",
        ),
    ] {
        let message = forbidden(namespaces.create(&create, &namespace(name, &labels)).await);
        assert!(message.contains(reason), "{labels}: {message}");
    }
    let ours = namespace("mdb-one", &right_labels(NAMESPACE));
    namespaces.create(&create, &ours).await.unwrap();

    let params = PatchParams::default();
    for (key, value) in [
        (MANAGED_BY, Value::Null),
        (BROKER, json!("another-broker")),
        (ENFORCE, Value::Null),
        (ENFORCE, json!("baseline")),
        (ENFORCE_VERSION, json!("v1.10")),
        (ENFORCE_VERSION, Value::Null),
    ] {
        forbidden(
            namespaces
                .patch("mdb-one", &params, &relabel(key, value))
                .await,
        );
    }
    let note = Patch::Merge(json!({"metadata": {"annotations": {"note": "fine"}}}));
    namespaces.patch("mdb-one", &params, &note).await.unwrap();

    // What an administrator relaxed stays so, and goes no further.
    let relax = relabel(ENFORCE, json!("baseline"));
    admin.patch("mdb-one", &params, &relax).await.unwrap();
    let again = Patch::Merge(json!({"metadata": {"annotations": {"note": "again"}}}));
    namespaces.patch("mdb-one", &params, &again).await.unwrap();
    let further = relabel(ENFORCE, json!("privileged"));
    forbidden(namespaces.patch("mdb-one", &params, &further).await);
    let delete = DeleteParams::default();
    namespaces.delete("mdb-one", &delete).await.unwrap();
}

#[tokio::test]
async fn the_provisioner_leaves_namespaces_of_others_alone() {
    let control_plane = deployed().await;
    let admin: Api<Namespace> = Api::all(control_plane.client());
    let provisioner = account(&control_plane, "provisioner-svc").await;
    let namespaces: Api<Namespace> = Api::all(provisioner.clone());
    let (create, delete) = (PostParams::default(), DeleteParams::default());
    let params = PatchParams::default();
    wait_for_the_policy(&namespaces).await;

    for (name, labels) in [
        ("theirs", json!({})),
        // Our labels do not make a namespace ours that has not our kind of name.
        ("labelled", right_labels(NAMESPACE)),
        ("mdb-of-another", right_labels("another-broker")),
    ] {
        admin
            .create(&create, &namespace(name, &labels))
            .await
            .unwrap();
        forbidden(namespaces.delete(name, &delete).await);
        for (key, value) in [(MANAGED_BY, "mongodb-osb"), (BROKER, NAMESPACE)] {
            // One of them is there already in each of these namespaces, or both.
            forbidden(
                namespaces
                    .patch(name, &params, &relabel(key, json!(value)))
                    .await,
            );
        }
        let granted = role_binding(
            "granted",
            THREE[0],
            &service_account(NAMESPACE, "provisioner-svc"),
        );
        let bindings: Api<RoleBinding> = Api::namespaced(provisioner.clone(), name);
        forbidden(bindings.create(&create, &granted).await);
    }
}

#[tokio::test]
async fn the_provisioner_binds_three_roles_to_whom_they_are_for() {
    let control_plane = deployed().await;
    let provisioner = account(&control_plane, "provisioner-svc").await;
    let namespaces: Api<Namespace> = Api::all(provisioner.clone());
    let create = PostParams::default();
    wait_for_the_policy(&namespaces).await;
    let ours = namespace("mdb-one", &right_labels(NAMESPACE));
    namespaces.create(&create, &ours).await.unwrap();

    let bindings: Api<RoleBinding> = Api::namespaced(provisioner, "mdb-one");
    for (role, namespace, name) in [
        (THREE[0], NAMESPACE, "provisioner-svc"),
        (THREE[1], NAMESPACE, "binder-svc"),
        (THREE[2], "mdb-one", "mdb"),
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
        (THREE[0], service_account("mdb-one", "mdb")),
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
}

/// kustomize renames accounts; the policies follow, and apply to nobody else.
#[tokio::test]
async fn the_policies_apply_to_renamed_accounts_and_to_no_others_of_that_name() {
    // Beside the others: kustomize takes no absolute paths.
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    let folder = tempfile::Builder::new()
        .prefix(".renamed-")
        .tempdir_in(overlays)
        .unwrap();
    let text = "namePrefix: acme-\nnamespace: acme\nresources: [../dev]\n";
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    let control_plane = deployed_from(folder.path()).await;
    let admin = control_plane.client();
    let create = PostParams::default();

    let renamed = control_plane
        .service_account("acme", "acme-provisioner-svc")
        .await
        .unwrap()
        .client();
    let namespaces: Api<Namespace> = Api::all(renamed.clone());
    wait_for_the_policy(&namespaces).await;
    let ours = namespace("mdb-one", &right_labels("acme"));
    namespaces.create(&create, &ours).await.unwrap();
    let before = namespace("mdb-two", &right_labels(NAMESPACE));
    forbidden(namespaces.create(&create, &before).await);
    wait_for_token_refusal(&Api::namespaced(renamed, "acme"), "acme-provisioner-svc").await;

    // An account of the old name, elsewhere, with all rights.
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
    let unrelated = serde_json::from_value(json!({"metadata": {"name": "provisioner-svc"}}));
    accounts.create(&create, &unrelated.unwrap()).await.unwrap();
    let all: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "unrelated"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin",
        },
        "subjects": [service_account("default", "provisioner-svc")],
    }))
    .unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(admin);
    bindings.create(&create, &all).await.unwrap();
    let unrelated = control_plane
        .service_account("default", "provisioner-svc")
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(unrelated.client());
    let anything = namespace("anything", &json!({}));
    let mut made = namespaces.create(&create, &anything).await;
    // RBAC takes a moment to learn of the role; only the policy's refusal would be the fault.
    while let Err(kube::Error::Api(status)) = &made {
        assert!(
            status.code == 403 && !status.message.contains(POLICY),
            "{status:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        made = namespaces.create(&create, &anything).await;
    }
    made.unwrap();
}

/// Waits until a Secret that asks for a token of `of` is refused by the policy.
async fn wait_for_token_refusal(secrets: &Api<Secret>, of: &str) {
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let token: Secret = serde_json::from_value(json!({
        "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": of}},
        "type": "kubernetes.io/service-account-token",
    }))
    .unwrap();
    for _ in 0..60 {
        match secrets.create(&parameters, &token).await {
            Err(kube::Error::Api(status)) if status.message.contains("make no tokens") => return,
            _ => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
    panic!("the policy is not enforced after 30 s");
}

#[tokio::test]
async fn no_service_gets_the_token_of_another_through_a_secret() {
    let control_plane = deployed().await;
    for name in ["provisioner-svc", "binder-svc"] {
        let secrets: Api<Secret> = Api::namespaced(account(&control_plane, name).await, NAMESPACE);
        wait_for_token_refusal(&secrets, "catalog-svc").await;
        let other: Secret = serde_json::from_value(json!({
            "metadata": {"name": format!("of-{name}")}, "stringData": {"a": "b"},
        }))
        .unwrap();
        secrets
            .create(&PostParams::default(), &other)
            .await
            .unwrap();
    }
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

/// The arguments of the program in a container of that name.
fn program(container: &str) -> Option<clap::Command> {
    match container {
        "gateway" => Some(gateway::Args::command()),
        "catalog-svc" => Some(catalog_svc::Cli::command()),
        "provisioner-svc" => Some(provisioner_svc::Args::command()),
        "binder-svc" => Some(binder_svc::Args::command()),
        _ => None,
    }
}

/// An environment variable that no program reads would change nothing, and
/// say nothing.
#[tokio::test]
async fn every_setting_of_the_manifests_exists_and_pods_have_time_to_shut_down() {
    let control_plane = deployed().await;
    let deployments = Api::<Deployment>::namespaced(control_plane.client(), NAMESPACE)
        .list(&ListParams::default())
        .await
        .unwrap();
    let mut seen = 0;
    for deployment in deployments {
        let pod = deployment.spec.unwrap().template.spec.unwrap();
        for container in pod.containers {
            let Some(program) = program(&container.name) else {
                continue;
            };
            seen += 1;
            let known = |name: &str| {
                program
                    .get_arguments()
                    .any(|argument| argument.get_env().is_some_and(|env| env == name))
            };
            for variable in container.env.unwrap_or_default() {
                assert!(
                    known(&variable.name),
                    "{} does not read {}",
                    container.name,
                    variable.name
                );
            }
            let deadline = ServiceDefaults::parse_from(["defaults"])
                .service
                .shutdown_deadline;
            let grace = pod.termination_grace_period_seconds.unwrap_or_default();
            assert!(
                grace.unsigned_abs() > deadline.as_secs(),
                "{}",
                container.name
            );
        }
    }
    assert_eq!(seen, 4, "a service was not looked at");
}

#[derive(Debug, Parser)]
struct ServiceDefaults {
    #[command(flatten)]
    service: service::ServiceArgs,
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
