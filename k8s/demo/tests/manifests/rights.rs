//! Which account may do what, where: all of it, asked of a real API server with each
//! account's own token, and compared with docs/rights.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    time::Duration,
};

use cluster::names::State;
use demo::deploy::NAMESPACE;
use k8s_openapi::api::{
    authorization::v1::{ResourceRule, SelfSubjectRulesReview},
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, PolicyRule, Role, RoleBinding},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;
use testbed::ControlPlane;

use crate::{THREE, deployed, role_binding, service_account};

const INSTANCE: &str = "mdb-example";
const BOOTSTRAP: &str = "mdb";
const TITLE: &str = "# What each account may do, and where

Made by the test `every_account_may_do_what_is_written_and_nothing_else` from what a real API
server answers to each account's own token; `UPDATE_RIGHTS=1 cargo test -p demo --test manifests
rights` writes it anew. `mdb-example` is the namespace of an instance, `mdb` the account of its
database's pods. In a namespace that is not here each may do what it may in `another`. What is said
there of namespaces and role bindings, admission policies (k8s/base/access) limit further: to
namespaces `mdb-…` that this broker made, to three roles, to the services themselves.

| account | namespace | may |
|---|---|---|
";

/// Rights that every account of a cluster has: to ask about itself.
fn is_everybodys(rule: &ResourceRule) -> bool {
    let resources = rule.resources.as_deref().unwrap_or_default();
    resources
        .iter()
        .all(|resource| resource.starts_with("selfsubject"))
}

async fn may(client: Client, namespace: &str) -> BTreeMap<String, BTreeSet<String>> {
    let api: Api<SelfSubjectRulesReview> = Api::all(client);
    let review = serde_json::from_value(json!({"spec": {"namespace": namespace}})).unwrap();
    let status = api
        .create(&PostParams::default(), &review)
        .await
        .unwrap()
        .status
        .unwrap();
    assert!(!status.incomplete, "{status:?}");
    let mut rights = BTreeMap::<String, BTreeSet<String>>::new();
    for rule in status
        .resource_rules
        .iter()
        .filter(|rule| !is_everybodys(rule))
    {
        for resource in rule.resources.iter().flatten() {
            let names = rule.resource_names.as_deref().unwrap_or_default();
            let of = if names.is_empty() {
                resource.clone()
            } else {
                format!("{resource} {}", names.join(", "))
            };
            rights.entry(of).or_default().extend(rule.verbs.clone());
        }
    }
    rights
}

/// A namespace of an instance, with the role bindings that the provisioner makes in it.
async fn instance(client: &Client) {
    let create = PostParams::default();
    for name in [INSTANCE, "another"] {
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&create, &namespace).await.unwrap();
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), INSTANCE);
    let bootstrap = serde_json::from_value(json!({"metadata": {"name": BOOTSTRAP}})).unwrap();
    accounts.create(&create, &bootstrap).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), INSTANCE);
    for (role, namespace, name) in [
        (THREE[0], NAMESPACE, "provisioner-svc"),
        (THREE[1], NAMESPACE, "binder-svc"),
        (THREE[2], INSTANCE, BOOTSTRAP),
    ] {
        let binding = role_binding(role, role, &service_account(namespace, name));
        bindings.create(&create, &binding).await.unwrap();
    }
}

/// All accounts that the manifests bring, and the one of an instance's pods.
async fn accounts(control_plane: &ControlPlane) -> Vec<(String, String)> {
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=mongodb-osb");
    let accounts: Api<ServiceAccount> = Api::all(control_plane.client());
    let mut found: Vec<(String, String)> = accounts
        .list(&ours)
        .await
        .unwrap()
        .iter()
        .map(|account| (account.namespace().unwrap(), account.name_any()))
        .collect();
    assert!(found.len() >= 4, "{found:?}");
    found.push((INSTANCE.to_owned(), BOOTSTRAP.to_owned()));
    found
}

/// All namespaces that the manifests bring, an instance's, and others.
async fn places(client: &Client) -> Vec<String> {
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=mongodb-osb");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.list(&ours).await.unwrap();
    let mut names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
    for state in State::ALL {
        assert!(names.contains(&state.namespace(NAMESPACE)), "{names:?}");
    }
    names.extend([INSTANCE, "kube-system", "another"].map(str::to_owned));
    names
}

async fn table(control_plane: &ControlPlane) -> String {
    let mut text = TITLE.to_owned();
    let places = places(&control_plane.client()).await;
    for (home, name) in accounts(control_plane).await {
        let client = control_plane
            .service_account(&home, &name)
            .await
            .unwrap()
            .client();
        let everywhere = may(client.clone(), "another").await;
        for place in &places {
            let rights = may(client.clone(), place).await;
            let here = rights
                .iter()
                .filter(|(of, verbs)| place == "another" || everywhere.get(*of) != Some(verbs));
            let here: Vec<String> = here
                .map(|(of, verbs)| {
                    let verbs: Vec<&str> = verbs.iter().map(String::as_str).collect();
                    format!("{of}: {}", verbs.join(", "))
                })
                .collect();
            let here = if here.is_empty() {
                "–".to_owned()
            } else {
                here.join("; ")
            };
            writeln!(text, "| {name} | {place} | {here} |").unwrap();
        }
    }
    text
}

#[tokio::test]
async fn every_account_may_do_what_is_written_and_nothing_else() {
    let control_plane = deployed().await;
    instance(&control_plane.client()).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rights.md");
    if std::env::var_os("UPDATE_RIGHTS").is_some() {
        std::fs::write(&path, table(&control_plane).await).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let mut said = table(&control_plane).await;
    // New roles take a moment to be enforced.
    for _ in 0..20 {
        if said == written {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        said = table(&control_plane).await;
    }
    panic!("docs/rights.md differs from what the API server says:\n{said}");
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
    let roles = Api::<Role>::all(client).list(&ours).await.unwrap();
    assert!(cluster_roles.items.len() >= 5 && roles.items.len() >= 6);
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
