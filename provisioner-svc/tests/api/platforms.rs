//! What one platform has made does not exist for another, and who asked for an operation stays on
//! the record.

use broker_proto::{
    ErrorCode,
    client::Transport,
    v1::{
        DeprovisionRequest, FetchInstanceRequest, LastOperationRequest, ProvisionRequest,
        Requester, UpdateRequest, provisioner_client::ProvisionerClient,
    },
};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use provisioner_svc::state::Record;
use serde_json::json;
use testbed::logs;

use crate::harness::{Plan, SIMPLE, World, code, deprovisioned, eventually, provisioned, updated};

fn by(platform: &str, user: &str) -> Requester {
    Requester {
        platform: platform.into(),
        login: format!("{platform}-login"),
        peer: "192.0.2.1".into(),
        user: user.into(),
    }
}

fn provision(plan: &Plan, platform: &str) -> ProvisionRequest {
    ProvisionRequest {
        requester: Some(by(platform, "ada")),
        ..plan.provision("i", json!({}))
    }
}

fn update(plan: &Plan, platform: &str) -> UpdateRequest {
    UpdateRequest {
        requester: Some(by(platform, "ben")),
        ..plan.update("i", json!({"note": "new"}))
    }
}

fn deprovision(plan: &Plan, platform: &str) -> DeprovisionRequest {
    DeprovisionRequest {
        requester: Some(by(platform, "cleo")),
        ..plan.deprovision("i")
    }
}

async fn sees(client: &ProvisionerClient<Transport>, platform: &str) -> bool {
    let fetch = FetchInstanceRequest {
        instance_id: "i".into(),
        platform: platform.into(),
    };
    let poll = LastOperationRequest {
        instance_id: "i".into(),
        operation: String::new(),
        platform: platform.into(),
    };
    let mut client = client.clone();
    let fetched = client.fetch_instance(fetch).await;
    let polled = client.last_operation(poll).await;
    let seen = fetched.is_ok();
    assert_eq!(seen, polled.is_ok(), "{fetched:?} {polled:?}");
    if !seen {
        assert_eq!(code(fetched), ErrorCode::NotFound);
        assert_eq!(code(polled), ErrorCode::NotFound);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_exists_for_its_platform_alone() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let first = world.provisioner("a").await;
    let second = world.provisioner("b").await;
    provisioned(&first.client, provision(&plan, "cf")).await;
    let before = world.record("i").await;
    assert_eq!(before.spec.platform, "cf");

    // Whichever replica is asked, from memory or not.
    for client in [&first.client, &second.client] {
        assert!(sees(client, "cf").await);
        assert!(!sees(client, "k8s").await);
        assert!(!sees(client, "").await);
        let mut client = client.clone();
        let refused = client.provision(provision(&plan, "k8s")).await;
        assert_eq!(code(refused), ErrorCode::Conflict);
        let refused = client.update(update(&plan, "k8s")).await;
        assert_eq!(code(refused), ErrorCode::NotFound);
        let refused = client.deprovision(deprovision(&plan, "k8s")).await;
        assert_eq!(code(refused), ErrorCode::Gone);
    }
    assert_eq!(world.record("i").await.spec, before.spec);

    // What became of it is told to its platform as long as its record stays.
    deprovisioned(&first.client, deprovision(&plan, "cf")).await;
    assert!(!sees(&first.client, "k8s").await);
    let mut client = second.client.clone();
    let refused = client.provision(provision(&plan, "k8s")).await;
    assert_eq!(code(refused), ErrorCode::Conflict);
    provisioned(&second.client, provision(&plan, "cf")).await;
    assert!(sees(&first.client, "cf").await);

    // Given to another platform by hand.
    let given = Patch::Merge(json!({"spec": {"platform": "k8s"}}));
    let name = before.name_any();
    world
        .records()
        .patch(&name, &PatchParams::default(), &given)
        .await
        .unwrap();
    for client in [&first.client, &second.client] {
        eventually("the new platform sees it", async || {
            sees(client, "k8s").await.then_some(())
        })
        .await;
        assert!(!sees(client, "cf").await);
    }
    deprovisioned(&first.client, deprovision(&plan, "k8s")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn record_and_log_say_who_asked_for_its_operations() {
    let world = World::start().await;
    let plan = world.plan("simple", &SIMPLE);
    let provisioner = world.provisioner("a").await;
    let client = &provisioner.client;
    provisioned(client, provision(&plan, "cf")).await;
    updated(client, update(&plan, "cf")).await;
    deprovisioned(client, deprovision(&plan, "cf")).await;
    provisioned(client, provision(&plan, "cf")).await;

    let record = Record::new(world.record("i").await).unwrap();
    let newest = &record.operation().requested_by;
    assert_eq!((&*newest.user, &*newest.peer), ("ada", "192.0.2.1"));
    let kept = serde_json::to_value(&record.state.operations).unwrap();
    let kept = kept.as_array().unwrap();
    for ended in kept {
        let id = ended["id"].as_str().unwrap();
        let user = ended["requestedBy"]["user"].as_str().unwrap();
        // The record tells of an end before the log does.
        let lines = eventually("both lines are in the log", async || {
            let lines = logs::audit(id);
            (lines.len() == 2).then_some(lines)
        })
        .await;
        for (line, text) in lines.iter().zip(["operation accepted", "operation ended"]) {
            for named in [text, "simple", "cf-login", "192.0.2.1", user] {
                assert!(line.contains(named), "{named} in {line}");
            }
        }
    }
    let kept: Vec<_> = kept
        .iter()
        .map(|ended| {
            assert!(
                ended["startedAt"].as_str() <= ended["at"].as_str(),
                "{ended}"
            );
            assert_eq!(ended["requestedBy"]["login"], "cf-login");
            let kind = ended["id"].as_str().unwrap().split('-').next().unwrap();
            (kind.to_owned(), ended["requestedBy"]["user"].clone())
        })
        .collect();
    let expected = [
        ("create", "ada"),
        ("update", "ben"),
        ("delete", "cleo"),
        ("create", "ada"),
    ];
    assert_eq!(
        kept,
        expected.map(|(kind, user)| (kind.into(), user.into()))
    );
}
