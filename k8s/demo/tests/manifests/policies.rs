//! What the admission policies refuse to the services' accounts, and what they let pass.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use cluster::names::State;
use demo::deploy::NAMESPACE;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount},
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    THREE, account, deployed, deployed_as, deployed_from, forbidden, role_binding, service_account,
};

/// In the message of what a policy refuses.
const POLICY: &str = "ValidatingAdmissionPolicy";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const BROKER: &str = "mongodb-osb.io/broker";
const EXCEPTIONS: &str = "pod-security-exceptions";
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const ENFORCE_VERSION: &str = "pod-security.kubernetes.io/enforce-version";

fn overlays() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays")
}

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
        (THREE[0], service_account(NAMESPACE, "binder-svc")),
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
    let control_plane = deployed_as("namePrefix: acme-\nresources: [../dev]\n").await;
    let admin = control_plane.client();
    let create = PostParams::default();

    let renamed = account(&control_plane, "acme-provisioner-svc").await;
    let namespaces: Api<Namespace> = Api::all(renamed.clone());
    wait_for_the_policy(&namespaces).await;
    let ours = namespace("mdb-one", &right_labels(NAMESPACE));
    namespaces.create(&create, &ours).await.unwrap();
    let privileged = labels(NAMESPACE, (ENFORCE, json!("privileged")));
    forbidden(
        namespaces
            .create(&create, &namespace("mdb-two", &privileged))
            .await,
    );
    let instances = State::Instances.namespace(NAMESPACE);
    wait_for_token_refusal(
        &Api::namespaced(renamed, &instances),
        "acme-provisioner-svc",
    )
    .await;

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

/// The broker in namespaces of other names, as ../overlays/renamed shows.
#[tokio::test]
async fn the_policies_hold_in_namespaces_of_other_names() {
    const BROKER: &str = "databases";
    let control_plane = deployed_from(&overlays().join("renamed")).await;
    let accounts = async |name: &str| {
        let account = control_plane.service_account(BROKER, name).await;
        account.unwrap().client()
    };
    let provisioner = accounts("provisioner-svc").await;
    let namespaces: Api<Namespace> = Api::all(provisioner.clone());
    wait_for_the_policy(&namespaces).await;
    let create = PostParams::default();
    let ours = namespace("mdb-one", &right_labels(BROKER));
    namespaces.create(&create, &ours).await.unwrap();
    let foreign = namespace("mdb-two", &right_labels(NAMESPACE));
    forbidden(namespaces.create(&create, &foreign).await);
    let privileged = labels(BROKER, (ENFORCE, json!("privileged")));
    forbidden(
        namespaces
            .create(&create, &namespace("mdb-two", &privileged))
            .await,
    );
    for (client, state, name) in [
        (provisioner, State::Instances, "provisioner-svc"),
        (accounts("binder-svc").await, State::Bindings, "binder-svc"),
    ] {
        let secrets = Api::namespaced(client, &state.namespace(BROKER));
        wait_for_token_refusal(&secrets, name).await;
    }
}

/// An exception holds for its plan and its level, and only people write one.
#[tokio::test]
async fn a_plan_with_an_exception_gets_its_level_of_pod_security_and_no_other() {
    let control_plane = deployed().await;
    let provisioner = account(&control_plane, "provisioner-svc").await;
    let namespaces: Api<Namespace> = Api::all(provisioner.clone());
    wait_for_the_policy(&namespaces).await;
    let of = |provider: &str, plan: &str, level: &str| {
        let mut labels = labels(NAMESPACE, (ENFORCE, json!(level)));
        labels["mongodb-osb.io/provider"] = json!(provider);
        labels["mongodb-osb.io/plan-name"] = json!(plan);
        namespace("mdb-one", &labels)
    };
    let trial = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    // The API server learns of policies and their parameters by a watch.
    let tried = async |is_so: fn(&kube::Result<Namespace>) -> bool| {
        let wanted = of("acme", "agent", "baseline");
        let mut answer = namespaces.create(&trial, &wanted).await;
        for _ in 0..60 {
            if is_so(&answer) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            answer = namespaces.create(&trial, &wanted).await;
        }
        answer
    };
    let refused = tried(kube::Result::is_err).await;
    let refusal = forbidden(refused);
    for part in ["acme.agent", "pod-security-exceptions", NAMESPACE] {
        assert!(refusal.contains(part), "{refusal}");
    }

    let allow = Patch::Merge(json!({"data": {"acme.agent": "baseline"}}));
    let params = PatchParams::default();
    for name in ["gateway", "catalog-svc", "provisioner-svc", "binder-svc"] {
        let client = account(&control_plane, name).await;
        let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        forbidden(maps.patch(EXCEPTIONS, &params, &allow).await);
    }
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), NAMESPACE);
    maps.patch(EXCEPTIONS, &params, &allow).await.unwrap();
    let allowed = tried(kube::Result::is_ok).await;
    allowed.unwrap();
    for (provider, plan, level) in [
        ("acme", "agent", "privileged"),
        ("acme", "other", "baseline"),
        ("acm", "e.agent", "baseline"),
        ("", "acme.agent", "baseline"),
    ] {
        let other = of(provider, plan, level);
        forbidden(namespaces.create(&trial, &other).await);
    }

    // Without any exceptions, none counts; what is restricted goes on.
    maps.delete(EXCEPTIONS, &DeleteParams::default())
        .await
        .unwrap();
    let again = tried(kube::Result::is_err).await;
    again.unwrap_err();
    let restricted = of("acme", "agent", "restricted");
    namespaces.create(&trial, &restricted).await.unwrap();
}

#[tokio::test]
async fn no_service_gets_the_token_of_another_through_a_secret() {
    let control_plane = deployed().await;
    let (instances, bindings) = (
        State::Instances.namespace(NAMESPACE),
        State::Bindings.namespace(NAMESPACE),
    );
    let provisioner = account(&control_plane, "provisioner-svc").await;
    let namespaces: Api<Namespace> = Api::all(provisioner.clone());
    wait_for_the_policy(&namespaces).await;
    let create = PostParams::default();
    let ours = namespace("mdb-one", &right_labels(NAMESPACE));
    namespaces.create(&create, &ours).await.unwrap();
    let plans = role_binding(
        THREE[0],
        THREE[0],
        &service_account(NAMESPACE, "provisioner-svc"),
    );
    let roles: Api<RoleBinding> = Api::namespaced(provisioner, "mdb-one");
    roles.create(&create, &plans).await.unwrap();
    for (name, namespace) in [
        ("provisioner-svc", instances.as_str()),
        ("provisioner-svc", "mdb-one"),
        ("binder-svc", &bindings),
    ] {
        let secrets: Api<Secret> = Api::namespaced(account(&control_plane, name).await, namespace);
        wait_for_token_refusal(&secrets, "catalog-svc").await;
        let other: Secret = serde_json::from_value(json!({
            "metadata": {"name": format!("of-{name}")}, "stringData": {"a": "b"},
        }))
        .unwrap();
        secrets.create(&create, &other).await.unwrap();
    }
}

/// Whoever makes them, since the pods of a plan are made by controllers.
#[tokio::test]
async fn nothing_in_an_instances_namespace_takes_a_node_or_an_address_of_others() {
    let control_plane = deployed().await;
    let admin = control_plane.client();
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let create = PostParams::default();
    let ours = namespace("mdb-one", &right_labels(NAMESPACE));
    for namespace in [ours, namespace("theirs", &json!({}))] {
        namespaces.create(&create, &namespace).await.unwrap();
    }
    let trial = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pod = |spec: Value| -> Pod {
        let mut pod = json!({"metadata": {"name": "pod"}, "spec": {
            "containers": [{
                "name": "c", "image": "busybox",
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
            }],
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        }});
        let spec = spec.as_object().unwrap().clone();
        pod["spec"].as_object_mut().unwrap().extend(spec);
        serde_json::from_value(pod).unwrap()
    };
    let service = |addresses: Value| -> Service {
        serde_json::from_value(json!({"metadata": {"name": "service"}, "spec": {
            "ports": [{"port": 27017}], "externalIPs": addresses,
        }}))
        .unwrap()
    };
    for name in ["mdb-one", "theirs"] {
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), name);
        let default = serde_json::from_value(json!({"metadata": {"name": "default"}}));
        match accounts.create(&create, &default.unwrap()).await {
            Ok(_) => {}
            // A controller was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
    }

    let pods: Api<Pod> = Api::namespaced(admin.clone(), "mdb-one");
    let services: Api<Service> = Api::namespaced(admin.clone(), "mdb-one");
    let node = pod(json!({"nodeName": "node-1"}));
    let mut refused = pods.create(&trial, &node).await;
    for _ in 0..60 {
        if refused.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        refused = pods.create(&trial, &node).await;
    }
    assert!(forbidden(refused).contains("does not name its node"));
    for class in ["system-node-critical", "system-cluster-critical"] {
        let critical = pod(json!({"priorityClassName": class}));
        let told = forbidden(pods.create(&trial, &critical).await);
        assert!(told.contains("begins with system-"), "{told}");
    }
    let told = forbidden(
        services
            .create(&trial, &service(json!(["192.0.2.1"])))
            .await,
    );
    assert!(told.contains("no externalIPs"), "{told}");
    pods.create(&trial, &pod(json!({}))).await.unwrap();
    let plain = service(json!(null));
    services.create(&create, &plain).await.unwrap();
    let later = Patch::Merge(json!({"spec": {"externalIPs": ["192.0.2.1"]}}));
    let params = PatchParams::default();
    forbidden(services.patch("service", &params, &later).await);

    // Elsewhere the broker has no say.
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "theirs");
    pods.create(&trial, &node).await.unwrap();
    let services: Api<Service> = Api::namespaced(admin, "theirs");
    let external = service(json!(["192.0.2.1"]));
    services.create(&trial, &external).await.unwrap();
}
