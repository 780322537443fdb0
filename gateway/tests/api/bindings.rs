//! Bindings: what is passed on, and how the answers look.

use broker_proto::{
    ErrorCode,
    json::{from_struct, to_struct},
    v1::{BindResponse, Binding, Endpoint, Outcome, UnbindResponse},
};
use serde_json::{Map, Value, json};

use crate::app::{BINDING, IDS, TestApp};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

fn ids() -> Value {
    json!({"service_id": "s-1", "plan_id": "p-1"})
}

fn binding() -> Binding {
    let credentials = object(json!({"uri": "mongodb://u:hunter2@h", "port": 27017}));
    Binding {
        credentials: Some(to_struct(&credentials).unwrap()),
        endpoints: vec![Endpoint {
            host: "h".into(),
            ports: vec!["27017".into()],
            protocol: "tcp".into(),
        }],
        expires_at: "2026-11-24T12:00:00.0Z".into(),
        renew_before: "2026-11-23T12:00:00.0Z".into(),
        parameters: Some(to_struct(&object(json!({"roles": ["read"]}))).unwrap()),
    }
}

/// BND-02, BND-03.
#[tokio::test]
async fn a_bind_is_passed_on_whole() {
    let app = TestApp::start().await;
    let mut body = ids();
    body["bind_resource"] = json!({"app_guid": "new", "space_guid": "s"});
    body["app_guid"] = json!("old");
    body["parameters"] = json!({"roles": ["read"]});
    body["context"] = json!({"platform": "cloudfoundry"});
    let path = format!("{BINDING}?accepts_incomplete=true");
    app.put(&path, &body).send().await.granted(202);
    let asked = app.fakes.binder.bind.asked();
    assert_eq!(
        (asked.instance_id.as_str(), asked.binding_id.as_str()),
        ("i-1", "b-1")
    );
    assert_eq!(asked.app_guid, "new");
    assert_eq!(
        json!(from_struct(asked.bind_resource.unwrap())),
        body["bind_resource"]
    );
    assert_eq!(
        json!(from_struct(asked.parameters.unwrap())),
        body["parameters"]
    );
    assert_eq!(json!(from_struct(asked.context.unwrap())), body["context"]);
    assert!(asked.accepts_incomplete);
    assert_eq!(asked.verdict.unwrap().bundle_digest, "digest-p-1");
    assert_eq!(asked.requester.unwrap().login, "platform");
}

/// BND-10, BND-25 and trap 15.
#[tokio::test]
async fn an_app_may_be_named_in_either_place_or_not_at_all() {
    let app = TestApp::start().await;
    for (resource, deprecated, expected) in [
        (json!({"app_guid": ""}), json!("old"), "old"),
        (json!(null), json!("old"), "old"),
        (json!({"credential_client_id": "c"}), json!(null), ""),
        (json!({"app_guid": "new"}), json!(null), "new"),
    ] {
        let mut body = ids();
        body["bind_resource"] = resource;
        body["app_guid"] = deprecated;
        app.put(BINDING, &body).send().await.granted(202);
        assert_eq!(app.fakes.binder.bind.asked().app_guid, expected);
    }
}

/// ROT-02.
#[tokio::test]
async fn a_rotation_needs_its_predecessor_only() {
    let app = TestApp::start().await;
    let body = json!({"predecessor_binding_id": "b-0"});
    app.put(BINDING, &body).send().await.granted(202);
    let asked = app.fakes.binder.bind.asked();
    assert_eq!(asked.predecessor_binding_id, "b-0");
    assert!(asked.service_id.is_empty() && asked.plan_id.is_empty() && asked.verdict.is_none());

    let mut body = ids();
    body["predecessor_binding_id"] = json!("b-0");
    app.put(BINDING, &body).send().await.granted(202);
    assert!(app.fakes.binder.bind.asked().verdict.is_some());
}

/// BND-05, BND-07, BND-15, BND-16, BND-19, BND-20, trap 26.
#[tokio::test]
async fn a_made_binding_is_shown_by_the_platforms_version() {
    let app = TestApp::start().await;
    let credentials = json!({"uri": "mongodb://u:hunter2@h", "port": 27017});
    let endpoints = json!([{"host": "h", "ports": ["27017"], "protocol": "tcp"}]);
    let (expires, renew) = ("2026-11-24T12:00:00.0Z", "2026-11-23T12:00:00.0Z");
    for (version, body) in [
        ("2.14", json!({"credentials": credentials})),
        (
            "2.15",
            json!({"credentials": credentials, "endpoints": endpoints}),
        ),
        (
            "2.16",
            json!({"credentials": credentials, "endpoints": endpoints,
                "metadata": {"expires_at": expires}}),
        ),
        (
            "2.17",
            json!({"credentials": credentials, "endpoints": endpoints,
                "metadata": {"expires_at": expires, "renew_before": renew}}),
        ),
    ] {
        for (outcome, status) in [(Outcome::Done, 201), (Outcome::Unchanged, 200)] {
            app.fakes.binder.bind.answer(BindResponse {
                outcome: outcome.into(),
                operation: "bind-1-a".into(),
                binding: Some(binding()),
            });
            let answer = app.put(BINDING, &ids()).version(version).send().await;
            assert_eq!(*answer.granted(status), body);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
}

/// BND-06, BND-08 and trap 16.
#[tokio::test]
async fn an_accepted_bind_shows_the_operation_and_no_credentials() {
    let app = TestApp::start().await;
    app.fakes.binder.bind.answer(BindResponse {
        outcome: Outcome::Accepted.into(),
        operation: "bind-1-a".into(),
        binding: Some(binding()),
    });
    let answer = app.put(BINDING, &ids()).send().await;
    assert_eq!(*answer.granted(202), json!({"operation": "bind-1-a"}));
}

/// BND-14: success without the binding would lose the credentials for good.
#[tokio::test]
async fn a_bind_that_is_answered_without_the_binding_is_500() {
    let app = TestApp::start().await;
    app.fakes.binder.bind.answer(BindResponse {
        outcome: Outcome::Done.into(),
        ..Default::default()
    });
    app.put(BINDING, &ids()).send().await.refused(500);
}

/// GB-02 to GB-05.
#[tokio::test]
async fn a_fetched_binding_shows_its_parameters_too() {
    let app = TestApp::start().await;
    app.fakes.binder.fetch.answer(binding());
    let answer = app.get(BINDING).send().await;
    let body = answer.granted(200);
    assert_eq!(body["credentials"]["port"], 27017);
    assert_eq!(body["parameters"], json!({"roles": ["read"]}));
    for code in [ErrorCode::NotFound, ErrorCode::Gone] {
        app.fakes.binder.fetch.fail(code);
        app.get(BINDING).send().await.refused(404);
    }
}

/// UNB-01, UNB-05, and step 7 of the decision order: the binder judges missing
/// ids, since an unknown binding is 410 even without them.
#[tokio::test]
async fn an_unbind_without_its_ids_is_passed_on() {
    let app = TestApp::start().await;
    app.fakes.binder.unbind.fail(ErrorCode::Gone);
    for query in [
        "",
        "?service_id=s-1",
        "?plan_id=p-1",
        "?service_id=&plan_id=",
    ] {
        let path = format!("{BINDING}{query}");
        app.ask("DELETE", &path).send().await.refused(410);
        assert!(app.fakes.binder.unbind.asked().verdict.is_none());
    }
    app.fakes.binder.unbind.fail(ErrorCode::InvalidArgument);
    app.ask("DELETE", BINDING).send().await.refused(400);
}

/// UNB-03, UNB-04; a public suite sends `service_id` twice.
#[tokio::test]
async fn an_unbind_is_200_with_an_empty_object_or_202() {
    let app = TestApp::start().await;
    let path = format!("{BINDING}?{IDS}&service_id=s-1");
    let done = app.ask("DELETE", &path).send().await;
    assert_eq!(*done.granted(200), json!({}));
    let asked = app.fakes.binder.unbind.asked();
    assert_eq!(
        (asked.service_id.as_str(), asked.plan_id.as_str()),
        ("s-1", "p-1")
    );
    assert!(asked.verdict.is_some() && !asked.accepts_incomplete);

    app.fakes.binder.unbind.answer(UnbindResponse {
        outcome: Outcome::Accepted.into(),
        operation: "unbind-2-b".into(),
    });
    let accepted = app.ask("DELETE", &path).send().await;
    assert_eq!(*accepted.granted(202), json!({"operation": "unbind-2-b"}));
}
