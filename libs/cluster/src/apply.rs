//! Server-side apply: one field manager, fields that are no longer rendered go
//! away, and no late apply resurrects what was deleted.

use std::collections::BTreeMap;

use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Map, Value, json};

use crate::{
    FIELD_MANAGER,
    error::{Error, call},
    kinds::{self, Kinds},
};

/// Whether the place of an object is guarded already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the instance's own namespace, whose creation was the gate.
    Own,
    /// Anywhere else: each object's own creation is the gate.
    Shared,
}

/// What an apply came to.
#[derive(Debug)]
pub enum Outcome {
    /// The object as the API server has it now.
    Applied(Box<DynamicObject>),
    /// The name belongs to an object of somebody else's.
    Foreign,
    /// The object with the recorded uid is no more.
    Vanished,
}

/// Applies `manifest`, which must carry apiVersion, kind and metadata.name and
/// is labelled with `labels` on the way.
///
/// `uid` is that of the object as recorded in the inventory: with it, a late
/// apply cannot bring a deleted object back.
pub async fn apply(
    kinds: &Kinds,
    manifest: &Value,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    place: Place,
    uid: Option<&str>,
) -> Result<Outcome, Error> {
    let gvk = kinds::of_manifest(manifest)
        .ok_or_else(|| Error::Invalid("apiVersion or kind (FieldValueRequired)".to_owned()))?;
    let kind = kinds.get(&gvk).await?;
    let mut manifest = manifest.clone();
    label(&mut manifest, labels);
    let name = manifest
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .ok_or_else(|| Error::Invalid("metadata.name (FieldValueRequired)".to_owned()))?
        .to_owned();
    let namespace = manifest
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or(namespace)
        .to_owned();
    if kind.namespaced {
        manifest["metadata"]["namespace"] = json!(namespace);
    }
    let api = kind.api(kinds.client(), &namespace);
    match (place, uid) {
        (Place::Own, None) => patch(&api, &name, &manifest).await,
        (_, Some(uid)) => {
            manifest["metadata"]["uid"] = json!(uid);
            patch(&api, &name, &manifest).await
        }
        (Place::Shared, None) => claim(&api, &name, &manifest, labels).await,
    }
}

async fn patch(api: &Api<DynamicObject>, name: &str, manifest: &Value) -> Result<Outcome, Error> {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match call(api.patch(name, &params, &Patch::Apply(manifest))).await {
        Ok(object) => Ok(Outcome::Applied(Box::new(object))),
        // With a uid in the manifest: no such object, or another one.
        Err(Error::Conflict | Error::NotFound) if manifest["metadata"].get("uid").is_some() => {
            Ok(Outcome::Vanished)
        }
        Err(error) => Err(error),
    }
}

/// First apply of an object outside of an own namespace: `create` is the gate.
async fn claim(
    api: &Api<DynamicObject>,
    name: &str,
    manifest: &Value,
    labels: &BTreeMap<String, String>,
) -> Result<Outcome, Error> {
    let object: DynamicObject = serde_json::from_value(manifest.clone())
        .map_err(|_| Error::Invalid("metadata (FieldValueInvalid)".to_owned()))?;
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let found = match call(api.create(&params, &object)).await {
        Ok(created) => created,
        Err(Error::AlreadyExists) => call(api.get(name)).await?,
        Err(error) => return Err(error),
    };
    let ours = labels
        .iter()
        .all(|(key, value)| found.labels().get(key) == Some(value));
    if !ours {
        return Ok(Outcome::Foreign);
    }
    own_fields(api, name, &found).await?;
    let mut manifest = manifest.clone();
    manifest["metadata"]["uid"] = json!(found.uid());
    patch(api, name, &manifest).await
}

/// Turns the create's managedFields entry from `Update` into `Apply`, so that
/// a later server-side apply removes fields that are no longer rendered.
async fn own_fields(
    api: &Api<DynamicObject>,
    name: &str,
    found: &DynamicObject,
) -> Result<(), Error> {
    let mut entries = serde_json::to_value(found.managed_fields()).unwrap_or_default();
    if !adopt(&mut entries) {
        return Ok(());
    }
    let patch = json!({
        "metadata": { "resourceVersion": found.resource_version(), "managedFields": entries }
    });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match call(api.patch(name, &params, &Patch::Merge(&patch))).await {
        // Somebody wrote in between (a controller's status): the next apply
        // of this object tries again.
        Ok(_) | Err(Error::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `true` if an entry was turned.
fn adopt(entries: &mut Value) -> bool {
    let mut turned = false;
    for entry in entries.as_array_mut().into_iter().flatten() {
        let ours = entry["manager"] == FIELD_MANAGER
            && entry["operation"] == "Update"
            && entry.get("subresource").is_none();
        if ours {
            entry["operation"] = json!("Apply");
            turned = true;
        }
    }
    turned
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
    let metadata = child(target, "metadata");
    let existing = child(metadata, "labels");
    for (key, value) in labels {
        existing.insert(key.clone(), json!(value));
    }
}

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
    fn only_our_own_creation_is_adopted() {
        let mut entries = json!([
            {"manager": FIELD_MANAGER, "operation": "Update"},
            {"manager": "kubectl", "operation": "Update"},
            {"manager": FIELD_MANAGER, "operation": "Update", "subresource": "status"},
        ]);
        assert!(adopt(&mut entries));
        assert_eq!(entries[0]["operation"], "Apply");
        assert_eq!(entries[1]["operation"], "Update");
        assert_eq!(entries[2]["operation"], "Update");
        assert!(!adopt(&mut json!([])));
    }
}
