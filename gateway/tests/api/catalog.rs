//! `GET /v2/catalog`.

use std::time::Duration;

use broker_proto::v1::CatalogSnapshot;
use serde_json::json;

use crate::app::{TestApp, snapshot};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// CAT-01 and the fields of 2.17.
#[tokio::test]
async fn the_catalog_is_shown_with_what_is_set_and_without_nulls() {
    let app = TestApp::start().await;
    let answer = app.get("/v2/catalog").send().await;
    let catalog = answer.granted(200);
    let offering = &catalog["services"][0];
    assert_eq!(
        offering["plans"][0],
        json!({
            "id": "p-1", "name": "name-p-1", "description": "a plan",
            "free": true, "bindable": true, "binding_rotatable": true,
            "plan_updateable": true, "maximum_polling_duration": 1200,
            "maintenance_info": {"version": "1.0.0+a", "description": "first"}
        })
    );
    assert_eq!(
        offering["plans"][1],
        json!({
            "id": "p-2", "name": "name-p-2", "description": "a plan",
            "free": true, "bindable": true
        })
    );
    assert_eq!(offering["tags"], json!(["mongodb"]));
    assert_eq!(offering["instances_retrievable"], json!(true));
    assert!(offering.get("metadata").is_none());
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("null"));
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("digest"));
}

/// CAT-01: `services` may be empty.
#[tokio::test]
async fn an_empty_catalog_is_a_catalog() {
    let app = TestApp::start().await;
    app.fakes
        .catalog
        .snapshot
        .send_replace(Some(CatalogSnapshot {
            generation: "empty".into(),
            ..Default::default()
        }));
    while *app.get("/v2/catalog").send().await.granted(200) != json!({"services": []}) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Trap 26.
#[tokio::test]
async fn fields_of_later_versions_are_left_out_for_earlier_ones() {
    let app = TestApp::start().await;
    let mut etags = Vec::new();
    for (version, fields) in [
        ("2.13", vec![]),
        ("2.14", vec![]),
        (
            "2.15",
            vec![
                "maintenance_info",
                "maximum_polling_duration",
                "plan_updateable",
            ],
        ),
        (
            "2.16",
            vec![
                "maintenance_info",
                "maximum_polling_duration",
                "plan_updateable",
            ],
        ),
        (
            "2.18",
            vec![
                "binding_rotatable",
                "maintenance_info",
                "maximum_polling_duration",
                "plan_updateable",
            ],
        ),
    ] {
        let answer = app.get("/v2/catalog").version(version).send().await;
        let plan = answer.granted(200)["services"][0]["plans"][0]
            .as_object()
            .unwrap();
        let mut found: Vec<&str> = plan.keys().map(String::as_str).collect();
        found.retain(|key| !["id", "name", "description", "free", "bindable"].contains(key));
        assert_eq!(found, fields, "{version}");
        etags.push(answer.header("etag").unwrap().to_owned());
    }
    assert_eq!(etags[0], etags[1]);
    assert_eq!(etags[2], etags[3]);
    assert!(etags[0] != etags[2] && etags[2] != etags[4]);
}

/// CAT-05 and trap 19.
#[tokio::test]
async fn an_unchanged_catalog_is_304_without_a_body() {
    let app = TestApp::start().await;
    let first = app.get("/v2/catalog").send().await;
    let etag = first.header("etag").unwrap();
    assert_eq!(first.header("last-modified"), Some(DATE));
    assert_eq!(first.header("vary"), Some("X-Broker-API-Version"));
    for (name, value, status) in [
        ("if-none-match", etag, 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", DATE, 304),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT", 200),
    ] {
        let answer = app.get("/v2/catalog").header(name, value).send().await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {value}");
        assert_eq!(answer.header("etag"), Some(etag));
        assert_eq!(answer.bytes.is_empty(), status == 304);
    }
    // The tag of one class of versions is not that of another.
    let older = app
        .get("/v2/catalog")
        .version("2.13")
        .header("if-none-match", etag);
    older.send().await.granted(200);
}

/// CAT-03: a change reaches the platform, and its tag and date with it.
#[tokio::test]
async fn a_new_generation_has_a_new_tag() {
    let app = TestApp::start().await;
    let before = app.get("/v2/catalog").send().await;
    let mut changed = snapshot("g-2");
    changed.offerings[0].plans[0].description = "changed".into();
    changed.last_modified.as_mut().unwrap().seconds += 60;
    app.fakes.catalog.snapshot.send_replace(Some(changed));
    let etag = before.header("etag").unwrap();
    let after = loop {
        let ask = app.get("/v2/catalog").header("if-none-match", etag);
        let answer = ask.send().await;
        if answer.status != 304 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(
        after.granted(200)["services"][0]["plans"][0]["description"],
        "changed"
    );
    assert_ne!(
        after.header("last-modified"),
        before.header("last-modified")
    );
}

#[tokio::test]
async fn before_the_first_catalog_requests_that_need_it_are_503() {
    let app = TestApp::launch(None, |_| ()).await;
    let answer = app.get("/v2/catalog").send().await;
    answer.refused(503);
    assert!(answer.header("retry-after").is_some());
    let delete = app.ask(
        "DELETE",
        "/v2/service_instances/i?service_id=s-1&plan_id=p-1",
    );
    delete.send().await.refused(503);
    // A poll needs none.
    app.get("/v2/service_instances/i/last_operation")
        .send()
        .await
        .granted(200);
}
