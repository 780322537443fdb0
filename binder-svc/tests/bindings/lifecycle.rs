//! Bind, replay, fetch, rotate, unbind, and the same id again.

use broker_proto::{
    ErrorCode, json,
    v1::{Binding, Outcome},
};
use serde_json::{Value, json};

use crate::world::{ADMIN_PASSWORD, Binder, World, credentials, done, until, uri, use_database};

fn parameters(value: &Value) -> prost_types::Struct {
    json::to_struct(value.as_object().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_lives_from_bind_to_unbind_and_no_log_tells_its_password() {
    let world = World::start().await;
    world.instance("i").await;
    let binder = world.binder("r1").await;

    let first = done(binder.bind(world.bind_request("i", "b1")).await.unwrap());
    let second = done(binder.bind(world.bind_request("i", "b2")).await.unwrap());
    each_has_its_own_login(&first, &second).await;
    the_same_again_is_the_same(&world, &binder, &first).await;
    what_is_refused_leaves_nothing_behind(&world, &binder).await;
    let third = parameters_choose_database_and_roles(&world, &binder).await;
    let next = a_rotation_keeps_both(&world, &binder, &first).await;
    an_unbind_ends_one_login(&world, &binder, &first, &[&second, &next]).await;
    let reborn = the_same_id_again_is_a_new_login(&world, &binder, &first).await;

    let shown = record_as_people_see_it(&world, "b3").await;
    binder.stop().await;
    let logs = testbed::logs::text();
    assert!(logs.contains("operation ended"), "nothing was captured");
    let mut secrets = vec![ADMIN_PASSWORD.to_owned(), "canary-parameter".to_owned()];
    for binding in [&first, &second, &third, &next, &reborn] {
        let password = credentials(binding)["password"].clone();
        secrets.push(password.as_str().unwrap().to_owned());
    }
    for secret in secrets {
        assert!(!logs.contains(&secret), "a secret is in the log");
        assert!(!shown.contains(&secret), "a secret is in the record");
    }
}

async fn each_has_its_own_login(first: &Binding, second: &Binding) {
    use_database(&uri(first)).await.unwrap();
    use_database(&uri(second)).await.unwrap();
    let (one, two) = (credentials(first), credentials(second));
    assert_eq!(one["database"], two["database"]);
    assert_ne!(one["username"], two["username"]);
    assert_eq!(first.endpoints.len(), 1);
}

async fn the_same_again_is_the_same(world: &World, binder: &Binder, first: &Binding) {
    let replay = binder.bind(world.bind_request("i", "b1")).await.unwrap();
    assert_eq!(replay.outcome(), Outcome::Unchanged);
    assert_eq!(replay.binding.unwrap().credentials, first.credentials);
    let fetched = binder.fetch("i", "b1").await.unwrap();
    assert_eq!(fetched.credentials, first.credentials);

    let mut other = world.bind_request("i", "b1");
    other.parameters = Some(parameters(&json!({"roles": ["read"]})));
    let refused = binder.bind(other).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict);
    // Saying what is the default anyway is no difference.
    let mut default = world.bind_request("i", "b1");
    default.parameters = Some(parameters(&json!({"roles": ["readWrite"]})));
    let same = binder.bind(default).await.unwrap();
    assert_eq!(same.outcome(), Outcome::Unchanged);
    assert_eq!(world.users_of("i", "b1").await.len(), 1);
}

async fn what_is_refused_leaves_nothing_behind(world: &World, binder: &Binder) {
    for (wrong, pointer) in [
        (json!({"roles": ["root"]}), "/roles/0"),
        (json!({"database": "admin"}), "/database"),
        (json!({"secret": "hunter2"}), "/secret"),
        (json!({"unknown": 1}), "/unknown"),
    ] {
        let mut request = world.bind_request("i", "refused");
        request.parameters = Some(parameters(&wrong));
        let error = binder.bind(request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{wrong}");
        assert!(error.message.contains(pointer), "{}", error.message);
        assert!(!error.message.contains("hunter2"), "{}", error.message);
    }
    for wrong in [json!("../../x"), json!(7)] {
        let mut request = world.bind_request("i", "refused");
        request.context = Some(parameters(&json!({"namespace": wrong})));
        let error = binder.bind(request).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{wrong}");
        let expected = "context.namespace must be the name of a namespace";
        assert!(error.message.starts_with(expected), "{}", error.message);
    }
    let unknown = binder
        .bind(world.bind_request("nowhere", "b"))
        .await
        .unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    assert!(world.record("i", "refused").await.is_none());
    assert!(world.secrets_of("i", "refused").await.is_empty());
}

async fn parameters_choose_database_and_roles(world: &World, binder: &Binder) -> Binding {
    let mut request = world.bind_request("i", "b3");
    request.parameters = Some(parameters(
        &json!({"roles": ["read"], "database": "other", "secret": "canary-parameter"}),
    ));
    let third = done(binder.bind(request).await.unwrap());
    assert_eq!(credentials(&third)["database"], "other");
    let written = use_database(&uri(&third)).await;
    assert!(written.is_err(), "a reader wrote");
    third
}

async fn a_rotation_keeps_both(world: &World, binder: &Binder, first: &Binding) -> Binding {
    let mut rotation = world.bind_request("i", "b1-next");
    rotation.predecessor_binding_id = "b1".into();
    (rotation.service_id, rotation.plan_id) = (String::new(), String::new());
    let next = done(binder.bind(rotation.clone()).await.unwrap());
    use_database(&uri(&next)).await.unwrap();
    use_database(&uri(first)).await.unwrap();
    let replay = binder.bind(rotation.clone()).await.unwrap();
    assert_eq!(replay.outcome(), Outcome::Unchanged);
    rotation.predecessor_binding_id = "b2".into();
    let other = binder.bind(rotation).await.unwrap_err();
    assert_eq!(other.code, ErrorCode::Conflict);
    for wrong in ["b1-x", "never"] {
        let mut rotation = world.bind_request("i", "b1-x");
        rotation.predecessor_binding_id = wrong.into();
        let refused = binder.bind(rotation).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
    }
    next
}

async fn an_unbind_ends_one_login(
    world: &World,
    binder: &Binder,
    ended: &Binding,
    others: &[&Binding],
) {
    let unbound = binder
        .unbind(world.unbind_request("i", "b1"))
        .await
        .unwrap();
    assert_eq!(unbound.outcome(), Outcome::Done);
    assert!(use_database(&uri(ended)).await.is_err());
    for other in others {
        use_database(&uri(other)).await.unwrap();
    }
    assert!(world.users_of("i", "b1").await.is_empty());
    assert!(world.secrets_of("i", "b1").await.is_empty());
    let again = binder
        .unbind(world.unbind_request("i", "b1"))
        .await
        .unwrap_err();
    assert_eq!(again.code, ErrorCode::Gone);
    let fetched = binder.fetch("i", "b1").await.unwrap_err();
    assert_eq!(fetched.code, ErrorCode::NotFound);
    assert!(binder.ended("i", "b1", "").await);
}

async fn the_same_id_again_is_a_new_login(
    world: &World,
    binder: &Binder,
    first: &Binding,
) -> Binding {
    let reborn = done(binder.bind(world.bind_request("i", "b1")).await.unwrap());
    assert_ne!(
        credentials(&reborn)["username"],
        credentials(first)["username"]
    );
    assert_ne!(
        credentials(&reborn)["password"],
        credentials(first)["password"]
    );
    use_database(&uri(&reborn)).await.unwrap();
    until("what the first life owed is settled", async || {
        world
            .record("i", "b1")
            .await
            .unwrap()
            .ledger
            .owed
            .is_empty()
    })
    .await;
    assert_eq!(world.users_of("i", "b1").await.len(), 1);
    use_database(&uri(&reborn)).await.unwrap();
    reborn
}

async fn record_as_people_see_it(world: &World, binding: &str) -> String {
    until("the status says Ready", async || {
        let record = world.record("i", binding).await.unwrap();
        let status = record.object().status.clone().unwrap_or_default();
        status.conditions.iter().any(|ready| ready.status == "True")
    })
    .await;
    let object = world.record("i", binding).await.unwrap().into_object();
    serde_json::to_string(&object).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rivals_for_one_id_get_one_login() {
    let world = World::start().await;
    world.instance("i").await;
    let one = world.binder("r1").await;
    // Ready is who the others know to be there: they leave it its work.
    let two = world.binder("r2").await;
    for round in 0..8 {
        let id = format!("b{round}");
        let request = world.bind_request("i", &id);
        let (first, second) = tokio::join!(one.bind(request.clone()), two.bind(request));
        let (first, second) = (first.unwrap(), second.unwrap());
        let outcomes = [first.outcome(), second.outcome()];
        // One creation gives one 201; who joined it gets 200.
        assert!(
            outcomes.contains(&Outcome::Done) && outcomes.contains(&Outcome::Unchanged),
            "{outcomes:?}"
        );
        assert_eq!(
            first.binding.unwrap().credentials,
            second.binding.unwrap().credentials
        );
        assert_eq!(world.users_of("i", &id).await.len(), 1);
        let record = world.record("i", &id).await.unwrap();
        assert_eq!(record.ledger.attempts, 1, "one worked, one waited");
    }
    // One of two rivals that differ is refused.
    let mut other = world.bind_request("i", "different");
    other.app_guid = "app".into();
    let same = world.bind_request("i", "different");
    let (first, second) = tokio::join!(one.bind(same), two.bind(other));
    let refused = [first, second].into_iter().filter_map(Result::err);
    let codes: Vec<_> = refused.map(|error| error.code).collect();
    assert_eq!(codes, [ErrorCode::Conflict]);
    assert_eq!(world.users_of("i", "different").await.len(), 1);
    one.stop().await;
    two.stop().await;
}
