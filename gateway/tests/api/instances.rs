//! Instances: what is passed on, and how the answers look.

use broker_proto::{
    ErrorCode,
    json::{from_struct, to_struct},
    v1::{
        DeprovisionResponse, FetchInstanceResponse, InstanceMetadata, Outcome, ProvisionResponse,
        UpdateResponse, catalog_verdict,
    },
};
use serde_json::{Value, json};

use crate::app::{IDS, INSTANCE, TestApp};

fn provision() -> Value {
    json!({
        "service_id": "s-1", "plan_id": "p-1", "organization_guid": "o", "space_guid": "s",
        "context": {"platform": "cloudfoundry"}, "parameters": {"version": "8.0", "n": 3},
        "maintenance_info": {"version": "1.0.0+a"}
    })
}

fn metadata() -> Option<InstanceMetadata> {
    let Value::Object(attributes) = json!({"a": 1}) else {
        return None;
    };
    Some(InstanceMetadata {
        labels: [("k".to_owned(), "v".to_owned())].into(),
        attributes: Some(to_struct(&attributes).unwrap()),
    })
}

/// PRO-02 to PRO-06: everything reaches the provisioner, the verdict with it.
#[tokio::test]
async fn a_provision_is_passed_on_whole() {
    let app = TestApp::start().await;
    let path = format!("{INSTANCE}?accepts_incomplete=true");
    app.put(&path, &provision()).send().await.granted(202);
    let asked = app.fakes.provisioner.provision.asked();
    assert_eq!(asked.instance_id, "i-1");
    assert_eq!(
        (asked.service_id.as_str(), asked.plan_id.as_str()),
        ("s-1", "p-1")
    );
    assert_eq!(
        (asked.organization_guid.as_str(), asked.space_guid.as_str()),
        ("o", "s")
    );
    assert_eq!(
        json!(from_struct(asked.parameters.unwrap())),
        provision()["parameters"]
    );
    assert_eq!(
        json!(from_struct(asked.context.unwrap())),
        provision()["context"]
    );
    assert_eq!(asked.maintenance_version.as_deref(), Some("1.0.0+a"));
    assert!(asked.accepts_incomplete);
    let verdict = asked.verdict.unwrap();
    assert_eq!(verdict.outcome(), catalog_verdict::Outcome::Found);
    assert_eq!(verdict.bundle_digest, "digest-p-1");
    assert_eq!(verdict.maintenance_version, "1.0.0+a");
    assert!(verdict.provision_async && !verdict.binding_async);
}

/// PRO-02, PRO-03: the catalog's opinion decides only where no record does,
/// so it is told and not acted on.
#[tokio::test]
async fn unknown_ids_are_passed_on_as_unknown() {
    let app = TestApp::start().await;
    app.fakes.provisioner.provision.fail(ErrorCode::UnknownPlan);
    for (service, plan, outcome) in [
        ("none", "p-1", catalog_verdict::Outcome::UnknownService),
        ("s-1", "p-3", catalog_verdict::Outcome::UnknownPlan),
    ] {
        let mut body = provision();
        body["service_id"] = json!(service);
        body["plan_id"] = json!(plan);
        app.put(INSTANCE, &body).send().await.refused(400);
        let asked = app.fakes.provisioner.provision.asked();
        assert_eq!(asked.verdict.unwrap().outcome(), outcome);
    }
}

/// PRO-08 to PRO-11, PRO-16, PRO-18, ASY-02, ASY-05, trap 3, trap 26.
#[tokio::test]
async fn a_provision_is_answered_by_its_outcome_and_the_platforms_version() {
    let app = TestApp::start().await;
    for (outcome, version, status, body) in [
        (
            Outcome::Done,
            "2.15",
            201,
            json!({"dashboard_url": "http://d"}),
        ),
        (
            Outcome::Unchanged,
            "2.16",
            200,
            json!({"dashboard_url": "http://d", "metadata": {"labels": {"k": "v"}}}),
        ),
        (
            Outcome::Accepted,
            "2.17",
            202,
            json!({"operation": "create-1-a", "dashboard_url": "http://d",
                "metadata": {"labels": {"k": "v"}, "attributes": {"a": 1}}}),
        ),
    ] {
        app.fakes.provisioner.provision.answer(ProvisionResponse {
            outcome: outcome.into(),
            operation: "create-1-a".into(),
            dashboard_url: "http://d".into(),
            metadata: metadata(),
        });
        let answer = app
            .put(INSTANCE, &provision())
            .version(version)
            .send()
            .await;
        assert_eq!(*answer.granted(status), body);
    }
    app.fakes.provisioner.provision.answer(ProvisionResponse {
        outcome: Outcome::Done.into(),
        ..Default::default()
    });
    assert_eq!(
        *app.put(INSTANCE, &provision()).send().await.granted(201),
        json!({})
    );
}

/// E-01: a service that breaks the contract is our fault, not a success.
#[tokio::test]
async fn an_answer_without_an_outcome_is_500() {
    let app = TestApp::start().await;
    app.fakes
        .provisioner
        .provision
        .answer(ProvisionResponse::default());
    app.put(INSTANCE, &provision()).send().await.refused(500);
}

/// U-02: ids are decoded once, a slash in them included.
#[tokio::test]
async fn ids_are_percent_decoded_exactly_once() {
    let app = TestApp::start().await;
    for (raw, id) in [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a+b%20c", "a+b c"),
        ("%C3%BC~._-", "ü~._-"),
        ("%", "%"),
    ] {
        let path = format!("/v2/service_instances/{raw}");
        app.get(&path).send().await.granted(200);
        assert_eq!(app.fakes.provisioner.fetch.asked().instance_id, id);
    }
    let path = "/v2/service_instances/x%2Fy/service_bindings/%2F%3F";
    app.get(path).send().await.granted(200);
    let asked = app.fakes.binder.fetch.asked();
    assert_eq!(
        (asked.instance_id.as_str(), asked.binding_id.as_str()),
        ("x/y", "/?")
    );

    let bad = app.get("/v2/service_instances/%FF").send().await;
    assert!(bad.refused(400).contains("UTF-8"));
    let long = format!("/v2/service_instances/{}", "x".repeat(3000));
    app.get(&long).send().await.refused(400);
    // Templates mark values with these, so that no plan could use such an id.
    for path in [
        "/v2/service_instances/a%EE%80%80",
        "/v2/service_instances/i/service_bindings/%EE%80%81b",
    ] {
        let reserved = app.get(path).send().await;
        assert!(reserved.refused(400).contains("U+E000"));
    }
    // A newline, NUL, ESC, a line separator, a change of direction: not in a log line or a table.
    for part in ["%0A", "%00", "%1B%5B2J", "%E2%80%A8", "%E2%80%AE"] {
        let path = format!("/v2/service_instances/a{part}b");
        let hidden = app.get(&path).send().await;
        assert!(hidden.refused(400).contains("not shown"), "{part}");
    }
}

/// UPD-02, UPD-03, UPD-05, trap 13: absent stays absent.
#[tokio::test]
async fn an_update_tells_absent_from_empty() {
    let app = TestApp::start().await;
    let patch = async |body: Value| {
        app.ask("PATCH", INSTANCE)
            .json(&body)
            .send()
            .await
            .granted(202);
        app.fakes.provisioner.update.asked()
    };
    let bare = patch(json!({"service_id": "s-1", "previous_values": 7})).await;
    assert!(bare.plan_id.is_none() && bare.parameters.is_none() && bare.context.is_none());
    assert!(bare.maintenance_version.is_none() && bare.verdict.is_none());
    assert!(!bare.accepts_incomplete);

    let null = patch(json!({"service_id": "s-1", "plan_id": null, "parameters": null})).await;
    assert!(null.plan_id.is_none() && null.parameters.is_none());

    let full = patch(
        json!({"service_id": "s-1", "plan_id": "p-2", "parameters": {},
        "context": {"platform": "x"}, "maintenance_info": {"version": "Invalid"}}),
    )
    .await;
    assert!(full.parameters.unwrap().fields.is_empty());
    assert_eq!(full.plan_id.as_deref(), Some("p-2"));
    assert_eq!(full.maintenance_version.as_deref(), Some("Invalid"));
    assert_eq!(full.verdict.unwrap().bundle_digest, "digest-p-2");
    assert!(full.context.is_some());
}

/// UPD-07 to UPD-09, UPD-17 to UPD-19.
#[tokio::test]
async fn an_update_is_200_or_202() {
    let app = TestApp::start().await;
    for (outcome, status, body) in [
        (Outcome::Done, 200, json!({})),
        (Outcome::Unchanged, 200, json!({})),
        (Outcome::Accepted, 202, json!({"operation": "update-2-b"})),
    ] {
        app.fakes.provisioner.update.answer(UpdateResponse {
            outcome: outcome.into(),
            operation: "update-2-b".into(),
            ..Default::default()
        });
        let ask = app
            .ask("PATCH", INSTANCE)
            .json(&json!({"service_id": "s-1"}));
        assert_eq!(*ask.send().await.granted(status), body);
    }
}

/// UPD-17: platforms before 2.14 know no dashboard in answers to updates.
#[tokio::test]
async fn the_dashboard_of_an_update_is_shown_by_the_platforms_version() {
    let app = TestApp::start().await;
    for (version, body) in [("2.13", json!({})), ("2.14", json!({"dashboard_url": "u"}))] {
        app.fakes.provisioner.update.answer(UpdateResponse {
            outcome: Outcome::Done.into(),
            dashboard_url: "u".into(),
            ..Default::default()
        });
        let ask = app
            .ask("PATCH", INSTANCE)
            .version(version)
            .json(&json!({"service_id": "s-1"}));
        assert_eq!(*ask.send().await.granted(200), body);
    }
}

/// DEP-01.
#[tokio::test]
async fn a_deprovision_without_its_ids_is_400() {
    let app = TestApp::start().await;
    for query in [
        "",
        "?",
        "?service_id=s-1",
        "?plan_id=p-1",
        "?service_id=&plan_id=p-1",
        "?service_id=s-1&plan_id=",
        "?service_id=s-1&service_id=s-2&plan_id=p-1",
        "?service_id=%FF&plan_id=p-1",
    ] {
        let path = format!("{INSTANCE}{query}");
        app.ask("DELETE", &path).send().await.refused(400);
    }
    assert_eq!(app.fakes.provisioner.deprovision.count(), 0);
}

/// DEP-03, DEP-04, DEP-14, trap 21.
#[tokio::test]
async fn a_deprovision_is_200_with_an_empty_object_or_202() {
    let app = TestApp::start().await;
    let path = format!("{INSTANCE}?{IDS}&service_id=s-1&accepts_incomplete=true");
    let accepted = app.ask("DELETE", &path).send().await;
    assert_eq!(*accepted.granted(202), json!({"operation": "delete-3-c"}));
    let asked = app.fakes.provisioner.deprovision.asked();
    assert_eq!(
        (asked.service_id.as_str(), asked.plan_id.as_str()),
        ("s-1", "p-1")
    );
    assert!(asked.accepts_incomplete);
    assert_eq!(asked.verdict.unwrap().bundle_digest, "digest-p-1");

    app.fakes
        .provisioner
        .deprovision
        .answer(DeprovisionResponse {
            outcome: Outcome::Done.into(),
            operation: String::new(),
        });
    let done = app.ask("DELETE", &path).send().await;
    assert_eq!(*done.granted(200), json!({}));
}

/// DEP-05.
#[tokio::test]
async fn a_deprovision_of_nothing_is_410() {
    let app = TestApp::start().await;
    let path = format!("{INSTANCE}?{IDS}");
    for code in [ErrorCode::Gone, ErrorCode::NotFound] {
        app.fakes.provisioner.deprovision.fail(code);
        app.ask("DELETE", &path).send().await.refused(410);
    }
}

/// ASY-04: only `true` is true.
#[tokio::test]
async fn whatever_is_not_true_does_not_accept_incomplete() {
    let app = TestApp::start().await;
    for (value, expected) in [
        ("true", true),
        ("false", false),
        ("True", false),
        ("1", false),
        ("", false),
    ] {
        let path = format!("{INSTANCE}?accepts_incomplete={value}");
        app.put(&path, &provision()).send().await.granted(202);
        let asked = app.fakes.provisioner.provision.asked();
        assert_eq!(asked.accepts_incomplete, expected, "{value}");
    }
}

/// GI-02, GI-05, GI-06, GI-09.
#[tokio::test]
async fn a_fetched_instance_is_shown_without_what_it_lacks() {
    let app = TestApp::start().await;
    let Value::Object(parameters) = json!({"version": "8.0", "n": 3}) else {
        panic!("not an object")
    };
    app.fakes.provisioner.fetch.answer(FetchInstanceResponse {
        service_id: "s-1".into(),
        plan_id: "p-1".into(),
        parameters: Some(to_struct(&parameters).unwrap()),
        maintenance_version: "1.0.0".into(),
        metadata: metadata(),
        dashboard_url: String::new(),
    });
    let path = format!("{INSTANCE}?service_id=wrong&plan_id=");
    let answer = app.get(&path).send().await;
    assert_eq!(
        *answer.granted(200),
        json!({
            "service_id": "s-1", "plan_id": "p-1", "parameters": {"version": "8.0", "n": 3},
            "maintenance_info": {"version": "1.0.0"},
            "metadata": {"labels": {"k": "v"}, "attributes": {"a": 1}}
        })
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// GI-03, GI-04.
#[tokio::test]
async fn an_instance_that_cannot_be_fetched_is_404_or_422() {
    let app = TestApp::start().await;
    for (code, status) in [
        (ErrorCode::NotFound, 404),
        (ErrorCode::Gone, 404),
        (ErrorCode::ConcurrencyError, 422),
    ] {
        app.fakes.provisioner.fetch.fail(code);
        app.get(INSTANCE).send().await.refused(status);
    }
}
