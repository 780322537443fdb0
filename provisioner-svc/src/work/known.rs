//! What the worker knows of the instance's objects: the inventory, and what
//! writes are based on.

use cluster::{
    apply::Basis,
    error::{call, optional},
    inventory::Entry,
    kinds,
};
use kube::{
    ResourceExt as _,
    core::{DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{Done, Halt, Job};

/// Annotation: index of the template file, so that an inventory found by
/// label knows the order in which to delete.
const FILE: &str = "mongodb-osb.io/file";

impl Job<'_> {
    pub(super) fn saw(&mut self, object: &DynamicObject) {
        let basis = Basis::of(object);
        self.seen.insert(basis.uid().to_owned(), basis);
    }

    /// Sees to it that an object that the inventory knows of was seen.
    pub(super) async fn look(&mut self, gvk: &GroupVersionKind, name: &str) -> Done {
        let known = self.known(gvk, name);
        let Some(entry) = known.filter(|entry| !self.seen.contains_key(&entry.uid)) else {
            return Ok(());
        };
        let uid = entry.uid.clone();
        let found = self.read(gvk, name).await?;
        if found.and_then(|found| found.uid()).as_deref() != Some(&*uid) {
            self.inventory.retain(|entry| !entry.is_of(gvk, name));
        }
        Ok(())
    }

    /// An object as the API server has it, if the inventory knows of it.
    pub(super) async fn read(
        &mut self,
        gvk: &GroupVersionKind,
        name: &str,
    ) -> Result<Option<DynamicObject>, Halt> {
        let Some(entry) = self.known(gvk, name) else {
            return Ok(None);
        };
        let kind = self.permit(self.kinds().get(gvk).await)?;
        let api = kind.api(self.context.client(), &entry.namespace);
        let found = self.permit(optional(call(api.get(name)).await))?;
        if let Some(found) = &found {
            self.saw(found);
        }
        Ok(found)
    }

    /// The object of that kind and name, if the inventory has one.
    pub(super) fn known(&self, gvk: &GroupVersionKind, name: &str) -> Option<&Entry> {
        self.inventory.iter().find(|entry| entry.is_of(gvk, name))
    }

    pub(super) fn note(&mut self, entry: Entry) {
        self.inventory.retain(|known| !known.same_place(&entry));
        self.inventory.push(entry);
    }
}

/// The inventory as found, with the file indices from the objects' own marks
/// or from what was known.
pub(super) fn entries(found: &[(GroupVersionKind, DynamicObject)], known: &[Entry]) -> Vec<Entry> {
    found
        .iter()
        // What a controller made goes with its owner.
        .filter(|(_, object)| {
            !object
                .owner_references()
                .iter()
                .any(|owner| owner.controller == Some(true))
        })
        // Made by the worker itself, not by a template.
        .filter(|(_, object)| object.annotations().contains_key(FILE))
        .map(|(gvk, object)| {
            let mark = object
                .annotations()
                .get(FILE)
                .and_then(|text| text.parse().ok());
            let mut entry = Entry::of(gvk, object, 0);
            let before = known
                .iter()
                .find(|known| known.same_place(&entry))
                .map(|known| known.file);
            entry.file = mark.or(before).unwrap_or_default();
            entry
        })
        .collect()
}

pub(super) fn mark(manifest: &mut Value, index: usize) {
    let metadata = &mut manifest["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][FILE] = json!(index.to_string());
}

/// Which object a manifest means: kind and name.
pub(super) fn place_of(manifest: &Value) -> Option<(GroupVersionKind, &str)> {
    let gvk = kinds::of_manifest(manifest)?;
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
    Some((gvk, name.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controllers_made_is_not_in_the_inventory() {
        let object = |owner: bool| {
            let owners = if owner {
                json!([{"apiVersion": "v1", "kind": "Service", "name": "s", "uid": "u", "controller": true}])
            } else {
                json!([])
            };
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "uid": "1", "annotations": {FILE: "3"}, "ownerReferences": owners}
            }))
            .unwrap();
            (GroupVersionKind::gvk("", "v1", "ConfigMap"), object)
        };
        let found = entries(&[object(false), object(true)], &[]);
        assert_eq!((found.len(), found[0].file), (1, 3));
    }
}
