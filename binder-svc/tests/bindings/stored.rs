//! The request is written beside the record. What if it is not there?

use k8s_openapi::api::{
    admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    core::v1::Secret,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::world::{NAMESPACE, World, done, until, uri, use_database};

const POLICY: &str = "no-secrets";

/// A policy that refuses every Secret; it is in force after a moment, until its
/// binding is deleted.
async fn nothing_stores_secrets(client: &kube::Client) -> Api<ValidatingAdmissionPolicyBinding> {
    let policy: ValidatingAdmissionPolicy = serde_json::from_value(json!({
        "metadata": {"name": POLICY},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["secrets"]
            }]},
            "validations": [{"expression": "false"}]
        }
    }))
    .unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let params = PostParams::default();
    policies.create(&params, &policy).await.unwrap();
    let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(json!({
        "metadata": {"name": POLICY},
        "spec": {"policyName": POLICY, "validationActions": ["Deny"]}
    }))
    .unwrap();
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    bindings.create(&params, &binding).await.unwrap();
    bindings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bind_that_was_never_accepted_is_unbound_and_leaves_nothing() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("a").await;
    let client = world.control_plane.client();
    let policy = nothing_stores_secrets(&client).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"generateName": "x"}})).unwrap();
    until("the policy counts", async || {
        let made = secrets.create(&PostParams::default(), &secret).await;
        made.is_err()
    })
    .await;

    // Twice: the second one finds the record, and no request.
    for _ in 0..2 {
        let refused = binder.bind(world.bind_request("i", "b")).await;
        refused.unwrap_err();
        assert!(world.record("i", "b").await.is_some());
    }
    binder.unbind(world.unbind_request("i", "b")).await.unwrap();
    until("nothing is left", async || {
        world.users_of("i", "b").await.is_empty() && world.secrets_of("i", "b").await.is_empty()
    })
    .await;

    policy
        .delete(POLICY, &DeleteParams::default())
        .await
        .unwrap();
    until("the policy is gone", async || {
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .is_ok()
    })
    .await;
    let bound = done(binder.bind(world.bind_request("i", "b")).await.unwrap());
    use_database(&uri(&bound)).await.unwrap();
    binder.stop().await;
}
