//! After an update: deletes what is no longer rendered and holds no data.

use cluster::inventory::{self, Entry};
use kube::api::PropagationPolicy;
use serde_json::Value;

use super::{Done, Halt, Job, known::place_of};

/// Kinds that hold data: an update never deletes one.
const DATA_KINDS: [&str; 5] = [
    "StatefulSet",
    "PersistentVolumeClaim",
    "Namespace",
    "CustomResourceDefinition",
    "PersistentVolume",
];

impl Job<'_> {
    /// Deletes what is no longer rendered and holds no data.
    pub(super) async fn prune(&mut self) -> Done {
        let rendered: Vec<Value> = self
            .applied
            .values()
            .flatten()
            .map(|object| object.manifest.clone())
            .collect();
        for entry in self.stale(&rendered) {
            if holds_data(&entry) {
                continue;
            }
            let gone = inventory::delete(self.kinds(), &entry, PropagationPolicy::Foreground).await;
            if !self.permit(gone)? {
                return Err(Halt::Wait(format!("deleting {}", entry.label())));
            }
            self.inventory.retain(|kept| !kept.same_place(&entry));
        }
        self.write_status().await?;
        self.observed.pruned = true;
        Ok(())
    }

    /// Entries of the inventory that are not among these manifests.
    pub(super) fn stale(&self, rendered: &[Value]) -> Vec<Entry> {
        let rendered: Vec<_> = rendered.iter().filter_map(place_of).collect();
        let is_rendered = |entry: &Entry| rendered.iter().any(|(gvk, name)| entry.is_of(gvk, name));
        self.inventory
            .iter()
            .filter(|entry| !is_rendered(entry))
            .cloned()
            .collect()
    }
}

/// An update never deletes a database, a volume, or any MongoDB or Atlas kind.
pub(super) fn holds_data(entry: &Entry) -> bool {
    DATA_KINDS.contains(&entry.kind.as_str()) || entry.gvk().group.ends_with("mongodb.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(api_version: &str, kind: &str) -> Entry {
        Entry {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: "n".into(),
            name: "x".into(),
            uid: "u".into(),
            file: 0,
        }
    }

    #[test]
    fn databases_and_volumes_hold_data_and_configuration_does_not() {
        assert!(holds_data(&entry("apps/v1", "StatefulSet")));
        assert!(holds_data(&entry(
            "mongodbcommunity.mongodb.com/v1",
            "MongoDBCommunity"
        )));
        assert!(holds_data(&entry(
            "atlas.mongodb.com/v1",
            "AtlasDeployment"
        )));
        assert!(!holds_data(&entry("v1", "ConfigMap")));
    }
}
