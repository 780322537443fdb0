//! The table of the fields of Kubernetes' own kinds, `libs/plan/schema/kinds.json`, beside what a real
//! API server says of them. `UPDATE_KINDS=1` writes it.

use std::{fs, path::Path};

use plan::{descriptor::KindRef, fields::Fields, kinds};
use serde_json::Value;

use crate::fixture::client;

const GROUPS: [&str; 10] = [
    "api/v1",
    "apis/apps/v1",
    "apis/autoscaling/v2",
    "apis/batch/v1",
    "apis/discovery.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/policy/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/scheduling.k8s.io/v1",
    "apis/storage.k8s.io/v1",
];

#[tokio::test]
async fn the_fields_that_lint_knows_are_those_of_the_api_server() {
    let client = client().await;
    let mut fields = Fields::default();
    let is_known = |kind: &KindRef| kinds::plural(kind).is_some();
    for group in GROUPS {
        let request = http::Request::get(format!("/openapi/v3/{group}"));
        let request = request.body(Vec::new()).unwrap();
        let document: Value = client.request(request).await.unwrap();
        fields.add_openapi(&document, is_known);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../libs/plan/schema/kinds.json");
    if std::env::var_os("UPDATE_KINDS").is_some() {
        let text = serde_json::to_string(&fields).unwrap();
        // One type a line, so that a change can be read.
        let text = text.replace("},\"", "},\n\"");
        fs::write(&path, text + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let shipped: Fields = serde_json::from_str(&text).unwrap();
    assert!(
        shipped == fields,
        "kinds.json is not what the API server says: UPDATE_KINDS=1 cargo test -p catalog-svc fields"
    );
}
