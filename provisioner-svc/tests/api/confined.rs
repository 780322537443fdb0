//! What plans and platforms name stays where it may be: Secrets that were
//! released to plans, namespaces that are nobody's own, and nothing of an
//! answer of the API server in a log.

use std::process::Stdio;

use broker_proto::{ErrorCode, json, v1::OperationState};
use cluster::names;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use provisioner_svc::step::Step;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::{
    harness::{
        PATIENCE, Plan, SIMPLE, World, code, deprovisioned, end_of, eventually, object, poll_says,
        provisioned, succeeded,
    },
    troubles::shared,
};

fn reading(world: &World, secret: &str) -> Plan {
    let descriptor = format!("secrets: {{input: {{name: {secret}}}}}\n");
    let template = "apiVersion: v1\nkind: Secret\nmetadata: {name: settings}\nstringData: {it: \"{{ secrets.input.key }}\"}\n";
    world.plan(
        "reading",
        &[("plan.yaml", &descriptor), ("1.yaml", template)],
    )
}

async fn make_secret(world: &World, name: &str, labels: serde_json::Value, value: &[u8]) {
    let api: Api<Secret> = Api::namespaced(world.client(), &world.namespace);
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
    }))
    .unwrap();
    let secret = Secret {
        data: Some([("key".to_owned(), k8s_openapi::ByteString(value.to_vec()))].into()),
        ..secret
    };
    api.create(&PostParams::default(), &secret).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_reads_a_secret_only_once_it_is_released_to_it() {
    let world = World::start().await;
    let plan = reading(&world, "input");
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    make_secret(&world, "input", json!({}), b"told").await;
    let answer = client
        .provision(plan.provision("i", json!({})))
        .await
        .unwrap();
    let operation = answer.into_inner().operation;
    poll_says(&client, &operation, "mongodb-osb.io/plan-input=test").await;
    let api: Api<Secret> = Api::namespaced(world.client(), &world.namespace);
    let release = json!({"metadata": {"labels": {names::PLAN_INPUT: "test.reading"}}});
    api.patch("input", &PatchParams::default(), &Patch::Merge(&release))
        .await
        .unwrap();
    succeeded(&client, "i", &operation).await;
    let namespace = world.record("i").await.spec.namespace;
    let api: Api<Secret> = Api::namespaced(world.client(), &namespace);
    let read = api.get("settings").await.unwrap();
    assert_eq!(read.data.unwrap()["it"].0, b"told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_reads_nothing_that_the_broker_made_nor_what_is_no_text() {
    let world = World::start().await;
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    let ours = json!({names::PLAN_INPUT: "test", names::MANAGED_BY: names::MANAGER});
    make_secret(&world, "ours", ours, b"secret").await;
    let plan = reading(&world, "ours");
    let answer = client
        .provision(plan.provision("i", json!({})))
        .await
        .unwrap();
    poll_says(
        &client,
        &answer.into_inner().operation,
        "waiting for the Secret ours",
    )
    .await;

    make_secret(
        &world,
        "binary",
        json!({names::PLAN_INPUT: "test"}),
        &[0xff, 0x00],
    )
    .await;
    let plan = reading(&world, "binary");
    let answer = client
        .provision(plan.provision("j", json!({})))
        .await
        .unwrap();
    let ended = end_of(&client, "j", &answer.into_inner().operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert!(ended.description.contains("UTF-8"), "{}", ended.description);
}

/// A plan for whatever namespace the platform names, and a request for one.
fn in_context(world: &World) -> Plan {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"app-{{ name }}\"}\n";
    world.plan(
        "context",
        &[("plan.yaml", "namespace: context\n"), ("1.yaml", template)],
    )
}

fn request(plan: &Plan, namespace: &serde_json::Value) -> broker_proto::v1::ProvisionRequest {
    let mut request = plan.provision("i", json!({}));
    let context = object(json!({"platform": "kubernetes", "namespace": namespace}));
    request.context = Some(json::to_struct(&context).unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_a_path_the_brokers_kubernetes_or_an_instances_is_refused() {
    let world = World::start().await;
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    let simple = world.plan("simple", &SIMPLE);
    provisioned(&client, simple.provision("other", json!({}))).await;
    let others = world.record("other").await.spec.namespace;
    let revisions = world.revisions().await;
    let plan = in_context(&world);
    for namespace in [
        json!("../../x"),
        json!("mongodb-osb/secrets/gateway-credentials?"),
        json!(7),
        json!(world.namespace),
        json!("kube-system"),
        json!(others),
    ] {
        let refused = client.provision(request(&plan, &namespace)).await;
        assert_eq!(code(refused), ErrorCode::InvalidArgument, "{namespace}");
    }
    // Whatever the plan does with it.
    let refused = client.provision(request(&simple, &json!("a/b"))).await;
    assert_eq!(code(refused), ErrorCode::InvalidArgument);
    let mut update = simple.update("other", json!({}));
    update.context = request(&simple, &json!("a/b")).context;
    assert_eq!(
        code(client.update(update).await),
        ErrorCode::InvalidArgument
    );
    for namespace in [&world.namespace, &others] {
        let descriptor = format!("namespace: {{shared: {namespace}}}\n");
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";
        let plan = world.plan(
            "shared-badly",
            &[("plan.yaml", &descriptor), ("1.yaml", template)],
        );
        let refused = client.provision(plan.provision("i", json!({}))).await;
        assert_eq!(code(refused), ErrorCode::NotOrderable, "{namespace}");
    }
    assert_eq!(world.revisions().await, revisions, "nothing is written");
    let record = world.records().get_opt(&names::instance_record("i")).await;
    assert!(record.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_became_an_instances_meanwhile_is_not_written_to() {
    let world = World::start().await;
    let (tenants, plan) = shared(&world, "60s").await;
    let mut doomed = world.process("doomed", Some(Step::Load.name()));
    let request = plan.provision("i", json!({}));
    let operation = eventually("the create is accepted", async || {
        let answer = doomed.client.clone().provision(request.clone()).await;
        answer.ok().map(|answer| answer.into_inner().operation)
    })
    .await;
    tokio::time::timeout(PATIENCE, doomed.child.wait())
        .await
        .unwrap()
        .unwrap();
    let api: Api<Namespace> = Api::all(world.client());
    let label = json!({"metadata": {"labels": {names::MANAGED_BY: names::MANAGER}}});
    api.patch(&tenants, &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    let heir = world.process("heir", None);
    let ended = end_of(&heir.client, "i", &operation).await;
    assert!(
        ended.description.contains("another instance's own"),
        "{}",
        ended.description
    );
    let name = format!("app-{}", names::object(&world.record("i").await.name_any()));
    assert!(world.config_map(&tenants, &name).await.is_none());
}

/// The label of its owner lets a broker in; without it, or once it is gone, nothing is
/// written there, but what is there can still be taken away.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_others_takes_instances_while_its_label_names_this_broker() {
    let world = World::start().await;
    let (tenants, plan) = shared(&world, "60s").await;
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("before", json!({}))).await;
    let api: Api<Namespace> = Api::all(world.client());
    for owner in [json!(null), json!("another-broker")] {
        let label = json!({"metadata": {"labels": {names::ACCEPTS_INSTANCES_OF: owner}}});
        api.patch(&tenants, &PatchParams::default(), &Patch::Merge(&label))
            .await
            .unwrap();
        let refused = client.provision(plan.provision("i", json!({}))).await;
        assert_eq!(code(refused), ErrorCode::NotOrderable);
        let record = world.records().get_opt(&names::instance_record("i")).await;
        assert!(record.unwrap().is_none());
    }
    deprovisioned(&client, plan.deprovision("before")).await;
}

/// An API server that answers everything with a Secret that cannot be decoded.
async fn broken_api_server() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let body = r#"{"kind":"Secret","metadata":"canary-metadata","data":{"password":"canary-password"}}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_decoded_is_in_no_log_whatever_the_filter() {
    let world = World::start().await;
    let address = broken_api_server().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"http://{address}\"}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = world.command("a", "127.0.0.1:0".parse().unwrap());
    command
        .env("KUBECONFIG", &config)
        .env(
            "BROKER_LOG",
            "debug,kube_client=trace,kube_client::client=trace",
        )
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = String::new();
    let read = async {
        let mut undecodable = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            undecodable += usize::from(line.contains("does not have the form of its kind"));
            log.push_str(&line);
            log.push('\n');
            if undecodable >= 3 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    child.start_kill().unwrap();
    for canary in ["canary-metadata", "canary-password"] {
        assert!(!log.contains(canary), "{log}");
    }
}
