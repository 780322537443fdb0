//! What a body may be.

use serde_json::{Value, json};

use crate::app::{BINDING, INSTANCE, TestApp};

fn provision() -> Value {
    json!({"service_id": "s-1", "plan_id": "p-1", "organization_guid": "o", "space_guid": "s"})
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

/// C-02, C-03.
#[tokio::test]
async fn a_body_needs_no_content_type_but_a_wrong_one_is_400() {
    let app = TestApp::start().await;
    let ask = || app.ask("PUT", INSTANCE).body(provision().to_string());
    ask().send().await.granted(202);
    let json = ask().header("content-type", "application/json; charset=utf-8");
    json.send().await.granted(202);
    let text = ask().header("content-type", "text/plain").send().await;
    assert!(text.refused(400).contains("application/json"));
}

/// PRO-15, UPD-10, BND-13, E-02.
#[tokio::test]
async fn a_body_that_is_no_json_object_is_400() {
    let app = TestApp::start().await;
    for (method, path) in [("PUT", INSTANCE), ("PATCH", INSTANCE), ("PUT", BINDING)] {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{}{}",
            "{\"a\":1,\"a\":2}",
            "\u{0}",
        ] {
            let answer = app.ask(method, path).body(body).send().await;
            assert!(answer.refused(400).contains("JSON"), "{body}");
        }
        let deep = format!("{{\"parameters\":{}", "[".repeat(2000));
        app.ask(method, path).body(deep).send().await.refused(400);
        app.ask(method, path)
            .body(vec![0xff, 0xfe])
            .send()
            .await
            .refused(400);
    }
    assert_eq!(app.fakes.provisioner.provision.count(), 0);
}

/// LIM-06.
#[tokio::test]
async fn a_body_beyond_the_limit_is_413_with_and_without_a_declared_length() {
    let app = TestApp::start().await;
    let body = with(provision(), "x", json!("x".repeat(70 * 1024))).to_string();
    let declared = app.ask("PUT", INSTANCE).header("content-length", "71680");
    declared.body(body.clone()).send().await.refused(413);
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(body)]);
    let streamed = axum::body::Body::from_stream(chunks);
    let answer = app.ask("PUT", INSTANCE).body(streamed).send().await;
    assert!(answer.refused(413).contains("65536"));
}

/// H-10.
#[tokio::test]
async fn unknown_fields_are_ignored_whatever_they_hold() {
    let app = TestApp::start().await;
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let mut body = with(provision(), "vendor", json!({"big": 1e300, "deep": deep}));
    body["maintenance_info"] = json!({"version": "1.0.0+a", "x": [], "description": 3});
    body["context"] = json!({"platform": "elsewhere", "x": {"y": null}});
    app.put(INSTANCE, &body).send().await.granted(202);
    let asked = app.fakes.provisioner.provision.asked();
    assert_eq!(asked.maintenance_version.as_deref(), Some("1.0.0+a"));
}

/// PRO-02 to PRO-06.
#[tokio::test]
async fn a_provision_without_a_mandatory_field_is_400_that_names_it() {
    let app = TestApp::start().await;
    for field in ["service_id", "plan_id", "organization_guid", "space_guid"] {
        let mut absent = provision();
        absent.as_object_mut().unwrap().remove(field);
        let bodies = [
            absent,
            with(provision(), field, json!(null)),
            with(provision(), field, json!("")),
            with(provision(), field, json!(7)),
            with(provision(), field, json!({})),
        ];
        for body in bodies {
            let answer = app.put(INSTANCE, &body).send().await;
            assert!(answer.refused(400).contains(&format!("/{field} ")));
        }
    }
    for (field, value, place) in [
        ("context", json!("x"), "/context "),
        ("parameters", json!([]), "/parameters "),
        ("maintenance_info", json!("1.0.0"), "/maintenance_info "),
        (
            "maintenance_info",
            json!({"version": 1}),
            "/maintenance_info/version ",
        ),
        (
            "maintenance_info",
            json!({"version": ""}),
            "/maintenance_info/version ",
        ),
    ] {
        let body = with(provision(), field, value);
        let answer = app.put(INSTANCE, &body).send().await;
        assert!(answer.refused(400).contains(place), "{}", answer.body);
    }
    assert_eq!(app.fakes.provisioner.provision.count(), 0);
}

/// UPD-01, UPD-02.
#[tokio::test]
async fn an_update_needs_a_service_and_takes_no_empty_plan() {
    let app = TestApp::start().await;
    for (body, place) in [
        (json!({}), "/service_id "),
        (json!({"service_id": ""}), "/service_id "),
        (json!({"service_id": "s-1", "plan_id": ""}), "/plan_id "),
        (json!({"service_id": "s-1", "plan_id": 1}), "/plan_id "),
        (
            json!({"service_id": "s-1", "parameters": "x"}),
            "/parameters ",
        ),
    ] {
        let answer = app.ask("PATCH", INSTANCE).json(&body).send().await;
        assert!(answer.refused(400).contains(place), "{}", answer.body);
    }
    assert_eq!(app.fakes.provisioner.update.count(), 0);
}

/// BND-02, BND-03.
#[tokio::test]
async fn a_bind_without_a_mandatory_field_is_400_that_names_it() {
    let app = TestApp::start().await;
    let ids = json!({"service_id": "s-1", "plan_id": "p-1"});
    for (body, place) in [
        (json!({}), "/service_id "),
        (json!({"service_id": "s-1"}), "/plan_id "),
        (
            json!({"service_id": null, "plan_id": "p-1"}),
            "/service_id ",
        ),
        (
            with(ids.clone(), "bind_resource", json!([])),
            "/bind_resource ",
        ),
        (
            with(ids.clone(), "bind_resource", json!({"app_guid": 1})),
            "/bind_resource/app_guid ",
        ),
        (with(ids.clone(), "app_guid", json!({})), "/app_guid "),
        (with(ids.clone(), "parameters", json!(1)), "/parameters "),
        (with(ids.clone(), "context", json!(true)), "/context "),
        (
            with(ids, "predecessor_binding_id", json!("")),
            "/predecessor_binding_id ",
        ),
    ] {
        let answer = app.put(BINDING, &body).send().await;
        assert!(answer.refused(400).contains(place), "{}", answer.body);
    }
    assert_eq!(app.fakes.binder.bind.count(), 0);
}

#[tokio::test]
async fn what_a_double_cannot_hold_and_what_nests_too_deep_is_400_with_its_pointer() {
    let app = TestApp::start().await;
    let deep = (0..20).fold(json!({}), |inner, _| json!({ "a": inner }));
    for (field, value, place) in [
        (
            "parameters",
            r#"{"a":[{"b/c":9007199254740993}]}"#.to_owned(),
            "/parameters/a/0/b~1c ",
        ),
        (
            "parameters",
            r#"{"n":-123456789012345678901}"#.to_owned(),
            "/parameters/n ",
        ),
        ("context", r#"{"n":1e17}"#.to_owned(), "/context/n "),
        ("parameters", deep.to_string(), "/parameters/a/a/"),
    ] {
        let mut body = provision().to_string();
        body.truncate(body.len() - 1);
        let body = format!("{body},\"{field}\":{value}}}");
        let answer = app.ask("PUT", INSTANCE).body(body).send().await;
        assert!(answer.refused(400).contains(place), "{}", answer.body);
    }
}
