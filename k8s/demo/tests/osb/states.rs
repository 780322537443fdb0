//! The state table of instances and of bindings over HTTP, every cell.

use serde_json::{Value, json};

use crate::platform::{Answer, Platform, incomplete, new_binding, new_instance};

/// A row: what PUT of the same, PUT of another, PATCH, DELETE, GET and a poll
/// answer; a word where there is one.
struct Row {
    state: &'static str,
    same: &'static str,
    other: &'static str,
    patch: &'static str,
    delete: &'static str,
    get: &'static str,
    poll: &'static str,
}

const fn row(state: &'static str, cells: [&'static str; 6]) -> Row {
    let [same, other, patch, delete, get, poll] = cells;
    Row {
        state,
        same,
        other,
        patch,
        delete,
        get,
        poll,
    }
}

const INSTANCES: [Row; 9] = [
    row(
        "unknown",
        [
            "202",
            "",
            "404 NotFound",
            "410 Gone",
            "404 NotFound",
            "404 NotFound",
        ],
    ),
    row(
        "provisioning",
        [
            "202 same",
            "409 Conflict",
            "422 ConcurrencyError",
            "202",
            "404 NotFound",
            "in progress",
        ],
    ),
    row(
        "provisioned",
        ["200", "409 Conflict", "202", "202", "200", "succeeded"],
    ),
    row(
        "provision failed",
        [
            "202 same",
            "409 Conflict",
            "422 UpdateNotSupported",
            "202",
            "404 NotFound",
            "failed",
        ],
    ),
    row(
        "updating",
        [
            "422 ConcurrencyError",
            "409 Conflict",
            "422 ConcurrencyError",
            "202",
            "200",
            "in progress",
        ],
    ),
    row(
        "update failed",
        ["200", "409 Conflict", "202", "202", "200", "failed"],
    ),
    row(
        "deprovisioning",
        [
            "422 ConcurrencyError",
            "422 ConcurrencyError",
            "422 ConcurrencyError",
            "202 same",
            "422 ConcurrencyError",
            "in progress",
        ],
    ),
    row(
        "deprovision failed",
        [
            "422 ConcurrencyError",
            "409 Conflict",
            "422 UpdateNotSupported",
            "202",
            "200",
            "failed",
        ],
    ),
    row(
        "deleted",
        [
            "202",
            "",
            "404 NotFound",
            "410 Gone",
            "404 NotFound",
            "succeeded",
        ],
    ),
];

/// An instance of a state, its plan, what it was ordered with, and its operation.
async fn made(platform: &Platform, state: &str) -> (String, &'static str, Value, String) {
    let open = json!({});
    let shut = json!({"gate": "shut"});
    match state {
        "unknown" => (new_instance(), "polled", open, String::new()),
        "provisioning" => {
            let (path, operation) = platform.waiting().await;
            (path, "polled", shut, operation)
        }
        "provisioned" => (
            platform.instance("polled").await,
            "polled",
            open,
            String::new(),
        ),
        "provision failed" => {
            let (path, operation) = platform.failed().await;
            (path, "polled", json!({"gate": "broken"}), operation)
        }
        "updating" => {
            let path = platform.instance("polled").await;
            let operation = platform.updating(&path).await;
            (path, "polled", open, operation)
        }
        "update failed" => {
            let path = platform.instance("polled").await;
            let body = platform.change(json!({"gate": "broken"}));
            let answer = platform.patch(&incomplete(&path), &body).await.expect(202);
            platform.ended(&path, &answer.operation()).await;
            (path, "polled", open, String::new())
        }
        "deprovisioning" => {
            let path = platform.instance("polled").await;
            platform.hold(&path).await;
            let answer = platform.remove(&path, "polled").await.expect(202);
            (path, "polled", open, answer.operation())
        }
        "deprovision failed" => {
            let path = platform.instance("hasty").await;
            platform.hold(&path).await;
            let answer = platform.remove(&path, "hasty").await.expect(202);
            platform.ended(&path, &answer.operation()).await;
            (path, "hasty", open, String::new())
        }
        "deleted" => {
            let path = platform.instance("polled").await;
            let answer = platform.remove(&path, "polled").await.expect(202);
            platform.ended(&path, &answer.operation()).await;
            (path, "polled", open, String::new())
        }
        other => panic!("no such state: {other}"),
    }
}

fn shown(answer: &Answer, operation: &str) -> String {
    match &answer.body["error"] {
        Value::String(word) => format!("{} {word}", answer.status),
        _ if answer.has("state") => answer.state().to_owned(),
        _ if !operation.is_empty() && answer.body["operation"] == operation => {
            format!("{} same", answer.status)
        }
        _ => answer.status.to_string(),
    }
}

/// What a state leaves behind is let go, so that nothing hangs.
async fn let_go(platform: &Platform, state: &str, path: &str) {
    if state.starts_with("deprovision") {
        platform.release(path).await;
    }
}

#[tokio::test]
async fn the_state_table_of_instances_holds_in_every_cell() {
    let platform = Platform::new().await;
    let check = async |row: &'static Row| {
        let (path, plan, sent, operation) = made(&platform, row.state).await;
        let order = platform.order(plan, sent);
        let mut rival = order.clone();
        rival["space_guid"] = json!("another");
        let change = platform.change(json!({"size": "M"}));
        let mut cells = vec![
            ("GET", row.get, platform.get(&path).await),
            ("poll", row.poll, platform.poll(&path, "").await),
        ];
        if !row.other.is_empty() {
            let same = platform.put(&incomplete(&path), &order).await;
            cells.push(("PUT =", row.same, same));
            let other = platform.put(&incomplete(&path), &rival).await;
            cells.push(("PUT !=", row.other, other));
        }
        // These may change the state: last, and each on an instance of its own.
        let patched = platform.patch(&incomplete(&path), &change).await;
        let moved = patched.status == 202;
        cells.push(("PATCH", row.patch, patched));
        let (path, operation) = if moved {
            let (path, _, _, operation) = made(&platform, row.state).await;
            (path, operation)
        } else {
            (path, operation)
        };
        let deleted = platform.remove(&path, plan).await;
        cells.push(("DELETE", row.delete, deleted));
        if row.other.is_empty() {
            let same = platform.put(&incomplete(&path), &order).await;
            cells.push(("PUT", row.same, same));
        }
        for (request, expected, answer) in cells {
            assert_eq!(
                shown(&answer, &operation),
                expected,
                "{request} while {}",
                row.state
            );
        }
        let_go(&platform, row.state, &path).await;
    };
    futures::future::join_all(INSTANCES.iter().map(check)).await;
}

/// Two binds that differ.
fn rivals(platform: &Platform, plan: &str) -> [Value; 2] {
    let body = platform.login(plan);
    let mut rival = body.clone();
    rival["bind_resource"] = json!({"app_guid": "another"});
    [body, rival]
}

/// The same for bindings: PUT of the same, of another, DELETE, GET, poll.
#[tokio::test]
async fn the_state_table_of_bindings_holds_where_nothing_is_in_progress() {
    let platform = Platform::new().await;
    let instance = platform.instance("instant").await;
    let [body, rival] = rivals(&platform, "instant");
    // Unknown.
    let path = new_binding(&instance);
    platform.get(&path).await.refused(404, "NotFound");
    platform.poll(&path, "").await.refused(404, "NotFound");
    platform.remove(&path, "instant").await.refused(410, "Gone");
    // Bound.
    platform.put(&path, &body).await.expect(201);
    platform.get(&path).await.expect(200);
    assert_eq!(
        platform.poll(&path, "").await.expect(200).state(),
        "succeeded"
    );
    platform.put(&path, &body).await.expect(200);
    platform.put(&path, &rival).await.refused(409, "Conflict");
    // Deleted.
    platform.remove(&path, "instant").await.expect(200);
    platform.get(&path).await.refused(404, "NotFound");
    assert_eq!(
        platform.poll(&path, "").await.expect(200).state(),
        "succeeded"
    );
    platform.remove(&path, "instant").await.refused(410, "Gone");
    platform.put(&path, &rival).await.expect(201);
    // On an instance that is going, has failed, or is gone.
    let (waiting, _) = platform.waiting().await;
    let login = platform.login("polled");
    let on = async |instance: &str| platform.put(&new_binding(instance), &login).await;
    on(&waiting).await.refused(422, "ConcurrencyError");
    let updating = platform.instance("polled").await;
    platform.updating(&updating).await;
    on(&updating).await.refused(422, "ConcurrencyError");
    let held = platform.instance("polled").await;
    platform.hold(&held).await;
    platform.remove(&held, "polled").await.expect(202);
    on(&held).await.refused(422, "ConcurrencyError");
    platform.release(&held).await;
    on(&platform.failed().await.0)
        .await
        .refused(404, "NotFound");
    on(&new_instance()).await.refused(404, "NotFound");
}

/// The states in progress, held still: the database takes no writes.
#[tokio::test]
async fn the_state_table_of_bindings_holds_while_something_is_in_progress() {
    let platform = Platform::new().await;
    let instance = platform.instance("stalled").await;
    let [body, rival] = rivals(&platform, "stalled");
    let put = async |path: &str, body: &Value| platform.put(&incomplete(path), body).await;
    let state = async |path: &str, operation: &str| {
        let answer = platform.poll(path, operation).await.expect(200);
        answer.state().to_owned()
    };
    let leaving = new_binding(&instance);
    let bind = put(&leaving, &body).await.expect(202).operation();
    platform.ended(&leaving, &bind).await;
    let stalled = platform.stack.stall().await;
    // Binding.
    let path = new_binding(&instance);
    let bind = put(&path, &body).await.expect(202).operation();
    assert_eq!(put(&path, &body).await.expect(202).operation(), bind);
    put(&path, &rival).await.refused(409, "Conflict");
    platform.get(&path).await.refused(404, "NotFound");
    assert_eq!(state(&path, &bind).await, "in progress");
    // Unbinding.
    let remove = async |path: &str| platform.remove(path, "stalled").await.expect(202);
    let unbind = remove(&leaving).await.operation();
    assert_eq!(remove(&leaving).await.operation(), unbind);
    for body in [&body, &rival] {
        let answer = put(&leaving, body).await;
        answer.refused(422, "ConcurrencyError");
    }
    let answer = platform.get(&leaving).await;
    answer.refused(422, "ConcurrencyError");
    assert_eq!(state(&leaving, &unbind).await, "in progress");
    // Unbound while binding.
    let halt = remove(&path).await.operation();
    assert_ne!(halt, bind);
    assert_eq!(state(&path, &bind).await, "failed");
    assert_eq!(state(&path, &halt).await, "in progress");
    stalled.go_on().await;
    for (path, operation) in [(&leaving, &unbind), (&path, &halt)] {
        platform.ended(path, operation).await;
        assert_eq!(state(path, operation).await, "succeeded");
        platform.get(path).await.refused(404, "NotFound");
    }
}

/// BND-09, a bind that failed: the same again names the operation that tells
/// why, and an unbind is accepted.
#[tokio::test]
async fn the_state_table_of_bindings_holds_after_a_failure() {
    let platform = Platform::new().await;
    let instance = platform.instance("astray").await;
    let [body, rival] = rivals(&platform, "astray");
    let path = new_binding(&instance);
    let put = async |body: &Value| platform.put(&incomplete(&path), body).await;
    let bind = put(&body).await.expect(202).operation();
    platform.ended(&path, &bind).await;
    assert_eq!(
        platform.poll(&path, &bind).await.expect(200).state(),
        "failed"
    );
    assert_eq!(put(&body).await.expect(202).operation(), bind);
    put(&rival).await.refused(409, "Conflict");
    let told = platform.poll(&path, &bind).await.expect(200);
    assert!(!told.text("description").is_empty());
    platform.get(&path).await.refused(404, "NotFound");
    // Whether there is a user is not known: that is asked for a while.
    let unbind = platform.remove(&path, "astray").await.expect(202);
    assert_ne!(unbind.operation(), bind);
}
