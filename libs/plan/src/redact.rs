//! Live objects for what is stored or shown outside of Secrets.

use std::borrow::Cow;

use serde_json::Value;

/// What kubectl keeps a copy of the whole object in.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object without what must not leave it: a Secret loses its content, any other object nothing.
pub(crate) fn redacted(object: &Value) -> Cow<'_, Value> {
    if object["apiVersion"] != "v1" || object["kind"] != "Secret" {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| name != "data" && name != "stringData");
    }
    if let Some(annotations) = object
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    Cow::Owned(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_keeps_its_metadata_only() {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "s", "annotations": {LAST_APPLIED: "hunter2", "a": "b"}},
            "data": {"password": "aHVudGVyMg=="}, "stringData": {"password": "hunter2"},
        });
        assert_eq!(
            *redacted(&secret),
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": {"name": "s", "annotations": {"a": "b"}},
            })
        );
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}});
        assert_eq!(*redacted(&map), map);
    }
}
