//! A process that dies, as by kill -9, after any step of any operation: the
//! next one finishes the work, and nothing is doubled or left behind.

use broker_proto::v1::{OperationState, ProvisionRequest, UpdateRequest};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::DeleteParams};
use provisioner_svc::step::Step;
use serde_json::json;

use crate::harness::{
    PATIENCE, Plan, World, deprovisioned, end_of, eventually, provisioned, succeeded,
};

/// Every step of every operation has something to do in this plan.
pub(crate) const EVERY_STEP: [(&str, &str); 3] = [
    (
        "plan.yaml",
        "generate: {admin: {type: password}}
kinds: [v1/ConfigMap, v1/Secret]
parameters:
  create: {properties: {extra: {type: boolean, default: true}}}
  update: {inherit: create}
",
    ),
    (
        "1.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first}\ndata: {extra: \"{{ extra }}\"}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {pw: \"{{ generated.admin }}\"}\n",
    ),
    (
        "2.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second}\n{% if extra %}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: third}\n{% endif %}\n",
    ),
];

/// Runs `start` on a process that dies after `step`, then lets another finish, which it returns.
async fn with_crash(
    world: &World,
    step: Step,
    number: usize,
    id: &str,
    start: impl AsyncFn(&crate::harness::Process) -> String,
) -> crate::harness::Process {
    let mut doomed = world.process(&format!("doomed-{number}"), Some(step.name()));
    let operation = start(&doomed).await;
    let death = tokio::time::timeout(PATIENCE, doomed.child.wait()).await;
    let status = death.unwrap_or_else(|_| panic!("{step:?} was never taken"));
    assert!(!status.unwrap().success());
    drop(doomed);
    let heir = world.process(&format!("heir-{number}"), None);
    let ended = end_of(&heir.client, id, &operation).await;
    assert_eq!(
        ended.state(),
        OperationState::Succeeded,
        "after {step:?}: {}",
        ended.description
    );
    // It writes the status after the end.
    heir
}

/// Begins an operation on a process that may die before it answers: then the
/// record tells which one it is.
async fn begun(
    world: &World,
    id: &str,
    ask: impl AsyncFn() -> Result<String, tonic::Status>,
) -> String {
    let newest = async || {
        let name = cluster::names::instance_record(id);
        let record = world.records().get_opt(&name).await.unwrap();
        record.map(|record| record.spec.operation.id)
    };
    let before = newest().await;
    eventually("the operation is begun", async || match ask().await {
        Ok(operation) => Some(operation),
        Err(_) => newest()
            .await
            .filter(|newest| Some(newest) != before.as_ref()),
    })
    .await
}

async fn create(
    world: &World,
    process: &crate::harness::Process,
    request: &ProvisionRequest,
) -> String {
    begun(world, &request.instance_id, async || {
        let answer = process.client.clone().provision(request.clone()).await?;
        Ok(answer.into_inner().operation)
    })
    .await
}

async fn update(
    world: &World,
    process: &crate::harness::Process,
    request: &UpdateRequest,
) -> String {
    begun(world, &request.instance_id, async || {
        let answer = process.client.clone().update(request.clone()).await?;
        Ok(answer.into_inner().operation)
    })
    .await
}

async fn delete(world: &World, process: &crate::harness::Process, plan: &Plan, id: &str) -> String {
    begun(world, id, async || {
        let request = plan.deprovision(id);
        let answer = process.client.clone().deprovision(request).await?;
        Ok(answer.into_inner().operation)
    })
    .await
}

pub(crate) const OF_CREATE: [Step; 7] = [
    Step::Load,
    Step::MakeNamespace,
    Step::Grant,
    Step::Generate,
    Step::Apply(0),
    Step::Await(0),
    Step::Succeed,
];
pub(crate) const OF_UPDATE: [Step; 12] = [
    Step::Load,
    Step::MakeNamespace,
    Step::Grant,
    Step::Generate,
    Step::Discover,
    Step::Compare,
    Step::ClearClaims,
    Step::Apply(0),
    Step::Await(0),
    Step::Prune,
    Step::DropClaims,
    Step::Succeed,
];
pub(crate) const OF_DELETE: [Step; 7] = [
    Step::AwaitRelease,
    Step::FindRemaining,
    Step::DeleteLast,
    Step::DeleteLeftovers,
    Step::DeleteNamespace,
    Step::DeleteRevisions,
    Step::WriteTombstone,
];

#[test]
fn every_step_but_failing_is_tried_in_some_operation() {
    for step in Step::ALL {
        let tried = [&OF_CREATE[..], &OF_UPDATE[..], &OF_DELETE[..]]
            .concat()
            .contains(&step);
        let elsewhere = [
            Step::Fail,
            Step::Retain,
            Step::Grow,
            Step::MarkOrphaned,
            Step::RemoveFinalizer,
        ]
        .contains(&step);
        assert!(tried || elsewhere, "{step:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_survives_a_crash_after_each_of_its_steps() {
    let world = World::start().await;
    let plan = world.plan("steps", &EVERY_STEP);
    for (number, step) in OF_CREATE.into_iter().enumerate() {
        let id = format!("i{number}");
        let _heir = with_crash(&world, step, number, &id, async |process| {
            create(&world, process, &plan.provision(&id, json!({}))).await
        })
        .await;
        let record = world.shown(&id, "Ready").await;
        let namespaces = world.instance_namespaces().await;
        assert_eq!(
            namespaces.len(),
            number + 1,
            "one namespace for each instance: {namespaces:?}"
        );
        let inventory = record.status.unwrap().inventory;
        assert_eq!(inventory.len(), 4, "after {step:?}: {inventory:?}");
    }
    assert_eq!(world.revisions().await.len(), OF_CREATE.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_survives_a_crash_after_each_of_its_steps() {
    let world = World::start().await;
    let plan = world.plan("steps", &EVERY_STEP);
    let provisioner = world.provisioner("first").await;
    provisioned(&provisioner.client, plan.provision("i", json!({}))).await;
    provisioner.stop().await;
    let namespace = world.record("i").await.spec.namespace;
    let logins: Api<Secret> = Api::namespaced(world.client(), &namespace);
    let password = logins.get("login").await.unwrap().data.unwrap();
    for (number, step) in OF_UPDATE.into_iter().enumerate() {
        let extra = number % 2 == 1;
        let request = plan.update("i", json!({"extra": extra}));
        with_crash(&world, step, number, "i", async |process| {
            update(&world, process, &request).await
        })
        .await;
        assert_eq!(
            world.config_map(&namespace, "third").await.is_some(),
            extra,
            "after {step:?}"
        );
        let data = logins.get("login").await.unwrap().data.unwrap();
        assert_eq!(data, password, "generated values stay");
    }
}

/// Whoever takes an update over and cannot go on tells what its predecessor
/// has changed, not what it changed itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_that_fails_tells_whether_the_instance_is_as_it_was() {
    let cases = OF_UPDATE
        .into_iter()
        .filter(|step| *step != Step::Succeed)
        .enumerate();
    futures::future::join_all(cases.map(async |(number, step)| {
        let world = World::start().await;
        let plan = world.plan("steps", &EVERY_STEP);
        let provisioner = world.provisioner("first").await;
        provisioned(&provisioner.client, plan.provision("i", json!({}))).await;
        provisioner.stop().await;
        let mut doomed = world.process(&format!("doomed-{number}"), Some(step.name()));
        let operation = update(&world, &doomed, &plan.update("i", json!({"extra": false}))).await;
        let death = tokio::time::timeout(PATIENCE, doomed.child.wait()).await;
        assert!(!death.unwrap().unwrap().success(), "{step:?}");
        // The heir is refused in its first steps.
        let record = world.record("i").await;
        let secrets: Api<Secret> = Api::namespaced(world.client(), &record.spec.namespace);
        let generated = format!("osb-generated-{}", record.spec.incarnation);
        secrets
            .delete(&generated, &DeleteParams::default())
            .await
            .unwrap();
        let heir = world.process(&format!("heir-{number}"), None);
        let ended = end_of(&heir.client, "i", &operation).await;
        let touched = [
            Step::Apply(0),
            Step::Await(0),
            Step::Prune,
            Step::DropClaims,
        ]
        .contains(&step);
        assert_eq!(
            (ended.instance_usable, ended.update_repeatable),
            (Some(!touched), Some(false)),
            "after {step:?}"
        );
        assert!(
            ended.description.contains("GeneratedValueMissing"),
            "after {step:?}: {}",
            ended.description
        );
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_survives_a_crash_after_each_of_its_steps() {
    let world = World::start().await;
    let plan = world.plan("steps", &EVERY_STEP);
    for (number, step) in OF_DELETE.into_iter().enumerate() {
        let id = format!("i{number}");
        let provisioner = world.provisioner("first").await;
        provisioned(&provisioner.client, plan.provision(&id, json!({}))).await;
        let mut client = provisioner.client.clone();
        if step == Step::AwaitRelease {
            let incarnation = world.record(&id).await.spec.incarnation;
            let hold = broker_proto::v1::HoldRequest {
                instance_id: id.clone(),
                incarnation,
            };
            client.hold(hold).await.unwrap();
        }
        provisioner.stop().await;
        with_crash(&world, step, number, &id, async |process| {
            let operation = delete(&world, process, &plan, &id).await;
            if step == Step::AwaitRelease {
                eventually("it waits for the release", async || {
                    let poll = broker_proto::v1::LastOperationRequest {
                        instance_id: id.clone(),
                        operation: operation.clone(),
                        platform: String::new(),
                    };
                    let answer = process.client.clone().last_operation(poll).await.ok()?;
                    answer
                        .into_inner()
                        .description
                        .contains("bindings")
                        .then_some(())
                })
                .await;
                let incarnation = world.record(&id).await.spec.incarnation;
                let release = broker_proto::v1::ReleaseHoldRequest {
                    instance_id: id.clone(),
                    incarnation,
                };
                // It dies at once when it learns of the release: the answer may be lost.
                let _ = process.client.clone().release_hold(release).await;
            }
            operation
        })
        .await;
        world.assert_nothing_left().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_survives_a_crash_right_after_it_was_committed() {
    let world = World::start().await;
    let descriptor = format!("deletion: {{retain: 7d}}\n{}", EVERY_STEP[0].1);
    let files = [("plan.yaml", descriptor.as_str()), EVERY_STEP[1]];
    let plan = world.plan("retaining", &files);
    let provisioner = world.provisioner("first").await;
    provisioned(&provisioner.client, plan.provision("i", json!({}))).await;
    provisioner.stop().await;
    let _heir = with_crash(&world, Step::Retain, 0, "i", async |process| {
        delete(&world, process, &plan, "i").await
    })
    .await;
    eventually("the status is made good", async || {
        let status = world.record("i").await.status;
        (status?.phase == "Retained").then_some(())
    })
    .await;
    assert_eq!(world.instance_namespaces().await.len(), 1);
    assert_eq!(world.revisions().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_is_replaced_by_one_that_runs() {
    let world = World::start().await;
    let plan = world.plan("steps", &EVERY_STEP);
    let (one, two) = (world.provisioner("a").await, world.provisioner("b").await);
    let ids: Vec<String> = (0..8).map(|number| format!("i{number}")).collect();
    let mut operations = Vec::new();
    for id in &ids {
        let answer = two
            .client
            .clone()
            .provision(plan.provision(id, json!({})))
            .await
            .unwrap();
        operations.push(answer.into_inner().operation);
    }
    one.kill();
    for (id, operation) in ids.iter().zip(&operations) {
        succeeded(&two.client, id, operation).await;
    }
    for id in &ids {
        deprovisioned(&two.client, plan.deprovision(id)).await;
    }
    world.assert_nothing_left().await;
}
