//! A binding exists for the platform of its instance alone; who asked stays on the record and in
//! the log.

use broker_proto::{
    Error, ErrorCode,
    v1::{
        BindRequest, FetchBindingRequest, Instance, LastBindingOperationRequest, Requester,
        UnbindRequest,
    },
};

use testbed::logs;

use crate::world::{Binder, World, done, until};

fn by(platform: &str, user: &str) -> Requester {
    Requester {
        platform: platform.into(),
        login: format!("{platform}-login"),
        peer: "192.0.2.1".into(),
        user: user.into(),
    }
}

fn bind(world: &World, platform: &str) -> BindRequest {
    BindRequest {
        requester: Some(by(platform, "ada")),
        ..world.bind_request("i", "b")
    }
}

fn unbind(world: &World, platform: &str) -> UnbindRequest {
    UnbindRequest {
        requester: Some(by(platform, "ben")),
        ..world.unbind_request("i", "b")
    }
}

async fn sees(binder: &Binder, platform: &str) -> bool {
    let fetch = FetchBindingRequest {
        instance_id: "i".into(),
        binding_id: "b".into(),
        platform: platform.into(),
    };
    let poll = LastBindingOperationRequest {
        instance_id: "i".into(),
        binding_id: "b".into(),
        operation: String::new(),
        platform: platform.into(),
    };
    let mut client = binder.client.clone();
    let fetched = client.fetch_binding(fetch).await;
    let polled = client.last_binding_operation(poll).await;
    let seen = fetched.is_ok();
    assert_eq!(seen, polled.is_ok(), "{fetched:?} {polled:?}");
    if !seen {
        for status in [fetched.unwrap_err(), polled.unwrap_err()] {
            assert_eq!(Error::from_status(&status).code, ErrorCode::NotFound);
        }
    }
    seen
}

/// A world with an instance of platform `cf`.
async fn start() -> World {
    let world = World::start().await;
    let instance = world.instance("i").await;
    world.provisioner.put(Instance {
        platform: "cf".into(),
        ..instance
    });
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_exists_for_its_platform_alone() {
    let world = start().await;
    let binder = world.binder("r1").await;
    let refused = binder.bind(bind(&world, "k8s")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    assert!(world.record("i", "b").await.is_none());

    done(binder.bind(bind(&world, "cf")).await.unwrap());
    assert!(sees(&binder, "cf").await);
    assert!(!sees(&binder, "k8s").await);
    assert!(!sees(&binder, "").await);
    let refused = binder.bind(bind(&world, "k8s")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
    let refused = binder.unbind(unbind(&world, "k8s")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Gone);
    assert_eq!(world.users_of("i", "b").await.len(), 1);

    binder.unbind(unbind(&world, "cf")).await.unwrap();
    assert!(world.users_of("i", "b").await.is_empty());
    binder.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn record_and_log_say_who_asked() {
    let world = start().await;
    let binder = world.binder("r1").await;
    done(binder.bind(bind(&world, "cf")).await.unwrap());
    binder.unbind(unbind(&world, "cf")).await.unwrap();
    let record = world.record("i", "b").await.unwrap();
    let by: Vec<_> = ["bind", "unbind"].into_iter().zip(["ada", "ben"]).collect();
    let kept = serde_json::to_value(&record.ledger.history).unwrap();
    for (ended, (kind, user)) in kept.as_array().unwrap().iter().zip(&by) {
        let id = ended["id"].as_str().unwrap();
        assert!(id.starts_with(&format!("{kind}-")), "{ended}");
        assert_eq!(ended["requestedBy"]["user"], *user);
        assert_eq!(ended["requestedBy"]["platform"], "cf");
        // The record tells of an end before the log does.
        until("both lines are in the log", async || {
            logs::audit(id).len() == 2
        })
        .await;
        let lines = logs::audit(id);
        for (line, text) in lines.iter().zip(["operation accepted", "operation ended"]) {
            assert!(line.contains(text), "{line}");
            for named in ["cf-login", "192.0.2.1", user] {
                assert!(line.contains(named), "{line}");
            }
        }
    }
    assert_eq!(kept.as_array().unwrap().len(), 2);
    binder.stop().await;
}
