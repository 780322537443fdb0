//! openapi.yaml says what the routes do.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::TestApp;

const METHODS: [&str; 5] = ["get", "put", "patch", "delete", "post"];

fn document() -> Value {
    serde_saphyr::from_str(include_str!("../../openapi.yaml")).unwrap()
}

/// Each operation: path, method, content.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let of = |method: &&'static str| Some((path.as_str(), *method, item.get(*method)?));
            METHODS.iter().filter_map(of).collect::<Vec<_>>()
        })
        .collect()
}

fn filled(path: &str) -> String {
    path.replace("{instance_id}", "i-1")
        .replace("{binding_id}", "b-1")
}

#[tokio::test]
async fn paths_and_methods_are_those_of_the_routes() {
    let document = document();
    let documented: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let routed: BTreeSet<&str> = include_str!("../../src/paths.rs")
        .split('"')
        .filter(|text| text.starts_with("/v2/"))
        .collect();
    assert_eq!(documented, routed);
    let app = TestApp::start().await;
    for path in documented {
        let answer = app.ask("BREW", &filled(path)).send().await;
        answer.refused(405);
        let allowed: BTreeSet<String> = answer
            .header("allow")
            .unwrap()
            .split(',')
            .map(str::to_lowercase)
            .filter(|method| method != "head")
            .collect();
        let said: BTreeSet<String> = operations(&document)
            .iter()
            .filter(|(at, ..)| *at == path)
            .map(|(_, method, _)| (*method).to_owned())
            .collect();
        assert_eq!(allowed, said, "{path}");
    }
}

#[tokio::test]
async fn what_every_route_may_answer_is_documented() {
    let app = TestApp::start().await;
    let document = document();
    for (path, method, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let ask = || app.ask(&method.to_uppercase(), &filled(path));
        let wrong = ask().header("authorization", "Basic eDp5").send().await;
        let old = ask().version("2.1").send().await;
        let malformed = ask().body("[").send().await;
        let mut statuses = vec![wrong.status, old.status, malformed.status];
        if operation.get("requestBody").is_some() {
            let large = format!("{{\"x\": \"{}\"}}", "x".repeat(600 * 1024));
            statuses.push(ask().body(large).send().await.status);
        }
        for status in statuses {
            let documented = responses.contains_key(status.as_str());
            assert!(documented, "{method} {path} {status}");
        }
        for status in ["400", "401", "412", "503", "default"] {
            assert!(responses.contains_key(status), "{method} {path} {status}");
        }
        let changes = method != "get";
        assert_eq!(
            responses.contains_key("202"),
            changes,
            "{method} {path}: whatever changes something may take its time"
        );
    }
}

#[test]
fn references_lead_somewhere() {
    fn visit(whole: &Value, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    let pointer = to.strip_prefix('#').unwrap();
                    assert!(whole.pointer(pointer).is_some(), "{to}");
                }
                map.values().for_each(|item| visit(whole, item));
            }
            Value::Array(items) => items.iter().for_each(|item| visit(whole, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = document();
    assert_eq!(document["openapi"], "3.0.3");
    visit(&document, &document);
}
