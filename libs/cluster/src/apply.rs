//! Writing an instance's objects: made with `create`, changed by server-side
//! apply with one field manager, so that fields that are no longer rendered go
//! away. Every write says what it is based on, so that one that comes late (its
//! process was paused) neither brings back what was deleted nor overwrites what
//! is newer.

use std::collections::BTreeMap;

use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, Request},
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
    /// In the instance's own namespace, whose creation was the gate: whatever
    /// has the name there is the instance's.
    Own,
    /// Anywhere else: each object's own creation is the gate.
    Shared,
}

/// An object as it was before the decision to write it.
#[derive(Debug, Clone)]
pub struct Basis {
    uid: String,
    version: String,
    /// Its managedFields with the creation's entry turned, if that is still to
    /// be done.
    adopted: Option<Value>,
}

impl Basis {
    /// As it was read or written last.
    pub fn of(object: &DynamicObject) -> Self {
        let mut entries = serde_json::to_value(object.managed_fields()).unwrap_or_default();
        Self {
            uid: object.uid().unwrap_or_default(),
            version: object.resource_version().unwrap_or_default(),
            adopted: adopt(&mut entries).then_some(entries),
        }
    }

    /// The object's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

/// What a write came to.
#[derive(Debug)]
pub enum Outcome {
    /// The object as the API server has it now.
    Applied(Box<DynamicObject>),
    /// Nothing was written: the object is this, which is not what the write
    /// was based on.
    Changed(Box<DynamicObject>),
    /// The name belongs to an object of somebody else's.
    Foreign,
    /// The object that the write was based on is no more.
    Vanished,
}

/// Writes `manifest`, which must carry apiVersion, kind and metadata.name and
/// is labelled with `labels` on the way. Fields that the kind does not have are
/// an error.
///
/// `basis` is the object as the caller knew it before it decided; without one
/// there must be none.
pub async fn apply(
    kinds: &Kinds,
    manifest: &Value,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    place: Place,
    basis: Option<&Basis>,
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
    if let Some(basis) = basis {
        return patch(&api, &name, manifest, basis).await;
    }
    match create(&kinds.client(), &api, &manifest).await {
        Ok(created) => return Ok(Outcome::Applied(Box::new(created))),
        Err(Error::AlreadyExists) => {}
        Err(error) => return Err(error),
    }
    let found = call(api.get(&name)).await?;
    let ours = labels
        .iter()
        .all(|(key, value)| found.labels().get(key) == Some(value));
    Ok(match place {
        Place::Shared if !ours => Outcome::Foreign,
        Place::Shared | Place::Own => Outcome::Changed(Box::new(found)),
    })
}

/// `create`, with fields that the kind does not have refused as an apply
/// refuses them; kube has no parameter for that.
async fn create(
    client: &Client,
    api: &Api<DynamicObject>,
    manifest: &Value,
) -> Result<DynamicObject, Error> {
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let malformed = || Error::Invalid("metadata (FieldValueInvalid)".to_owned());
    let mut request = Request::new(api.resource_url())
        .create(&params, manifest.to_string().into_bytes())
        .map_err(|_| malformed())?;
    *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri())
        .parse()
        .map_err(|_| malformed())?;
    call(client.request(request)).await
}

async fn patch(
    api: &Api<DynamicObject>,
    name: &str,
    mut manifest: Value,
    basis: &Basis,
) -> Result<Outcome, Error> {
    let written = async {
        let version = own_fields(api, name, basis).await?;
        manifest["metadata"]["uid"] = json!(basis.uid);
        manifest["metadata"]["resourceVersion"] = json!(version);
        let params = PatchParams::apply(FIELD_MANAGER)
            .force()
            .validation_strict();
        call(api.patch(name, &params, &Patch::Apply(&manifest))).await
    };
    match written.await {
        Ok(object) => return Ok(Outcome::Applied(Box::new(object))),
        Err(Error::Conflict | Error::NotFound) => {}
        Err(error) => return Err(error),
    }
    Ok(match crate::error::optional(call(api.get(name)).await)? {
        Some(found) if found.uid().as_deref() == Some(&*basis.uid) => {
            Outcome::Changed(Box::new(found))
        }
        Some(_) | None => Outcome::Vanished,
    })
}

/// Turns the creation's managedFields entry from `Update` into `Apply`, so that
/// a server-side apply removes fields that are no longer rendered. The version
/// that the apply is then based on.
async fn own_fields(api: &Api<DynamicObject>, name: &str, basis: &Basis) -> Result<String, Error> {
    let Some(entries) = &basis.adopted else {
        return Ok(basis.version.clone());
    };
    let patch = json!({"metadata": {
        "uid": basis.uid, "resourceVersion": basis.version, "managedFields": entries
    }});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let adopted = call(api.patch(name, &params, &Patch::Merge(&patch))).await?;
    Ok(adopted.resource_version().unwrap_or_default())
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
