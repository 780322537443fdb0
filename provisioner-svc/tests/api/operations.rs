//! Replays, rivals and interruptions.

use broker_proto::ErrorCode;
use broker_proto::v1::{OperationState, Outcome, UpdateRequest};
use serde_json::json;

use crate::harness::{
    Plan, SIMPLE, World, code, deprovisioned, end_of, poll_says, provisioned, succeeded, updated,
};

/// A plan whose second file waits for something that never comes.
const ENDLESS: [(&str, &str); 3] = [
    (
        "plan.yaml",
        "deadline: {total: 10m}\nready:\n  ConfigMap/second: {ready: \"object.data.done == 'yes'\", message: \"waiting for done\"}\n",
    ),
    (
        "1-first.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: first}\n",
    ),
    (
        "2-second.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: second}\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn two_identical_provisions_at_once_on_two_replicas_are_one_instance() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let (one, two) = (world.provisioner("a").await, world.provisioner("b").await);
    for round in 0..5 {
        let id = format!("i{round}");
        let request = plan.provision(&id, json!({}));
        let (mut a, mut b) = (one.client.clone(), two.client.clone());
        let (first, second) =
            tokio::join!(a.provision(request.clone()), b.provision(request.clone()));
        let (first, second) = (first.unwrap().into_inner(), second.unwrap().into_inner());
        assert_eq!(first.operation, second.operation);
        assert!(!first.operation.is_empty());
        succeeded(&one.client, &id, &first.operation).await;
        // Both replicas know at once what either has told.
        assert_eq!(
            b.provision(request).await.unwrap().into_inner().outcome(),
            Outcome::Unchanged
        );
    }
    assert_eq!(world.instance_namespaces().await.len(), 5);
    assert_eq!(
        world.revisions().await.len(),
        5,
        "the loser's revision is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_rivals_with_different_parameters_leave_one_winner() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let (one, two) = (world.provisioner("a").await, world.provisioner("b").await);
    let calls = (0..50).map(|number| {
        let mut client = if number % 2 == 0 {
            one.client.clone()
        } else {
            two.client.clone()
        };
        let request = plan.provision("i", json!({"note": format!("n{}", number % 5)}));
        async move { client.provision(request).await }
    });
    let answers = futures::future::join_all(calls).await;
    let mut operations: Vec<String> = Vec::new();
    for answer in answers {
        match answer {
            Ok(answer) => operations.push(answer.into_inner().operation),
            Err(status) => assert_eq!(code::<()>(Err(status)), ErrorCode::Conflict),
        }
    }
    operations.retain(|operation| !operation.is_empty());
    operations.dedup();
    assert_eq!(operations.len(), 1, "{operations:?}");
    succeeded(&one.client, "i", &operations[0]).await;
    assert_eq!(world.instance_namespaces().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_differ_conflict_and_equal_ones_do_not() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({"size": "S"}))).await;
    let mut outcome = async |request| match client.provision(request).await {
        Ok(answer) => Ok(answer.into_inner().outcome()),
        Err(status) => Err(code::<()>(Err(status))),
    };
    // A default that is spelt out is the same request.
    assert_eq!(
        outcome(plan.provision("i", json!({}))).await,
        Ok(Outcome::Unchanged)
    );
    assert_eq!(
        outcome(plan.provision("i", json!({"size": "S", "note": "none"}))).await,
        Ok(Outcome::Unchanged)
    );
    assert_eq!(
        outcome(plan.provision("i", json!({"size": "M"}))).await,
        Err(ErrorCode::Conflict)
    );
    let mut other = plan.provision("i", json!({}));
    other.space_guid = "elsewhere".into();
    assert_eq!(outcome(other).await, Err(ErrorCode::Conflict));
    let mut absent = plan.provision("i", json!({}));
    absent.parameters = None;
    assert_eq!(outcome(absent).await, Ok(Outcome::Unchanged));
    // Invalid parameters are a conflict where an instance exists, and an error where none does.
    assert_eq!(
        outcome(plan.provision("i", json!({"size": "XL"}))).await,
        Err(ErrorCode::Conflict)
    );
    assert_eq!(
        outcome(plan.provision("j", json!({"size": "XL"}))).await,
        Err(ErrorCode::InvalidArgument)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deprovision_during_a_provision_halts_it_and_takes_everything_away() {
    let world = World::start().await;
    let plan = world.plan("endless", &ENDLESS);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    let create = client
        .provision(plan.provision("i", json!({})))
        .await
        .unwrap()
        .into_inner()
        .operation;
    poll_says(&client, &create, "waiting for done").await;
    let replay = client
        .provision(plan.provision("i", json!({})))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (replay.outcome(), replay.operation),
        (Outcome::Accepted, create.clone())
    );
    let delete = client
        .deprovision(plan.deprovision("i"))
        .await
        .unwrap()
        .into_inner()
        .operation;
    assert_eq!(
        end_of(&client, "i", &create).await.state(),
        OperationState::Failed
    );
    succeeded(&client, "i", &delete).await;
    assert_eq!(end_of(&client, "i", "").await.operation, delete);
    world.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_changes_nothing_starts_nothing_and_an_unsupported_one_is_refused() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({"grade": "b"}))).await;
    let before = world.record("i").await;
    let answer = client
        .update(plan.update("i", json!({})))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.outcome(), Outcome::Unchanged);
    // What is immutable, and what is ordered: not back, and to nothing.
    for unsupported in [
        json!({"fixed": "b"}),
        json!({"grade": "a"}),
        json!({"grade": null}),
    ] {
        assert_eq!(
            code(client.update(plan.update("i", unsupported)).await),
            ErrorCode::UpdateNotSupported
        );
    }
    assert_eq!(
        code(client.update(plan.update("i", json!({"size": "XL"}))).await),
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        code(client.update(plan.update("other", json!({}))).await),
        ErrorCode::NotFound
    );
    assert_eq!(world.record("i").await.spec, before.spec);
    assert_eq!(world.revisions().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_update_leaves_what_is_shown_and_can_be_repaired() {
    let world = World::start().await;
    let plan = world.plan(
        "breakable",
        &[
            ("plan.yaml", "parameters:
  create: {properties: {done: {type: string, default: 'yes'}}}
  update: {inherit: create}
ready:
  ConfigMap/only: {ready: \"object.data.done == 'yes'\", failed: \"object.data.done == 'no'\"}
"),
            ("1.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: only}\ndata: {done: \"{{ done }}\"}\n"),
        ],
    );
    let provisioner = world.provisioner("a").await;
    let mut client = provisioner.client.clone();
    provisioned(&client, plan.provision("i", json!({}))).await;
    let operation = client
        .update(plan.update("i", json!({"done": "no"})))
        .await
        .unwrap()
        .into_inner()
        .operation;
    let ended = end_of(&client, "i", &operation).await;
    assert_eq!(ended.state(), OperationState::Failed);
    assert_eq!(
        (ended.instance_usable, ended.update_repeatable),
        (Some(false), Some(true))
    );
    assert!(
        ended.description.contains("ConfigMap/only"),
        "{}",
        ended.description
    );
    let fetched = client
        .fetch_instance(broker_proto::v1::FetchInstanceRequest {
            instance_id: "i".into(),
            platform: String::new(),
        })
        .await
        .unwrap()
        .into_inner();
    assert!(
        fetched.parameters.unwrap().fields.is_empty(),
        "what is shown is what was applied with success"
    );
    assert_eq!(
        client
            .provision(plan.provision("i", json!({})))
            .await
            .unwrap()
            .into_inner()
            .outcome(),
        Outcome::Unchanged
    );

    // The same parameters again: a repair must be possible although they are the applied ones.
    updated(&client, plan.update("i", json!({"done": "yes"}))).await;
    deprovisioned(&client, plan.deprovision("i")).await;
    world.assert_nothing_left().await;
}

/// Logins are made and revoked as the instance's version says: one that cannot revoke them would
/// leave them working for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_could_not_revoke_logins_is_refused_and_one_that_can_is_not() {
    let world = World::start().await;
    let version = |number: u8, binding: &str| {
        let descriptor = format!("version: {number}.0.0\n{binding}");
        let map =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {v: \"NUMBER\"}\n"
                .replace("NUMBER", &number.to_string());
        world.plan("bound", &[("plan.yaml", &descriptor), ("1.yaml", &map)])
    };
    let binding = |server: &str| {
        format!(
            "binding: {{method: database, hosts: \"[instance.name]\", server: {server}, \
             admin: {{username: a, password: \"'x'\"}}}}\n"
        )
    };
    let first = version(1, &binding("own"));
    let provisioner = world.provisioner("a").await;
    let client = provisioner.client.clone();
    provisioned(&client, first.provision("i", json!({}))).await;

    let upgrade = |to: &Plan| UpdateRequest {
        maintenance_version: Some(to.bundle.version().to_string()),
        verdict: Some(to.verdict()),
        ..to.update("i", json!({}))
    };
    for (other, told) in [
        (version(2, ""), "has no bindings"),
        (version(3, "binding: {method: none}\n"), "has no bindings"),
        (version(4, &binding("shared")), "in another way"),
    ] {
        let refused = client.clone().update(upgrade(&other)).await.unwrap_err();
        let refused = broker_proto::Error::from_status(&refused);
        assert_eq!(refused.code, ErrorCode::UpdateNotSupported, "{refused:?}");
        assert!(refused.message.contains(told), "{refused:?}");
    }
    updated(&client, upgrade(&version(5, &binding("own")))).await;
    deprovisioned(&client, first.deprovision("i")).await;
    world.assert_nothing_left().await;
}
