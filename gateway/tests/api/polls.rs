//! `last_operation` of instances and bindings.

use broker_proto::{ErrorCode, v1::OperationState};
use gateway::PollTerminal;
use serde_json::json;

use crate::{
    app::{BINDING, INSTANCE, TestApp},
    fakes::status,
};

/// LOI-01, LOI-02, LOI-10, LOB-01, LOB-07, trap 20.
#[tokio::test]
async fn a_poll_tells_the_state_and_when_to_come_back() {
    let app = TestApp::start().await;
    for (state, word, retry) in [
        (OperationState::InProgress, "in progress", Some("7")),
        (OperationState::Succeeded, "succeeded", None),
        (OperationState::Failed, "failed", None),
    ] {
        app.fakes
            .provisioner
            .poll
            .answer(status("create-1-a", state));
        app.fakes.binder.poll.answer(status("bind-1-a", state));
        for path in [INSTANCE, BINDING] {
            let answer = app.get(&format!("{path}/last_operation")).send().await;
            let expected = json!({"state": word, "description": "2 of 3 members ready"});
            assert_eq!(*answer.granted(200), expected);
            assert_eq!(answer.header("retry-after"), retry);
        }
    }
    let mut silent = status("create-1-a", OperationState::Succeeded);
    silent.description.clear();
    app.fakes.provisioner.poll.answer(silent);
    let answer = app.get(&format!("{INSTANCE}/last_operation")).send().await;
    assert_eq!(*answer.granted(200), json!({"state": "succeeded"}));
}

/// LOI-06, LOI-07, LOB-05, trap 6, trap 8: hints are never looked at, and any
/// operation is passed on.
#[tokio::test]
async fn a_poll_passes_the_operation_on_and_needs_no_hints() {
    let app = TestApp::start().await;
    for (query, operation) in [
        ("", ""),
        ("?operation=", ""),
        ("?operation=create-1-a", "create-1-a"),
        ("?service_id=x&plan_id=&operation=provision", "provision"),
        ("?service_id=a&service_id=b&operation=a%2Fb", "a/b"),
    ] {
        app.get(&format!("{INSTANCE}/last_operation{query}"))
            .send()
            .await
            .granted(200);
        let asked = app.fakes.provisioner.poll.asked();
        assert_eq!(
            (asked.instance_id.as_str(), asked.operation.as_str()),
            ("i-1", operation)
        );
        app.get(&format!("{BINDING}/last_operation{query}"))
            .send()
            .await
            .granted(200);
        let asked = app.fakes.binder.poll.asked();
        assert_eq!(
            (asked.binding_id.as_str(), asked.operation.as_str()),
            ("b-1", operation)
        );
    }
}

/// LIM-01: an operation of the longest legal size passes.
#[tokio::test]
async fn an_operation_of_ten_thousand_characters_is_passed_on() {
    let app = TestApp::start().await;
    let operation = "%C3%BC".repeat(10_000);
    let path = format!("{INSTANCE}/last_operation?operation={operation}");
    app.get(&path).send().await.granted(200);
    assert_eq!(
        app.fakes.provisioner.poll.asked().operation,
        "ü".repeat(10_000)
    );
}

/// LOI-03, LOI-04, LOB-02, LOB-03.
#[tokio::test]
async fn a_poll_of_nothing_is_404_and_of_what_is_gone_410() {
    let app = TestApp::start().await;
    for (code, expected) in [(ErrorCode::NotFound, 404), (ErrorCode::Gone, 410)] {
        app.fakes.provisioner.poll.fail(code);
        app.fakes.binder.poll.fail(code);
        for path in [INSTANCE, BINDING] {
            let path = format!("{path}/last_operation");
            app.get(&path).send().await.refused(expected);
        }
    }
}

/// Trap 4: public suites disagree, so it is a setting.
#[tokio::test]
async fn a_finished_delete_is_410_where_that_is_configured() {
    let app = TestApp::start_with(|args| {
        args.http.deprovision_poll_terminal = PollTerminal::Gone;
    })
    .await;
    let path = format!("{INSTANCE}/last_operation");
    for (operation, state, expected) in [
        ("delete-2-b", OperationState::Succeeded, 410),
        ("delete-2-b", OperationState::InProgress, 200),
        ("delete-2-b", OperationState::Failed, 200),
        ("update-2-b", OperationState::Succeeded, 200),
    ] {
        app.fakes.provisioner.poll.answer(status(operation, state));
        assert_eq!(app.get(&path).send().await.status.as_u16(), expected);
    }
    app.fakes
        .binder
        .poll
        .answer(status("unbind-2-b", OperationState::Succeeded));
    let path = format!("{BINDING}/last_operation");
    app.get(&path).send().await.refused(410);
}

#[tokio::test]
async fn a_service_that_is_up_and_says_unavailable_is_asked_once() {
    let app = TestApp::start().await;
    let path = format!("{INSTANCE}/last_operation");
    app.fakes.provisioner.poll.fail(ErrorCode::Unavailable);
    app.get(&path).send().await.refused(503);
    assert_eq!(app.fakes.provisioner.poll.count(), 1);
}
