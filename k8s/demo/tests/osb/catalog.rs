//! Rows CAT, on the catalog of real folders.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    plans::{PLAIN, ROWS},
    platform::Platform,
};

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// CAT-01, CAT-06 to CAT-11, CAT-20 to CAT-22: what must be there is, and is unique.
#[tokio::test]
async fn offerings_and_plans_have_what_they_must() {
    let platform = Platform::new().await;
    let catalog = platform.get("/v2/catalog").await.expect(200).body;
    let (mut ids, mut names) = (HashSet::new(), HashSet::new());
    let services = catalog["services"].as_array().unwrap();
    assert_eq!(services.len(), 2);
    for service in services {
        assert!(ids.insert(service["id"].as_str().unwrap()));
        assert!(names.insert(service["name"].as_str().unwrap()));
        assert!(!service["description"].as_str().unwrap().is_empty());
        assert!(service["bindable"].is_boolean());
        let plans = service["plans"].as_array().unwrap();
        assert!(!plans.is_empty());
        let mut own = HashSet::new();
        for plan in plans {
            assert!(ids.insert(plan["id"].as_str().unwrap()));
            assert!(own.insert(plan["name"].as_str().unwrap()));
            assert!(!plan["description"].as_str().unwrap().is_empty());
        }
    }
    assert_eq!(platform.offering(ROWS)["tags"], json!(["mongodb", "test"]));
}

/// CAT-02: ids stay while an edit changes everything else.
#[tokio::test]
async fn ids_are_the_same_from_start_to_start() {
    let platform = Platform::new().await;
    let id = |name: &str| platform.plan(name);
    // They follow from names alone, as every other broker of these folders makes them.
    assert_eq!(id("instant"), plan_id("instant"));
    assert_ne!(id("instant"), id("polled"));
}

fn plan_id(name: &str) -> String {
    let mut tree = plan::Tree::new();
    tree.insert(
        &format!("rows/{name}/1.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
    );
    plan::catalog::build(&[tree]).plans[0].plan_id().to_string()
}

/// CAT-04: no string of the catalog proper is beyond 255 characters.
#[tokio::test]
async fn strings_are_short() {
    let platform = Platform::new().await;
    let mut found = Vec::new();
    texts(&platform.get("/v2/catalog").await.body, &mut found);
    assert!(found.iter().all(|text| text.chars().count() <= 255));
}

/// CAT-05: unchanged is 304, after login and version.
#[tokio::test]
async fn an_unchanged_catalog_is_not_sent_again() {
    let platform = Platform::new().await;
    let whole = platform.get("/v2/catalog").await;
    let header = |name: &str| whole.headers[name].to_str().unwrap().to_owned();
    let (tag, date) = (header("etag"), header("last-modified"));
    let ask = async |name: &str, value: &str| {
        let headers = [(name, value)];
        platform
            .send(Method::GET, "/v2/catalog", &headers, None)
            .await
            .status
    };
    assert_eq!(ask("if-none-match", &tag).await, 304);
    assert_eq!(ask("if-none-match", &format!("W/{tag}")).await, 304);
    assert_eq!(ask("if-none-match", "\"other\"").await, 200);
    assert_eq!(ask("if-modified-since", &date).await, 304);
}

/// CAT-13 to CAT-15, CAT-17 to CAT-19, CAT-23 to CAT-27, CAT-32: what is
/// supported is declared, and what is declared is supported (the other modules).
#[tokio::test]
async fn what_is_supported_is_declared() {
    let platform = Platform::new().await;
    let rows = platform.offering(ROWS);
    for key in [
        "bindable",
        "instances_retrievable",
        "bindings_retrievable",
        "allow_context_updates",
    ] {
        assert_eq!(rows[key], true, "{key}");
    }
    assert_eq!(platform.offering(PLAIN).get("allow_context_updates"), None);
    assert_eq!(rows["metadata"]["displayName"], "Rows");
    assert_eq!(rows["metadata"]["shareable"], true);
    assert_eq!(rows["dashboard_client"]["id"], "dash");
    let plan = |name| platform.listed(name);
    assert_eq!(plan("polled")["free"], false);
    assert_eq!(plan("instant")["free"], true);
    assert_eq!(plan("closed")["bindable"], false);
    assert_eq!(plan("instant")["bindable"], true);
    assert_eq!(plan("instant")["binding_rotatable"], true);
    assert_eq!(plan("apps").get("binding_rotatable"), None);
    assert_eq!(plan("instant")["plan_updateable"], true);
    assert_eq!(plan("instant-large")["plan_updateable"], false);
    assert_eq!(plan("polled")["maximum_polling_duration"], 600);
    assert_eq!(
        plan("instant")["maintenance_info"],
        json!({"version": "1.0.0", "description": "The first"})
    );
    assert_eq!(plan("polled")["metadata"]["costs"][0]["amount"]["usd"], 9.5);
    assert_eq!(plan("polled")["metadata"]["bullets"], json!(["polled"]));
}

/// CAT-19: platforms before 2.15 know the flag on offerings only.
#[tokio::test]
async fn older_platforms_see_plan_changes_at_the_offering() {
    let platform = Platform::of("2.13").await;
    assert_eq!(platform.offering(ROWS)["plan_updateable"], true);
    assert_eq!(platform.offering(PLAIN)["plan_updateable"], false);
    assert_eq!(platform.listed("instant").get("plan_updateable"), None);
}

/// CAT-28 to CAT-31: schemas of draft-04, whole in themselves, and small.
#[tokio::test]
async fn parameters_have_schemas() {
    let platform = Platform::new().await;
    let schemas = &platform.listed("instant")["schemas"];
    for at in [
        "/service_instance/create/parameters",
        "/service_instance/update/parameters",
        "/service_binding/create/parameters",
    ] {
        let schema = schemas.pointer(at).unwrap();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-04/schema#");
        let text = schema.to_string();
        assert!(!text.contains("\"$ref\":\"http"));
        assert!(text.len() <= 64 * 1024);
    }
    assert_eq!(
        platform.listed("closed")["schemas"].get("service_binding"),
        None
    );
}
