//! Whether an object is what a write of a manifest would make of it, so that
//! neither the write nor its trial is needed.
//!
//! Two things must be so. The digest on the object says that this very manifest
//! was written last (of a Secret: one with these keys), so that no field is ours
//! that is no longer rendered. And the object has every value of the manifest:
//! nobody changed one since. Where the API server keeps a value in another form
//! than it was sent (`1024Mi` as `1Gi`), or adds to a list, the answer is no,
//! and the object is written as it would be anyway.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use kube::{ResourceExt as _, core::DynamicObject};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::manifest::MANIFEST;

/// Whether writing `sent`, a manifest as it is sent, would change nothing in
/// `live`. An object that is being deleted is never unchanged.
pub(crate) fn is_unchanged(live: &DynamicObject, sent: &Value) -> bool {
    if live.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let digest = sent["metadata"]["annotations"][MANIFEST].as_str();
    if digest.is_none() || live.annotations().get(MANIFEST).map(String::as_str) != digest {
        return false;
    }
    let Ok(metadata) = serde_json::to_value(&live.metadata) else {
        return false;
    };
    let mut fields = sent.as_object().into_iter().flatten();
    fields.all(|(key, wanted)| match key.as_str() {
        // Lists leave them out; the object was found by them.
        "apiVersion" | "kind" => true,
        "metadata" => has(&metadata, wanted),
        "stringData" if sent["kind"] == "Secret" => has_texts(&live.data["data"], wanted),
        key => has_field(live.data.get(key), wanted),
    })
}

/// Whether `live` has every value of `wanted`.
fn has(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| has_field(live.get(key), wanted)),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| has(live, wanted))
        }
        (live, wanted) => live == wanted,
    }
}

/// The API server keeps no field that is null.
fn has_field(live: Option<&Value>, wanted: &Value) -> bool {
    live.map_or_else(|| wanted.is_null(), |live| has(live, wanted))
}

/// Whether a Secret's data has these texts, which were sent as they are.
fn has_texts(data: &Value, texts: &Value) -> bool {
    let data = BTreeMap::<String, ByteString>::deserialize(data).unwrap_or_default();
    let has_text = |(key, text): (&String, &Value)| {
        let text = text.as_str().map(str::as_bytes);
        text.is_some() && data.get(key).map(|bytes| &*bytes.0) == text
    };
    texts
        .as_object()
        .is_some_and(|texts: &Map<String, Value>| texts.iter().all(has_text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::note_digest;

    fn sent(mut manifest: Value) -> Value {
        note_digest(&mut manifest);
        manifest
    }

    fn live(object: Value) -> DynamicObject {
        serde_json::from_value(object).unwrap()
    }

    /// The manifest as the API server would keep it, changed by `change`.
    fn kept(sent: &Value, change: impl FnOnce(&mut Value)) -> DynamicObject {
        let mut object = sent.clone();
        object["metadata"]["uid"] = json!("1");
        change(&mut object);
        live(object)
    }

    type Change = fn(&mut Value);

    fn service() -> Value {
        sent(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {"a": "b"}},
            "spec": {"clusterIP": "None", "ports": [{"port": 27017}], "selector": null}
        }))
    }

    #[test]
    fn defaults_and_what_others_added_are_no_change() {
        let service = service();
        assert!(is_unchanged(&kept(&service, |_| ()), &service));
        let added = kept(&service, |live| {
            live["metadata"]["labels"]["theirs"] = json!("c");
            live["spec"]["ports"][0]["protocol"] = json!("TCP");
            live["spec"].as_object_mut().unwrap().remove("selector");
            live["status"] = json!({"loadBalancer": {}});
        });
        assert!(is_unchanged(&added, &service));
    }

    #[test]
    fn whatever_differs_is_written() {
        let service = service();
        let changes: [(&str, Change); 7] = [
            ("a value", |live| {
                live["spec"]["ports"][0]["port"] = json!(1);
            }),
            ("a label", |live| live["metadata"]["labels"] = json!({})),
            ("one more item", |live| {
                live["spec"]["ports"] = json!([{"port": 27017}, {"port": 1}]);
            }),
            ("a field of nothing", |live| {
                live["spec"]["selector"] = json!({"a": "b"});
            }),
            ("no spec", |live| {
                drop(live.as_object_mut().unwrap().remove("spec"));
            }),
            ("another manifest", |live| {
                live["metadata"]["annotations"][MANIFEST] = json!("other");
            }),
            ("on its way out", |live| {
                live["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }),
        ];
        for (what, change) in changes {
            assert!(!is_unchanged(&kept(&service, change), &service), "{what}");
        }
        let undigested = json!({"kind": "Service", "metadata": {"name": "s"}});
        assert!(
            !is_unchanged(&live(undigested.clone()), &undigested),
            "no digest"
        );
    }

    #[test]
    fn texts_of_a_secret_are_compared_with_what_is_kept_of_them() {
        let secret = sent(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "stringData": {"password": "text"}
        }));
        let keep = |data: Value| {
            kept(&secret, |live| {
                live.as_object_mut().unwrap().remove("stringData");
                live["data"] = data;
            })
        };
        assert!(is_unchanged(
            &keep(json!({"password": "dGV4dA==", "more": ""})),
            &secret
        ));
        for data in [
            json!({"password": "eA=="}),
            json!({}),
            json!(null),
            json!({"password": 1}),
        ] {
            assert!(!is_unchanged(&keep(data.clone()), &secret), "{data}");
        }
    }
}
