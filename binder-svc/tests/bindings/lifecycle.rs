//! Bind, replay, fetch, rotate, unbind, and the same id again.

use broker_proto::{ErrorCode, json, v1::Outcome};
use serde_json::{Value, json};

use crate::{
    logs,
    world::{ADMIN_PASSWORD, World, credentials, done, until, uri, use_database},
};

fn parameters(value: &Value) -> Option<prost_types::Struct> {
    Some(json::to_struct(value.as_object().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_lives_from_bind_to_unbind_and_no_log_tells_its_password() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("r1").await;

    // Two apps; each has a login of its own on one database.
    let first = done(binder.bind(world.bind_request("i", "b1")).await.unwrap());
    let second = done(binder.bind(world.bind_request("i", "b2")).await.unwrap());
    use_database(&uri(&first)).await.unwrap();
    use_database(&uri(&second)).await.unwrap();
    assert_eq!(credentials(&first)["database"], credentials(&second)["database"]);
    assert_ne!(credentials(&first)["username"], credentials(&second)["username"]);
    assert_eq!(first.endpoints.len(), 1);

    // The same again is the same; another is a conflict.
    let replay = binder.bind(world.bind_request("i", "b1")).await.unwrap();
    assert_eq!(replay.outcome(), Outcome::Unchanged);
    assert_eq!(replay.binding.unwrap().credentials, first.credentials);
    let fetched = binder.fetch("i", "b1").await.unwrap();
    assert_eq!(fetched.credentials, first.credentials);
    let mut other = world.bind_request("i", "b1");
    other.parameters = parameters(&json!({"roles": ["read"]}));
    assert_eq!(binder.bind(other).await.unwrap_err().code, ErrorCode::Conflict);
    let mut default = world.bind_request("i", "b1");
    default.parameters = parameters(&json!({"roles": ["readWrite"]}));
    assert_eq!(binder.bind(default).await.unwrap().outcome(), Outcome::Unchanged);
    assert_eq!(world.users_of("i", "b1").await.len(), 1);

    // What is refused leaves nothing behind.
    for (wrong, code) in [
        (json!({"roles": ["root"]}), ErrorCode::InvalidArgument),
        (json!({"database": "admin"}), ErrorCode::InvalidArgument),
        (json!({"secret": "hunter2"}), ErrorCode::InvalidArgument),
        (json!({"unknown": 1}), ErrorCode::InvalidArgument),
    ] {
        let mut request = world.bind_request("i", "refused");
        request.parameters = parameters(&wrong);
        let error = binder.bind(request).await.unwrap_err();
        assert_eq!(error.code, code, "{wrong}");
        assert!(!error.message.contains("hunter2"), "{}", error.message);
    }
    let unknown = binder.bind(world.bind_request("nowhere", "b")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    assert!(world.record("i", "refused").await.is_none());
    assert!(world.secrets_of("i", "refused").await.is_empty());

    // A read-only login on a database of its own choice.
    let mut request = world.bind_request("i", "b3");
    request.parameters =
        parameters(&json!({"roles": ["read"], "database": "other", "secret": "canary-parameter"}));
    let third = done(binder.bind(request).await.unwrap());
    assert_eq!(credentials(&third)["database"], "other");
    assert!(use_database(&uri(&third)).await.is_err());

    // Rotation: both work until the old one is unbound.
    let mut rotation = world.bind_request("i", "b1-next");
    rotation.predecessor_binding_id = "b1".into();
    (rotation.service_id, rotation.plan_id) = (String::new(), String::new());
    let next = done(binder.bind(rotation.clone()).await.unwrap());
    use_database(&uri(&next)).await.unwrap();
    assert_eq!(binder.bind(rotation.clone()).await.unwrap().outcome(), Outcome::Unchanged);
    rotation.predecessor_binding_id = "b2".into();
    assert_eq!(binder.bind(rotation).await.unwrap_err().code, ErrorCode::Conflict);
    for wrong in ["b1-x", "never"] {
        let mut rotation = world.bind_request("i", "b1-x");
        rotation.predecessor_binding_id = wrong.into();
        assert_eq!(binder.bind(rotation).await.unwrap_err().code, ErrorCode::InvalidArgument);
    }

    // Unbind: that login is gone, the others work, and again is 410.
    let unbound = binder.unbind(world.unbind_request("i", "b1")).await.unwrap();
    assert_eq!(unbound.outcome(), Outcome::Done);
    assert!(use_database(&uri(&first)).await.is_err());
    use_database(&uri(&second)).await.unwrap();
    use_database(&uri(&next)).await.unwrap();
    assert!(world.users_of("i", "b1").await.is_empty());
    assert!(world.secrets_of("i", "b1").await.is_empty());
    let again = binder.unbind(world.unbind_request("i", "b1")).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::Gone);
    assert_eq!(binder.fetch("i", "b1").await.unwrap_err().code, ErrorCode::NotFound);
    assert!(binder.ended("i", "b1", "").await);

    // The same id again is a new login.
    let reborn = done(binder.bind(world.bind_request("i", "b1")).await.unwrap());
    assert_ne!(credentials(&reborn)["username"], credentials(&first)["username"]);
    assert_ne!(credentials(&reborn)["password"], credentials(&first)["password"]);
    use_database(&uri(&reborn)).await.unwrap();
    until("what the first life owed is settled", async || {
        world.record("i", "b1").await.unwrap().ledger.owed.is_empty()
    })
    .await;
    assert_eq!(world.users_of("i", "b1").await.len(), 1);
    use_database(&uri(&reborn)).await.unwrap();

    // People see it, and nothing that they must not.
    until("the status says Ready", async || {
        let record = world.record("i", "b1").await.unwrap();
        let status = record.object().status.clone().unwrap_or_default();
        status.conditions.iter().any(|ready| ready.status == "True")
    })
    .await;
    let object = world.record("i", "b3").await.unwrap().into_object();
    let shown = serde_json::to_string(&object).unwrap();
    binder.stop().await;
    let logs = logs::text();
    assert!(logs.contains("operation ended"), "nothing was captured");
    let mut secrets = vec![ADMIN_PASSWORD.to_owned(), "canary-parameter".to_owned()];
    for binding in [&first, &second, &third, &next, &reborn] {
        secrets.push(credentials(binding)["password"].as_str().unwrap().to_owned());
    }
    for secret in secrets {
        assert!(!logs.contains(&secret), "a secret is in the log");
        assert!(!shown.contains(&secret), "a secret is in the record");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rivals_for_one_id_get_one_login() {
    let world = World::start().await;
    world.instance("i").await;
    let (one, two) = tokio::join!(world.binder("r1"), world.binder("r2"));
    for round in 0..4 {
        let id = format!("b{round}");
        let request = world.bind_request("i", &id);
        let (first, second) = tokio::join!(one.bind(request.clone()), two.bind(request));
        let (first, second) = (first.unwrap(), second.unwrap());
        let outcomes = [first.outcome(), second.outcome()];
        assert!(outcomes.contains(&Outcome::Done), "{outcomes:?}");
        assert_eq!(first.binding.unwrap().credentials, second.binding.unwrap().credentials);
        assert_eq!(world.users_of("i", &id).await.len(), 1);
    }
    // One of two rivals that differ is refused.
    let mut other = world.bind_request("i", "different");
    other.app_guid = "app".into();
    let (first, second) =
        tokio::join!(one.bind(world.bind_request("i", "different")), two.bind(other));
    let codes: Vec<_> = [first, second].into_iter().filter_map(Result::err).map(|e| e.code).collect();
    assert_eq!(codes, [ErrorCode::Conflict]);
    assert_eq!(world.users_of("i", "different").await.len(), 1);
    one.stop().await;
    two.stop().await;
}
