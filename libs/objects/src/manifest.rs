//! A rendered object: which one it is, and what the broker adds to it.

use std::collections::BTreeMap;

use cluster::names;
use kube::{
    ResourceExt as _,
    core::{DynamicObject, GroupVersionKind},
};
use serde_json::{Map, Value, json};

use crate::kinds;

/// Annotation: index of the template file, so that an inventory found by
/// label knows the order in which to delete.
pub const FILE: &str = "mongodb-osb.io/file";

/// Annotation: digest of the manifest that was written last, so that an update
/// leaves alone what it renders as before.
pub const MANIFEST: &str = "mongodb-osb.io/manifest";

/// Which object a manifest describes: its kind and name. `None` if it lacks
/// apiVersion, kind or name.
pub fn identity(manifest: &Value) -> Option<(GroupVersionKind, &str)> {
    let gvk = kinds::of_manifest(manifest)?;
    let name = manifest.pointer("/metadata/name")?.as_str()?;
    Some((gvk, name))
}

/// `Kind/name`, for messages.
pub fn title(gvk: &GroupVersionKind, name: &str) -> String {
    format!("{}/{name}", gvk.kind)
}

/// The index of the template file that an object carries.
pub fn file_of(object: &DynamicObject) -> Option<u32> {
    object.annotations().get(FILE)?.parse().ok()
}

/// Notes on the object which template file it comes from.
pub(crate) fn mark(manifest: &mut Value, file: u32) {
    annotate(manifest, FILE, file.to_string());
}

/// Notes on the object the digest of what is written: the last thing that is
/// done to a manifest. Of a Secret's values there is no digest, which would tell
/// whether a guess is right.
pub(crate) fn note_digest(manifest: &mut Value) {
    let digest = if manifest["kind"] == "Secret" {
        let mut without_values = manifest.clone();
        for field in ["data", "stringData"] {
            let values = without_values[field].as_object_mut();
            for (_, value) in values.into_iter().flatten() {
                *value = Value::Null;
            }
        }
        names::digest(without_values.to_string())
    } else {
        names::digest(manifest.to_string())
    };
    annotate(manifest, MANIFEST, digest);
}

fn annotate(manifest: &mut Value, key: &str, value: String) {
    if let Some(manifest) = manifest.as_object_mut() {
        let annotations = child(child(manifest, "metadata"), "annotations");
        annotations.insert(key.to_owned(), Value::String(value));
    }
}

/// Puts `labels` on the object, and on what its controller makes of it (pods,
/// volume claims), so that all of it is found by label.
pub fn label(manifest: &mut Value, labels: &BTreeMap<String, String>) {
    put(manifest, labels);
    let workload = matches!(
        manifest["kind"].as_str(),
        Some("StatefulSet" | "Deployment" | "DaemonSet" | "Job")
    );
    if !workload {
        return;
    }
    if let Some(template) = manifest.pointer_mut("/spec/template") {
        put(template, labels);
    }
    let claims = manifest
        .pointer_mut("/spec/volumeClaimTemplates")
        .and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten() {
        put(claim, labels);
    }
}

fn put(target: &mut Value, labels: &BTreeMap<String, String>) {
    let Some(target) = target.as_object_mut() else {
        return;
    };
    let existing = child(child(target, "metadata"), "labels");
    for (key, value) in labels {
        existing.insert(key.clone(), json!(value));
    }
}

/// The object under that key, which is made if there is none.
fn child<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = parent.entry(key).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_reach_pods_and_volume_claims() {
        let mut set = json!({
            "kind": "StatefulSet",
            "metadata": {"name": "a", "labels": {"app": "x"}},
            "spec": {"template": {}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}
        });
        label(
            &mut set,
            &BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        );
        assert_eq!(set["metadata"]["labels"], json!({"app": "x", "k": "v"}));
        assert_eq!(set["spec"]["template"]["metadata"]["labels"]["k"], "v");
        assert_eq!(
            set["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"]["k"],
            "v"
        );
    }

    #[test]
    fn a_manifest_without_annotations_takes_the_mark_too() {
        for annotations in [json!(null), json!({"a": "b"})] {
            let mut manifest = json!({"metadata": {"name": "a", "annotations": annotations}});
            mark(&mut manifest, 3);
            assert_eq!(manifest["metadata"]["annotations"][FILE], "3");
        }
    }

    #[test]
    fn what_has_no_kind_or_no_name_is_no_object() {
        let whole = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        assert_eq!(identity(&whole).unwrap().1, "a");
        for missing in ["apiVersion", "kind", "metadata"] {
            let mut broken = whole.clone();
            broken.as_object_mut().unwrap().remove(missing);
            assert!(identity(&broken).is_none(), "{missing}");
        }
    }
}
