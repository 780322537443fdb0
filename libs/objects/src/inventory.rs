//! What an owner's objects are: a list of them, found again by label where it
//! was lost, and deleted in order.

use cluster::{
    Error,
    error::{call, optional},
};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
    core::{DynamicObject, GroupVersionKind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    kinds::{self, Kinds},
    manifest,
};

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// As in the manifest.
    pub api_version: String,
    /// As in the manifest.
    pub kind: String,
    /// Empty for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// What makes a delete or a late apply mean this object and no other.
    pub uid: String,
    /// Index of the template file that it came from; deletion goes backwards.
    pub file: u32,
}

impl Entry {
    /// The entry of an object of `gvk` as the API server has it.
    pub fn of(gvk: &GroupVersionKind, object: &DynamicObject, file: u32) -> Self {
        Self {
            api_version: gvk.api_version(),
            kind: gvk.kind.clone(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            file,
        }
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        kinds::parse(&self.api_version, &self.kind)
    }

    /// `Kind/name`, for messages.
    pub fn label(&self) -> String {
        manifest::title(&self.gvk(), &self.name)
    }

    /// Whether this is the entry of an object of that kind (whatever its
    /// version) and name. Templates fill one namespace.
    pub fn is_of(&self, gvk: &GroupVersionKind, name: &str) -> bool {
        self.kind == gvk.kind && self.name == name && self.gvk().group == gvk.group
    }

    /// Whether both mean the same place (not necessarily the same uid).
    pub fn same_place(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.is_of(&other.gvk(), &other.name)
    }
}

/// Finds objects of `kinds_wanted` in `namespace` by label.
/// Kinds that the cluster does not serve (any more) have no objects.
pub async fn discover(
    kinds: &Kinds,
    kinds_wanted: &[GroupVersionKind],
    namespace: &str,
    selector: &str,
) -> Result<Vec<(GroupVersionKind, DynamicObject)>, Error> {
    let lists = kinds_wanted.iter().map(async |gvk| {
        let kind = match kinds.get(gvk).await {
            Ok(kind) => kind,
            Err(Error::UnknownKind(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let api = kind.api(kinds.client(), namespace);
        let list = match call(api.list(&ListParams::default().labels(selector))).await {
            Ok(list) => list,
            Err(Error::NotFound | Error::NotServed) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(list
            .items
            .into_iter()
            .map(|object| (gvk.clone(), object))
            .collect())
    });
    let found: Vec<Vec<_>> = futures::future::try_join_all(lists).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Asks for the deletion of exactly this object; `true` once it is gone. What
/// becomes of its dependents is said by `propagation`. An object of the same
/// name with another uid counts as gone.
pub async fn delete(
    kinds: &Kinds,
    entry: &Entry,
    propagation: PropagationPolicy,
) -> Result<bool, Error> {
    let kind = match kinds.get(&entry.gvk()).await {
        Ok(kind) => kind,
        Err(Error::UnknownKind(_)) => return Ok(true),
        Err(error) => return Err(error),
    };
    let api = kind.api(kinds.client(), &entry.namespace);
    let found = match optional(call(api.get(&entry.name)).await) {
        Ok(Some(found)) => found,
        // The kind's definition took its objects along.
        Ok(None) | Err(Error::NotServed) => return Ok(true),
        Err(error) => return Err(error),
    };
    if found.uid().as_deref() != Some(entry.uid.as_str()) {
        return Ok(true);
    }
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let params = DeleteParams {
        propagation_policy: Some(propagation),
        ..DeleteParams::default()
    }
    .preconditions(Preconditions {
        uid: Some(entry.uid.clone()),
        resource_version: None,
    });
    match call(api.delete(&entry.name, &params)).await {
        // Either: gone at once, or a copy of what is still there.
        Ok(answer) => Ok(answer.right().is_some()),
        Err(Error::NotFound | Error::Conflict) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The inventory of what was found: without what a controller made, which goes
/// with its owner, and without what no template made. The file indices are the
/// objects' own marks, or those of `known`.
pub fn of_found(found: &[(GroupVersionKind, DynamicObject)], known: &[Entry]) -> Vec<Entry> {
    found
        .iter()
        .filter(|(_, object)| {
            !object
                .owner_references()
                .iter()
                .any(|owner| owner.controller == Some(true))
        })
        .filter(|(_, object)| object.annotations().contains_key(manifest::FILE))
        .map(|(gvk, object)| {
            let mut entry = Entry::of(gvk, object, 0);
            let before = known
                .iter()
                .find(|known| known.same_place(&entry))
                .map(|known| known.file);
            entry.file = manifest::file_of(object).or(before).unwrap_or_default();
            entry
        })
        .collect()
}

/// The entries of objects that are not among these manifests.
pub fn not_among(entries: &[Entry], rendered: &[Value]) -> Vec<Entry> {
    let rendered: Vec<_> = rendered.iter().filter_map(manifest::identity).collect();
    let is_rendered = |entry: &Entry| rendered.iter().any(|(gvk, name)| entry.is_of(gvk, name));
    entries
        .iter()
        .filter(|entry| !is_rendered(entry))
        .cloned()
        .collect()
}

/// One step of an ordered deletion: asks for the deletion of all objects of the
/// last template file that has any left. Each with whether it is gone; the
/// step is repeated until all are.
pub async fn delete_last(kinds: &Kinds, entries: &[Entry]) -> Vec<(Entry, Result<bool, Error>)> {
    let deletions = last_file(entries).into_iter().map(async |entry| {
        let gone = delete(kinds, &entry, PropagationPolicy::Foreground).await;
        (entry, gone)
    });
    futures::future::join_all(deletions).await
}

/// The entries of the highest file index: what is deleted next.
fn last_file(entries: &[Entry]) -> Vec<Entry> {
    let last = entries.iter().map(|entry| entry.file).max();
    entries
        .iter()
        .filter(|entry| Some(entry.file) == last)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(name: &str, file: u32) -> Entry {
        Entry {
            api_version: "apps/v1".into(),
            kind: "StatefulSet".into(),
            namespace: "n".into(),
            name: name.into(),
            uid: "u".into(),
            file,
        }
    }

    #[test]
    fn deletion_goes_backwards_file_by_file() {
        let entries = [entry("a", 0), entry("b", 2), entry("c", 2)];
        let names: Vec<_> = last_file(&entries).into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(last_file(&[]).is_empty());
    }

    #[test]
    fn the_same_place_ignores_version_and_uid() {
        let one = entry("a", 0);
        let other = Entry {
            api_version: "apps/v1beta1".into(),
            uid: "other".into(),
            ..entry("a", 3)
        };
        assert!(one.same_place(&other));
        assert!(!one.same_place(&entry("b", 0)));
    }

    #[test]
    fn what_controllers_or_others_made_is_not_in_the_inventory() {
        let object = |annotations: Value, owners: Value| {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "uid": "1", "annotations": annotations, "ownerReferences": owners}
            }))
            .unwrap();
            (GroupVersionKind::gvk("", "v1", "ConfigMap"), object)
        };
        let marked = json!({manifest::FILE: "3"});
        let controller = json!([
            {"apiVersion": "v1", "kind": "Service", "name": "s", "uid": "u", "controller": true}
        ]);
        let found = of_found(
            &[
                object(marked.clone(), json!([])),
                object(marked, controller),
                object(json!({}), json!([])),
            ],
            &[],
        );
        assert_eq!((found.len(), found[0].file), (1, 3));
    }

    #[test]
    fn a_mark_that_cannot_be_read_leaves_the_known_file() {
        let mut known = entry("a", 5);
        (known.kind, known.api_version) = ("ConfigMap".into(), "v1".into());
        let object: DynamicObject = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n", "annotations": {manifest::FILE: "x"}}
        }))
        .unwrap();
        let found = [(GroupVersionKind::gvk("", "v1", "ConfigMap"), object)];
        assert_eq!(of_found(&found, &[known])[0].file, 5);
        assert_eq!(of_found(&found, &[])[0].file, 0);
    }

    #[test]
    fn what_is_no_longer_rendered_is_told_by_kind_and_name() {
        let rendered = [
            json!({"apiVersion": "apps/v1beta2", "kind": "StatefulSet", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
        ];
        let left = not_among(&[entry("a", 0), entry("b", 0)], &rendered);
        assert_eq!(left, [entry("b", 0)]);
    }
}
