//! Whatever is thrown at the endpoint: an answer of the specification's shape.

use axum::http::Uri;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use crate::app::TestApp;

#[derive(Debug, Clone)]
struct Thrown {
    method: &'static str,
    path: String,
    version: Option<String>,
    content_type: Option<String>,
    body: Vec<u8>,
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z0-9-]{1,8}",
        2 => "(%[0-9a-fA-F]{2}|[a-z~.+%]){1,6}",
        1 => "[!-~&&[^?#<>\"]]{0,6}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let instance = "/v2/service_instances";
    let path = prop_oneof![
        3 => segment().prop_map(move |id| format!("{instance}/{id}")),
        2 => segment().prop_map(move |id| format!("{instance}/{id}/last_operation")),
        3 => (segment(), segment())
            .prop_map(move |(id, binding)| format!("{instance}/{id}/service_bindings/{binding}")),
        1 => (segment(), segment()).prop_map(move |(id, binding)| format!(
            "{instance}/{id}/service_bindings/{binding}/last_operation")),
        1 => Just("/v2/catalog".to_owned()),
        1 => prop::collection::vec(segment(), 0..4).prop_map(|parts| format!("/{}", parts.join("/"))),
    ];
    let key = prop_oneof![
        Just("service_id".to_owned()),
        Just("plan_id".to_owned()),
        Just("accepts_incomplete".to_owned()),
        Just("operation".to_owned()),
        segment(),
    ];
    let pair = (key, segment()).prop_map(|(key, value)| format!("{key}={value}"));
    let query = prop::collection::vec(pair, 0..5);
    (path, query).prop_map(|(path, query)| format!("{path}?{}", query.join("&")))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(".{0,4}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A body that would be accepted, with some fields replaced by anything.
fn nearly_valid() -> impl Strategy<Value = Vec<u8>> {
    let field = prop::sample::select(vec![
        "service_id",
        "plan_id",
        "organization_guid",
        "space_guid",
        "context",
        "parameters",
        "maintenance_info",
        "bind_resource",
        "app_guid",
        "predecessor_binding_id",
        "previous_values",
        "other",
    ]);
    prop::collection::vec((field, any_json()), 0..4).prop_map(|changes| {
        let mut body = json!({
            "service_id": "s-1", "plan_id": "p-1", "organization_guid": "o", "space_guid": "s"
        });
        for (field, value) in changes {
            body[field] = value;
        }
        body.to_string().into_bytes()
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => nearly_valid(),
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => any_json().prop_map(|value| value.to_string().into_bytes()),
        // Cut or damaged somewhere.
        2 => (nearly_valid(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
            |(mut body, at, byte)| {
                let at = at.index(body.len());
                if byte % 2 == 0 { body.truncate(at) } else { body[at] = byte }
                body
            }
        ),
    ]
}

fn thrown() -> impl Strategy<Value = Thrown> {
    let method = prop::sample::select(vec!["GET", "PUT", "PATCH", "DELETE", "POST", "BREW"]);
    let version = prop_oneof![
        6 => Just(Some("2.17".to_owned())),
        1 => Just(None),
        1 => "[ -~]{0,6}".prop_map(Some),
    ];
    let content_type = prop_oneof![
        4 => Just(Some("application/json".to_owned())),
        2 => Just(None),
        1 => "[ -~]{0,20}".prop_map(Some),
    ];
    (method, path(), version, content_type, body()).prop_map(
        |(method, path, version, content_type, body)| Thrown {
            method,
            path,
            version,
            content_type,
            body,
        },
    )
}

#[test]
fn nothing_that_is_thrown_at_the_endpoint_makes_it_answer_5xx_or_anything_but_json() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = runtime.block_on(TestApp::start());
    let config = Config {
        cases: 1500,
        ..Config::with_source_file(file!())
    };
    TestRunner::new(config)
        .run(&thrown(), |thrown| {
            if thrown.path.parse::<Uri>().is_err() {
                // Never reaches the router: what the HTTP parser refuses is thrown over sockets.
                return Ok(());
            }
            let mut ask = app.ask(thrown.method, &thrown.path).body(thrown.body);
            ask = match &thrown.version {
                Some(version) => ask.version(version),
                None => ask.without("x-broker-api-version"),
            };
            if let Some(content_type) = &thrown.content_type {
                ask = ask.header("content-type", content_type);
            }
            let answer = runtime.block_on(ask.send());
            let status = answer.status.as_u16();
            prop_assert!(status < 500, "{status} {}", answer.body);
            prop_assert!(answer.body.is_object(), "{status} without a JSON object");
            prop_assert_eq!(answer.header("content-type"), Some("application/json"));
            if status >= 400 {
                let text = |key: &str| answer.body[key].as_str().unwrap_or_default().to_owned();
                prop_assert!(!text("error").is_empty() && !text("description").is_empty());
            }
            Ok(())
        })
        .unwrap();
}
