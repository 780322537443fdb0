//! What an instance consists of: the list of its objects, found again by
//! label where it was lost, and deleted in order.

use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions, PropagationPolicy},
    core::{DynamicObject, GroupVersionKind},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, call, optional},
    kinds::{self, Kinds},
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
        format!("{}/{}", self.kind, self.name)
    }

    /// Whether this is the entry of an object of that kind (whatever its
    /// version) and name. Templates of an instance fill one namespace.
    pub fn is_of(&self, gvk: &GroupVersionKind, name: &str) -> bool {
        self.kind == gvk.kind && self.name == name && self.gvk().group == gvk.group
    }

    /// Whether both mean the same place (not necessarily the same uid).
    pub fn same_place(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.is_of(&other.gvk(), &other.name)
    }
}

/// Finds an instance's objects of `kinds_wanted` in `namespace` by label.
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
    let Some(found) = optional(call(api.get(&entry.name)).await)? else {
        return Ok(true);
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

/// The entries of the highest file index: what is deleted next.
pub fn last_file(entries: &[Entry]) -> Vec<Entry> {
    let last = entries.iter().map(|entry| entry.file).max();
    entries
        .iter()
        .filter(|entry| Some(entry.file) == last)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
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
}
