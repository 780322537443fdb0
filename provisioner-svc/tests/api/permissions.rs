//! What the broker may do, by the roles that it is shipped with: what is
//! missing is told at once, what was given a moment ago is waited for.

use broker_proto::v1::OperationState;
use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::Identity;

use crate::harness::{
    PATIENCE, Plan, Process, SIMPLE, World, end_of, eventually, poll_says, succeeded,
};

const ACCOUNT: &str = "provisioner-svc";
const CLUSTER_ROLE: &str = "mongodb-osb-provisioner-svc";
const PLANS_ROLE: &str = "mongodb-osb-plans";

/// The documents of a file under k8s/base.
fn shipped(path: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../k8s/base")
        .join(path);
    let text = std::fs::read_to_string(path).unwrap();
    text.split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// The broker's account, with the rights that are given to it one by one.
struct Roles<'a> {
    world: &'a World,
}

impl Roles<'_> {
    /// The rights in the instances' namespace, and the account.
    async fn install(world: &World) -> (Roles<'_>, Identity) {
        let roles = Roles { world };
        let namespace = &world.namespace;
        let account = json!({"metadata": {"name": ACCOUNT}});
        roles
            .create::<ServiceAccount>(Some(namespace), account)
            .await;
        for mut document in shipped("state/instances/provisioner-svc.yaml") {
            match document["kind"].as_str().unwrap() {
                "Role" => roles.create::<Role>(Some(namespace), document).await,
                "RoleBinding" => {
                    document["subjects"][0]["namespace"] = json!(namespace);
                    roles.create::<RoleBinding>(Some(namespace), document).await;
                }
                _ => {}
            }
        }
        let identity = world.control_plane.service_account(namespace, ACCOUNT);
        (roles, identity.await.unwrap())
    }

    /// The rights across the cluster.
    async fn give_cluster(&self) {
        for mut document in shipped("broker/provisioner-svc/role.yaml") {
            match document["kind"].as_str().unwrap() {
                "ClusterRole" => self.create::<ClusterRole>(None, document).await,
                "ClusterRoleBinding" => {
                    document["subjects"][0]["namespace"] = json!(self.world.namespace);
                    self.create::<ClusterRoleBinding>(None, document).await;
                }
                _ => {}
            }
        }
    }

    async fn take_cluster(&self) {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.world.client());
        let params = DeleteParams::default();
        bindings.delete(CLUSTER_ROLE, &params).await.unwrap();
    }

    /// The rights in instances' namespaces.
    async fn give_plans(&self) {
        let mut role = shipped("access/role-plans.yaml").remove(0);
        role["metadata"]["name"] = json!(PLANS_ROLE);
        self.create::<ClusterRole>(None, role).await;
    }

    async fn create<K>(&self, namespace: Option<&str>, object: Value)
    where
        K: Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + DeserializeOwned,
    {
        let mut object = object;
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let object: K = serde_json::from_value(object).unwrap();
        let client = self.world.client();
        let request = kube::core::Request::new(K::url_path(&(), namespace))
            .create(&PostParams::default(), serde_json::to_vec(&object).unwrap())
            .unwrap();
        client.request::<K>(request).await.unwrap();
    }
}

fn process(
    world: &World,
    identity: &Identity,
    replica: &str,
    variables: &[(&str, &str)],
) -> Process {
    let kubeconfig = identity.kubeconfig().to_str().unwrap();
    let mut all = vec![("KUBECONFIG", kubeconfig)];
    all.extend(variables);
    world.process_with(replica, &all)
}

async fn provision(process: &Process, plan: &Plan, instance: &str) -> String {
    let request = plan.provision(instance, json!({}));
    eventually("the create is accepted", async || {
        let answer = process.client.clone().provision(request.clone()).await;
        answer.ok().map(|answer| answer.into_inner().operation)
    })
    .await
}

/// The operation fails, and its text says that a right is missing and names
/// neither account nor right.
async fn fails_for_rights(process: &Process, instance: &str, operation: &str) {
    let ended = end_of(&process.client, instance, operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    let text = ended.description;
    assert!(text.contains("lacks a right"), "{text}");
    for name in [ACCOUNT, "system:", "resource", "namespaces"] {
        assert!(!text.contains(name), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_the_broker_lacks_fails_the_operation_and_names_no_account() {
    let world = World::alone().await;
    let plan = world.plan("simple", &SIMPLE);
    let (roles, identity) = Roles::install(&world).await;
    let provisioner = process(&world, &identity, "a", &[]);
    let operation = provision(&provisioner, &plan, "no-namespace").await;
    fails_for_rights(&provisioner, "no-namespace", &operation).await;

    roles.give_cluster().await;
    roles.give_plans().await;
    let operation = provision(&provisioner, &plan, "i").await;
    succeeded(&provisioner.client, "i", &operation).await;

    roles.take_cluster().await;
    let mut client = provisioner.client.clone();
    let answer = client.deprovision(plan.deprovision("i")).await.unwrap();
    fails_for_rights(&provisioner, "i", &answer.into_inner().operation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_given_just_before_a_takeover_are_waited_for_and_missing_ones_are_not() {
    let world = World::alone().await;
    let plan = world.plan("simple", &SIMPLE);
    let (roles, identity) = Roles::install(&world).await;
    roles.give_cluster().await;
    // The role that instances' namespaces are given does not exist.
    let soon = [("BROKER_RIGHTS_DELAY", "1s")];
    let mut first = process(&world, &identity, "first", &soon);
    let operation = provision(&first, &plan, "missing").await;
    fails_for_rights(&first, "missing", &operation).await;
    first.child.kill().await.unwrap();

    let crash = [("BROKER_CRASH_AT", "Grant")];
    let mut doomed = process(&world, &identity, "doomed", &crash);
    let operation = provision(&doomed, &plan, "i").await;
    let death = tokio::time::timeout(PATIENCE, doomed.child.wait()).await;
    assert!(!death.unwrap().unwrap().success());
    // However long the takeover takes on a busy machine.
    let late = [("BROKER_RIGHTS_DELAY", "1h")];
    let heir = process(&world, &identity, "heir", &late);
    eventually("the heir answers", async || {
        let request = broker_proto::v1::LastOperationRequest {
            instance_id: "i".to_owned(),
            operation: operation.clone(),
            platform: String::new(),
        };
        heir.client.clone().last_operation(request).await.ok()
    })
    .await;
    poll_says(&heir.client, &operation, "waiting for the broker's rights").await;
    roles.give_plans().await;
    succeeded(&heir.client, "i", &operation).await;
}
