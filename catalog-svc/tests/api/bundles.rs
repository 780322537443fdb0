//! How bundles are stored.

use std::time::Duration;

use catalog_svc::Args;
use k8s_openapi::api::{
    core::v1::ConfigMap,
    rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams},
};

use crate::fixture::{
    Templates, TestApp, client, control_plane, eventually, namespace, stored, superseded,
};

/// Gives a user verbs on ConfigMaps of a namespace.
async fn allow(client: &Client, namespace: &str, user: &str, name: &str, verbs: &[&str]) {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    let role = Role {
        metadata: metadata.clone(),
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["configmaps".to_owned()]),
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            ..PolicyRule::default()
        }]),
    };
    let binding = RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "User".to_owned(),
            name: user.to_owned(),
            ..Subject::default()
        }]),
    };
    let parameters = PostParams::default();
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    roles.create(&parameters, &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    bindings.create(&parameters, &binding).await.unwrap();
}

#[tokio::test]
async fn nothing_is_published_before_it_is_stored() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let user = "catalog-that-may-not-write";
    let identity = control_plane().await.user(user, &[]).await.unwrap();
    allow(&client, &namespace, user, "read", &["get", "list", "watch"]).await;
    let limited = Client::try_from(identity.config()).unwrap();
    let templates = Templates::with_plan();
    let app = TestApp::start(&limited, &namespace, &templates).await;

    eventually("an attempt to store", || async {
        let metrics = app.admin("/metrics").await;
        let failed = metrics
            .lines()
            .find(|line| line.starts_with("bundle_store_failures_total"));
        failed.filter(|line| !line.ends_with(" 0")).map(drop)
    })
    .await;
    assert!(app.snapshot().await.is_none());
    assert!(!app.is_ready().await);

    allow(&client, &namespace, user, "write", &["create", "patch"]).await;
    let plan = app.plan("map", "the plan", |_| true).await;
    assert!(app.is_ready().await);
    let maps = stored(&client, &namespace, &plan.bundle_digest).await;
    assert_eq!(maps.len(), 1);
    assert_eq!(maps[0].immutable, Some(true));
    app.stop().await;
}

#[tokio::test]
async fn an_old_bundle_is_stamped_until_it_is_current_again() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let old = app.plan("map", "the plan", |_| true).await.bundle_digest;
    assert_eq!(superseded(&stored(&client, &namespace, &old).await), [None]);

    templates.plan("map", "description: Another.\n");
    let new = app
        .plan("map", "the new one", |plan| plan.bundle_digest != old)
        .await
        .bundle_digest;
    eventually("a stamp on the old one", || async {
        superseded(&stored(&client, &namespace, &old).await)[0].clone()
    })
    .await;

    templates.plan("map", "");
    app.plan("map", "the old one", |plan| plan.bundle_digest == old)
        .await;
    // It was cleared before it was published.
    assert_eq!(superseded(&stored(&client, &namespace, &old).await), [None]);
    eventually("a stamp on the new one", || async {
        superseded(&stored(&client, &namespace, &new).await)[0].clone()
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn a_large_bundle_is_stored_in_parts_and_a_part_that_is_lost_comes_back() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    for number in 20..23 {
        let text = "# A comment of the author's.\n".repeat(18_000);
        templates.write(&format!("mongodb/map/{number}-large.yaml"), &text);
    }
    let mut args = Args::for_tests(vec![templates.path()], &namespace);
    args.recheck = Duration::from_millis(500);
    let app = TestApp::start_with(&client, args).await;
    let digest = app.plan("map", "the plan", |_| true).await.bundle_digest;
    let maps = stored(&client, &namespace, &digest).await;
    assert_eq!(maps.len(), 2);

    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let lost = maps[1].metadata.name.as_deref().unwrap();
    api.delete(lost, &DeleteParams::default()).await.unwrap();
    eventually("the lost part", || async {
        api.get_opt(lost).await.unwrap()
    })
    .await;

    // A replica that has never seen the plan reads it from its parts.
    let nothing = Templates::new();
    let other = TestApp::start(&client, &namespace, &nothing).await;
    let content = eventually("a replica", || async { other.bundle(&digest).await.ok() }).await;
    assert_eq!(content, app.bundle(&digest).await.unwrap());
    app.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_damaged_bundle_is_neither_handed_out_nor_taken_for_the_stored_one() {
    let client = client().await;
    let namespace = namespace(&client).await;
    let templates = Templates::with_plan();
    let app = TestApp::start(&client, &namespace, &templates).await;
    let digest = app.plan("map", "the plan", |_| true).await.bundle_digest;
    app.stop().await;

    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let mut map = stored(&client, &namespace, &digest).await.remove(0);
    let name = map.metadata.name.clone().unwrap();
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    map.metadata.resource_version = None;
    map.metadata.uid = None;
    for content in map
        .binary_data
        .iter_mut()
        .flat_map(|data| data.values_mut())
    {
        content.0.reverse();
    }
    api.create(&PostParams::default(), &map).await.unwrap();

    let nothing = Templates::new();
    let other = TestApp::start(&client, &namespace, &nothing).await;
    other.catalog("a catalog", |_| true).await;
    let status = other.bundle(&digest).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    other.stop().await;

    let app = TestApp::start(&client, &namespace, &templates).await;
    eventually("an attempt to store", || async {
        let metrics = app.admin("/metrics").await;
        let failed = metrics
            .lines()
            .find(|line| line.starts_with("bundle_store_failures_total"));
        failed.filter(|line| !line.ends_with(" 0")).map(drop)
    })
    .await;
    assert!(app.snapshot().await.is_none());
    // What the log says to do mends it.
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    app.plan("map", "the plan", |plan| plan.bundle_digest == digest)
        .await;
    app.stop().await;
}
