//! After an update: deletes what is no longer rendered and holds no data.

use kube::api::PropagationPolicy;
use objects::inventory::Entry;
use serde_json::Value;

use super::{Done, Halt, Job};

/// Kinds that hold data: an update never deletes one.
const DATA_KINDS: [&str; 5] = [
    "StatefulSet",
    "PersistentVolumeClaim",
    "Namespace",
    "CustomResourceDefinition",
    "PersistentVolume",
];

impl Job {
    /// Deletes what is no longer rendered and holds no data.
    pub(super) async fn prune(&mut self) -> Done {
        let rendered: Vec<Value> = self
            .applied
            .values()
            .flatten()
            .map(|object| object.manifest.clone())
            .collect();
        let mut doomed = self.objects.not_among(&rendered);
        doomed.retain(|entry| !holds_data(entry));
        if doomed.is_empty() {
            return Ok(());
        }
        // It may be the first change of this update.
        self.touch().await?;
        self.confirm().await?;
        for entry in doomed {
            let gone = self.objects.delete(&entry, PropagationPolicy::Foreground);
            if !gone.await? {
                return Err(Halt::Wait(format!("deleting {}", entry.label())));
            }
        }
        Ok(())
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
