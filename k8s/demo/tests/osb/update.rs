//! Rows UPD and MI.

use serde_json::{Value, json};

use crate::{
    plans,
    platform::{Answer, Platform, incomplete, new_instance},
    stack::until,
};

async fn parameters(platform: &Platform, path: &str) -> Value {
    platform.get(path).await.expect(200).body["parameters"].clone()
}

/// UPD-01, UPD-02, UPD-10: what is missing, empty or unknown.
#[tokio::test]
async fn an_update_that_lacks_something_is_400() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    let service = platform.service();
    for body in [
        json!({}),
        json!({"service_id": ""}),
        json!({"service_id": "unknown"}),
        json!({"service_id": platform.service_named("plain")}),
        json!({"service_id": service, "plan_id": "unknown"}),
        json!({"service_id": service, "plan_id": ""}),
        json!({"service_id": service, "parameters": []}),
        json!({"service_id": service, "context": 1}),
    ] {
        platform.patch(&path, &body).await.expect(400);
    }
    assert_eq!(parameters(&platform, &path).await, json!({}));
}

/// UPD-02, UPD-03, UPD-21: absent is unchanged, present is merged.
#[tokio::test]
async fn what_an_update_does_not_name_stays() {
    let platform = Platform::new().await;
    let sent = json!({"size": "M", "note": "kept"});
    let path = platform.instance_with("instant", sent.clone()).await;
    let service = json!({"service_id": platform.service()});
    platform.patch(&path, &service).await.expect(200);
    assert_eq!(parameters(&platform, &path).await, sent);
    let change = platform.change(json!({"size": "S"}));
    platform.patch(&path, &change).await.expect(200);
    assert_eq!(
        parameters(&platform, &path).await,
        json!({"size": "S", "note": "kept"})
    );
    let change = platform.change(json!({"note": null}));
    platform.patch(&path, &change).await.expect(200);
    assert_eq!(parameters(&platform, &path).await, json!({"size": "S"}));
    let shown = platform.get(&path).await.text("plan_id");
    assert_eq!(shown, platform.plan("instant"));
}

/// UPD-04: the schema judges.
#[tokio::test]
async fn parameters_of_an_update_are_judged() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    for patch in [json!({"size": "L"}), json!({"unknown": 1})] {
        let answer = platform.patch(&path, &platform.change(patch)).await;
        answer.refused(400, "BadRequest");
    }
}

/// UPD-05, CAT-15: applied where it is declared.
#[tokio::test]
async fn the_context_alone_can_be_updated() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    let context = json!({"platform": "cloudfoundry", "instance_name": "second"});
    let body = json!({"service_id": platform.service(), "context": context});
    assert_eq!(platform.applied(&path).await.unwrap()["instance"], "first");
    platform.patch(&path, &body).await.expect(200);
    assert_eq!(platform.applied(&path).await.unwrap()["instance"], "second");
    // The same again has no effect.
    platform.patch(&path, &body).await.expect(200);
}

/// CAT-15: refused where it is not declared; an equal one changes nothing.
#[tokio::test]
async fn the_context_alone_is_refused_where_that_is_not_declared() {
    let platform = Platform::new().await;
    let service = platform.service_named("plain");
    let plan = platform.offering("plain")["plans"][0]["id"].clone();
    let path = new_instance();
    let mut order = platform.order("instant", json!({}));
    order["service_id"] = json!(service);
    order["plan_id"] = plan;
    platform.put(&path, &order).await.expect(201);
    let mut body = json!({"service_id": service, "context": order["context"]});
    platform.patch(&path, &body).await.expect(200);
    body["context"]["instance_name"] = json!("second");
    let answer = platform.patch(&path, &body).await;
    answer.refused(422, "UpdateNotSupported");
}

/// UPD-06: what the platform thinks was before does not matter.
#[tokio::test]
async fn previous_values_are_not_believed() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    let mut body = platform.change(json!({"size": "M"}));
    body["previous_values"] = json!({
        "service_id": "other", "plan_id": "other", "organization_id": "o", "space_id": "s",
        "maintenance_info": {"version": "0.0.1"},
    });
    platform.patch(&path, &body).await.expect(200);
    assert_eq!(parameters(&platform, &path).await, json!({"size": "M"}));
}

/// UPD-07, UPD-08, UPD-17, UPD-19: done in the request, with the whole metadata.
#[tokio::test]
async fn a_synchronous_update_is_200() {
    let platform = Platform::new().await;
    let path = platform.instance("instant").await;
    let body = platform.change(json!({"size": "M"}));
    let answer = platform.patch(&path, &body).await.expect(200);
    assert!(!answer.has("operation"));
    assert_eq!(
        answer.body["metadata"]["labels"],
        json!({"example.com/size": "M"})
    );
    assert!(answer.has("dashboard_url"));
    assert_eq!(platform.applied(&path).await.unwrap()["size"], "M");
    let again = platform.patch(&path, &body).await.expect(200);
    assert_eq!(again.body, answer.body);
}

/// UPD-09, UPD-18, UPD-14: the same again is the same operation, another one waits.
#[tokio::test]
async fn an_update_that_runs_is_told_by_its_operation() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    let operation = platform.updating(&path).await;
    assert!(!operation.is_empty());
    assert_eq!(platform.updating(&path).await, operation);
    let other = platform.change(json!({"gate": "shut", "size": "M"}));
    let answer = platform.patch(&incomplete(&path), &other).await;
    answer.refused(422, "ConcurrencyError");
    platform.open(&path).await;
    assert_eq!(platform.ended(&path, &operation).await.state(), "succeeded");
    let same = platform.change(json!({"gate": "shut"}));
    platform.patch(&incomplete(&path), &same).await.expect(200);
}

/// UPD-11, UPD-20, CAT-19, E-12: what a plan does not offer; it helps nobody to repeat it.
#[tokio::test]
async fn a_change_that_is_not_supported_is_422() {
    let platform = Platform::new().await;
    let unsupported = |answer: Answer| {
        let answer = answer.refused(422, "UpdateNotSupported");
        assert_eq!(answer.body["update_repeatable"], false);
    };
    let path = platform.instance("instant-large").await;
    let mut body = json!({"service_id": platform.service(), "plan_id": platform.plan("instant")});
    unsupported(platform.patch(&path, &body).await);
    let fixed = platform.change(json!({"fixed": "b"}));
    unsupported(platform.patch(&path, &fixed).await);
    // Parameters may be updated whatever `plan_updateable` says.
    body = platform.change(json!({"size": "M"}));
    platform.patch(&path, &body).await.expect(200);
    // From a plan that declares it.
    let path = platform.instance("instant").await;
    body = json!({"service_id": platform.service(), "plan_id": platform.plan("instant-large")});
    platform.patch(&path, &body).await.expect(200);
    assert_eq!(
        platform.get(&path).await.text("plan_id"),
        platform.plan("instant-large")
    );
    // What it was ordered as is not what it is any more.
    let order = platform.order("instant", json!({}));
    platform.put(&path, &order).await.refused(409, "Conflict");
}

/// UPD-12: also where nothing would change.
#[tokio::test]
async fn an_update_of_an_asynchronous_plan_needs_polling() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    for body in [
        json!({"service_id": platform.service()}),
        platform.change(json!({"size": "M"})),
    ] {
        platform
            .patch(&path, &body)
            .await
            .refused(422, "AsyncRequired");
    }
}

/// UPD-13, MI-01 to MI-04, GI-09: an instance keeps its version until it is
/// asked to take the catalog's.
#[tokio::test]
async fn maintenance_brings_the_catalogs_version() {
    let platform = Platform::new().await;
    let path = platform.instance("upgraded").await;
    plans::upgrade(&platform.stack.templates, "1.1.0+build.7");
    let fresh = async || Platform::new().await;
    until("the catalog shows the new version", async || {
        fresh().await.listed("upgraded")["maintenance_info"]["version"] == "1.1.0+build.7"
    })
    .await;
    let with = |version: &str| json!({"service_id": platform.service(), "maintenance_info": {"version": version}});
    for version in ["1.0.0", "1.1.0", "1.1.0+build.8"] {
        let answer = platform.patch(&path, &with(version)).await;
        answer.refused(422, "MaintenanceInfoConflict");
    }
    // Anything else leaves the version as it is.
    platform
        .patch(&path, &platform.change(json!({"size": "M"})))
        .await
        .expect(200);
    assert_eq!(platform.applied(&path).await.unwrap().get("version"), None);
    assert_eq!(
        platform.get(&path).await.body["maintenance_info"]["version"],
        "1.0.0"
    );
    let mut body = with("1.1.0+build.7");
    body["previous_values"] = json!({"maintenance_info": {"version": "1.0.0"}});
    platform.patch(&path, &body).await.expect(200);
    assert_eq!(
        platform.applied(&path).await.unwrap()["version"],
        "1.1.0+build.7"
    );
    assert_eq!(
        platform.get(&path).await.body["maintenance_info"]["version"],
        "1.1.0+build.7"
    );
    platform.patch(&path, &body).await.expect(200);
}

/// UPD-15, UPD-16, E-10, E-11, LOI-08, LOI-09, LOI-12: what fails shows
/// nothing of it afterwards, and can be repaired.
#[tokio::test]
async fn a_failed_update_leaves_what_is_shown() {
    let platform = Platform::new().await;
    let path = platform.instance("polled").await;
    let before = platform.get(&path).await.expect(200).body;
    let body = platform.change(json!({"gate": "broken"}));
    let operation = platform
        .patch(&incomplete(&path), &body)
        .await
        .expect(202)
        .operation();
    let ended = platform.ended(&path, &operation).await;
    assert_eq!(ended.state(), "failed");
    assert!(ended.body["instance_usable"].is_boolean());
    assert!(ended.body["update_repeatable"].is_boolean());
    assert!(!ended.text("description").is_empty());
    assert_eq!(platform.get(&path).await.expect(200).body, before);
    let order = platform.order("polled", json!({}));
    platform.put(&incomplete(&path), &order).await.expect(200);
    let repair = json!({"service_id": platform.service()});
    let answer = platform
        .patch(&incomplete(&path), &repair)
        .await
        .expect(202);
    assert_eq!(
        platform.ended(&path, &answer.operation()).await.state(),
        "succeeded"
    );
    assert_eq!(platform.applied(&path).await.unwrap()["gate"], "open");
}
