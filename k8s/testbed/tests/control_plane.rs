//! Control planes on their own: no node, so no pods, but everything that the API server does.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    core::v1::{ConfigMap, Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use testbed::{ControlPlane, Controllers};

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("value".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn two_run_side_by_side_and_share_nothing() {
    let (one, two) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.url(), two.url());
    let created = PostParams::default();
    let in_one: Api<ConfigMap> = Api::namespaced(one.client(), "default");
    let in_two: Api<ConfigMap> = Api::namespaced(two.client(), "default");
    in_one
        .create(&created, &config_map("only-here", "1"))
        .await
        .unwrap();
    assert!(in_two.get_opt("only-here").await.unwrap().is_none());
    assert!(in_one.get_opt("only-here").await.unwrap().is_some());
}

#[tokio::test]
async fn data_and_address_survive_an_api_server_that_goes_away() {
    let control_plane = ControlPlane::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "default");
    maps.create(&PostParams::default(), &config_map("kept", "1"))
        .await
        .unwrap();

    control_plane.stop_api_server().await;
    assert!(maps.get("kept").await.is_err());

    control_plane.start_api_server().await.unwrap();
    assert_eq!(maps.get("kept").await.unwrap().data.unwrap()["value"], "1");
}

#[tokio::test]
async fn a_user_may_do_what_their_roles_allow_and_no_more() {
    let control_plane = ControlPlane::start().await.unwrap();
    let admin = control_plane.client();
    let group = "readers";
    let role = ClusterRole {
        metadata: ObjectMeta {
            name: Some(group.to_owned()),
            ..ObjectMeta::default()
        },
        rules: Some(vec![PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["configmaps".to_owned()]),
            verbs: vec!["list".to_owned()],
            ..PolicyRule::default()
        }]),
        ..ClusterRole::default()
    };
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(group.to_owned()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "ClusterRole".to_owned(),
            name: group.to_owned(),
        },
        subjects: Some(vec![Subject {
            kind: "Group".to_owned(),
            name: group.to_owned(),
            ..Subject::default()
        }]),
    };
    let created = PostParams::default();
    Api::all(admin.clone())
        .create(&created, &role)
        .await
        .unwrap();
    Api::all(admin.clone())
        .create(&created, &binding)
        .await
        .unwrap();

    let reader = control_plane.user("ann", &[group]).await.unwrap();
    let stranger = control_plane.user("bob", &[]).await.unwrap();
    let mine: Api<ConfigMap> = Api::namespaced(reader.client(), "default");
    // The authorizer learns of a new role a moment after it was made.
    for attempt in 0.. {
        match mine.list(&ListParams::default()).await {
            Ok(_) => break,
            Err(error) => assert!(attempt < 50, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(mine.create(&created, &config_map("x", "1")).await.is_err());
    let theirs: Api<ConfigMap> = Api::namespaced(stranger.client(), "default");
    assert!(theirs.list(&ListParams::default()).await.is_err());
}

#[tokio::test]
async fn a_service_account_calls_with_a_token_of_its_own() {
    let control_plane = ControlPlane::start().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client(), "default");
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some("app".to_owned()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    accounts
        .create(&PostParams::default(), &account)
        .await
        .unwrap();
    let app = control_plane
        .service_account("default", "app")
        .await
        .unwrap();
    let reviews: Api<SelfSubjectReview> = Api::all(app.client());
    let review = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    let user = review.status.unwrap().user_info.unwrap().username.unwrap();
    assert_eq!(user, "system:serviceaccount:default:app");
}

#[tokio::test]
async fn with_controllers_a_deleted_namespace_goes() {
    let control_plane = ControlPlane::builder()
        .controllers(Controllers::Manager)
        .start()
        .await
        .unwrap();
    let namespaces: Api<Namespace> = Api::all(control_plane.client());
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some("short-lived".to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let made = namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    namespaces
        .delete(&made.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    for attempt in 0.. {
        if namespaces.get_opt("short-lived").await.unwrap().is_none() {
            break;
        }
        assert!(attempt < 300, "the namespace is still there");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_argument_that_the_api_server_refuses_is_shown_in_the_error() {
    let error = ControlPlane::builder()
        .api_server_arg("--no-such-flag")
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("kube-apiserver") && error.contains("no-such-flag"),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_one_leaves_no_process_and_no_folder() {
    let control_plane = ControlPlane::start().await.unwrap();
    let folder = control_plane.folder().to_owned();
    drop(control_plane);
    assert!(!folder.exists());
    let folder = folder.display().to_string();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let words = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        assert!(!words.contains(&folder), "{words}");
    }
}
