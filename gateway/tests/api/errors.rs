//! Failures: unknown routes, the services' errors, and time.

use std::time::Duration;

use broker_proto::{Error, ErrorCode};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    app::{BINDING, IDS, INSTANCE, TestApp},
    fakes::Fakes,
};

/// E-02, C-01.
#[tokio::test]
async fn unknown_paths_and_methods_are_json_errors() {
    let app = TestApp::start().await;
    for path in [
        "/",
        "/v2",
        "/v2/catalog/",
        "/v2/service_instances",
        "/v2/service_instances/",
        "/v2/service_instances/i/service_bindings",
        "/v2/service_instances/i/service_bindings/",
        "/metrics",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            app.ask(method, path).send().await.refused(404);
        }
    }
    let empty_id = app.get("/v2/service_instances//last_operation");
    empty_id.send().await.refused(400);
    for (method, path, allow) in [
        ("POST", "/v2/catalog", "GET,HEAD"),
        ("PUT", "/v2/service_instances/i/last_operation", "GET,HEAD"),
        ("POST", INSTANCE, "PUT,PATCH,DELETE,GET,HEAD"),
        ("PATCH", BINDING, "PUT,DELETE,GET,HEAD"),
        ("BREW", BINDING, "PUT,DELETE,GET,HEAD"),
    ] {
        let answer = app.ask(method, path).send().await;
        answer.refused(405);
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

/// E-03 to E-07: the four words, through the whole stack.
#[tokio::test]
async fn the_four_fixed_error_words_arrive() {
    let app = TestApp::start().await;
    let body = json!({"service_id": "s-1", "plan_id": "p-1", "organization_guid": "o",
        "space_guid": "s"});
    for (code, word) in [
        (ErrorCode::AsyncRequired, "AsyncRequired"),
        (ErrorCode::ConcurrencyError, "ConcurrencyError"),
        (ErrorCode::RequiresApp, "RequiresApp"),
        (
            ErrorCode::MaintenanceInfoConflict,
            "MaintenanceInfoConflict",
        ),
    ] {
        app.fakes.provisioner.provision.fail(code);
        app.fakes.binder.bind.fail(code);
        for path in [INSTANCE, BINDING] {
            let answer = app.put(path, &body).send().await;
            assert_eq!(answer.refused(422), "What the user should know.");
            assert_eq!(answer.body["error"], word);
        }
    }
}

/// E-11, E-12, UPD-16, DEP-12.
#[tokio::test]
async fn a_failed_update_and_deprovision_tell_what_is_left() {
    let app = TestApp::start().await;
    let failure = Error {
        instance_usable: Some(false),
        update_repeatable: Some(false),
        ..Error::new(ErrorCode::UpdateNotSupported, "No.")
    };
    app.fakes.provisioner.update.fail_with(failure.clone());
    app.fakes.provisioner.deprovision.fail_with(failure.clone());
    app.fakes.binder.unbind.fail_with(failure);
    let flags =
        |body: &Value| ["instance_usable", "update_repeatable"].map(|key| body.get(key).is_some());
    let patch = || {
        app.ask("PATCH", INSTANCE)
            .json(&json!({"service_id": "s-1"}))
    };
    let update = patch().send().await;
    assert_eq!(update.refused(422), "No.");
    assert_eq!(flags(&update.body), [true, true]);
    assert_eq!(
        flags(&patch().version("2.15").send().await.body),
        [false, false]
    );
    let deprovision = app.ask("DELETE", &format!("{INSTANCE}?{IDS}")).send().await;
    assert_eq!(flags(&deprovision.body), [true, false]);
    let unbind = app.ask("DELETE", &format!("{BINDING}?{IDS}")).send().await;
    assert_eq!(flags(&unbind.body), [false, false]);
}

/// Section 2.2: neither a 401 of the broker's own services nor the text of
/// its transport reaches the platform.
#[tokio::test]
async fn a_foreign_status_is_ours_and_never_shows_its_text() {
    let app = TestApp::start().await;
    for (code, expected) in [
        (Code::Unauthenticated, 500),
        (Code::PermissionDenied, 500),
        (Code::Aborted, 500),
        (Code::AlreadyExists, 500),
        (Code::NotFound, 500),
        (Code::Unimplemented, 500),
        (Code::Unavailable, 503),
        (Code::DeadlineExceeded, 504),
        (Code::Cancelled, 503),
    ] {
        let status = Status::new(code, "dial tcp 10.0.0.7: hunter2");
        app.fakes.provisioner.fetch.fail_with(status);
        let answer = app.get(INSTANCE).send().await;
        answer.refused(expected);
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("hunter2"));
        assert_eq!(answer.header("retry-after").is_some(), expected == 503);
    }
}

/// Section 2.2: 504, never 408, which tells platforms that nothing was begun.
#[tokio::test]
async fn a_call_that_takes_too_long_is_504() {
    let app = TestApp::start_with(|args| {
        args.peers.write_deadline = Duration::from_millis(200);
        args.peers.read_deadline = Duration::from_millis(200);
    })
    .await;
    app.fakes.binder.bind.delay(Duration::from_secs(30));
    app.fakes.binder.fetch.delay(Duration::from_secs(30));
    let body = json!({"service_id": "s-1", "plan_id": "p-1"});
    app.put(BINDING, &body).send().await.refused(504);
    app.get(BINDING).send().await.refused(504);
}

#[tokio::test]
async fn a_service_that_is_away_is_503_and_others_are_served_on() {
    let app = TestApp::start_with(|args| {
        args.peers.binder = "127.0.0.1:1".into();
        args.peers.read_deadline = Duration::from_secs(2);
    })
    .await;
    let answer = app.get(BINDING).send().await;
    answer.refused(503);
    app.get(INSTANCE).send().await.granted(200);
}

/// What was never sent may be sent again; what was sent may not.
#[tokio::test]
async fn a_change_is_tried_again_only_while_no_connection_comes_about() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let app = TestApp::start_with(|args| args.peers.binder.clone_from(&address)).await;
    let body = json!({"service_id": "s-1", "plan_id": "p-1"});
    let bind = tokio::spawn(app.put(BINDING, &body).send());
    tokio::time::sleep(Duration::from_millis(60)).await;
    let late = Fakes::start_at(&address, None).await;
    bind.await.unwrap().granted(202);
    assert_eq!(late.binder.bind.count(), 1);

    late.binder.bind.fail(ErrorCode::Unavailable);
    app.put(BINDING, &body).send().await.refused(503);
    assert_eq!(late.binder.bind.count(), 2);
}

#[tokio::test]
async fn more_requests_than_allowed_at_a_time_are_503() {
    let app = TestApp::start_with(|args| args.http.max_in_flight = 1).await;
    app.fakes
        .provisioner
        .fetch
        .delay(Duration::from_millis(500));
    let slow = tokio::spawn(app.get(INSTANCE).send());
    while app.fakes.provisioner.fetch.count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = app.get("/v2/catalog").send().await;
    answer.refused(503);
    assert!(answer.header("retry-after").is_some());
    slow.await.unwrap().granted(200);
    app.get("/v2/catalog").send().await.granted(200);
}
