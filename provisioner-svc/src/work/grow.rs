//! Growth of storage, a step of its own before anything is applied: the
//! claims are patched and waited for, then the StatefulSet is taken away from
//! over its pods, and applied anew with the larger template.

use cluster::error::{call, optional};
use k8s_openapi::api::{core::v1::PersistentVolumeClaim, storage::v1::StorageClass};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams, PropagationPolicy},
};
use objects::{kinds, manifest::identity};
use serde_json::{Value, json};

use super::{Done, Halt, Job, refuse};
use crate::storage::{self, Growth};

impl Job {
    /// The manifest, with storage that is never less than there is, and what
    /// shall grow.
    pub(super) async fn with_kept_storage(
        &mut self,
        object: &Value,
    ) -> Result<(Value, Vec<Growth>), Halt> {
        let mut manifest = object.clone();
        if object["kind"] != "StatefulSet" {
            return Ok((manifest, Vec::new()));
        }
        let live = match identity(object) {
            Some((gvk, name)) => self.objects.read(&gvk, name).await?,
            None => None,
        };
        let growths = match live.and_then(|live| serde_json::to_value(live).ok()) {
            Some(live) => storage::fit(&mut manifest, &live),
            None => Vec::new(),
        };
        Ok((manifest, growths))
    }

    /// Refuses a growth that the storage class does not allow, before anything
    /// is changed.
    pub(super) async fn check_growth(&self, growth: &Growth) -> Done {
        let classes: Api<StorageClass> = Api::all(self.context.client());
        for claim in self.claims(growth).await? {
            let name = claim.name_any();
            let class = claim
                .spec
                .and_then(|spec| spec.storage_class_name)
                .or_else(|| growth.class.clone());
            let Some(class) = class.filter(|class| !class.is_empty()) else {
                return Err(self.refuse_update(&format!(
                    "Volume claim {name} has no StorageClass and cannot grow"
                )));
            };
            let found = optional(call(classes.get(&class)).await)?;
            if found.and_then(|class| class.allow_volume_expansion) != Some(true) {
                return Err(self.refuse_update(&format!(
                    "StorageClass {class} of volume claim {name} does not allow volumes to grow"
                )));
            }
        }
        Ok(())
    }

    /// Grows the claims, then makes way for the StatefulSet with the larger template.
    pub(super) async fn grow(&mut self) -> Done {
        let Some(growth) = self.growths.first().cloned() else {
            return Ok(());
        };
        self.touch().await?;
        let asked = storage::bytes(&growth.storage).unwrap_or_default();
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client(), self.namespace());
        let mut waiting = Vec::new();
        for claim in self.claims(&growth).await? {
            let name = claim.name_any();
            let requests = claim
                .spec
                .as_ref()
                .and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
            let requested =
                requests.and_then(|requests| storage::bytes(&requests.get("storage")?.0));
            if requested.is_none_or(|requested| requested < asked) {
                let patch =
                    json!({"spec": {"resources": {"requests": {"storage": growth.storage}}}});
                let params = PatchParams {
                    field_manager: Some(cluster::FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                match call(api.patch(&name, &params, &Patch::Merge(&patch))).await {
                    Ok(_) => {}
                    Err(cluster::Error::Invalid(fields)) => {
                        return Err(refuse(format!("Volume claim {name} cannot grow: {fields}")));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if !has_grown(&claim, asked) {
                waiting.push(name);
            }
        }
        if !waiting.is_empty() {
            return Err(Halt::Wait(format!(
                "waiting for volume claims to grow to {}: {}",
                growth.storage,
                waiting.join(", ")
            )));
        }
        self.make_way(&growth).await?;
        self.growths.remove(0);
        Ok(())
    }

    /// Deletes the StatefulSet and leaves its pods, which its successor adopts.
    async fn make_way(&mut self, growth: &Growth) -> Done {
        let gvk = kinds::parse("apps/v1", "StatefulSet");
        let Some(entry) = self.objects.entry(&gvk, &growth.set).cloned() else {
            return Ok(());
        };
        let gone = self.objects.delete(&entry, PropagationPolicy::Orphan);
        if !gone.await? {
            return Err(Halt::Wait(format!(
                "making way for a larger {}",
                entry.label()
            )));
        }
        Ok(())
    }

    async fn claims(&self, growth: &Growth) -> Result<Vec<PersistentVolumeClaim>, Halt> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client(), self.namespace());
        let params = ListParams::default().labels(&self.record.selector());
        let list = call(api.list(&params)).await?;
        Ok(list
            .items
            .into_iter()
            .filter(|claim| storage::is_of(&claim.name_any(), growth))
            .collect())
    }
}

/// Whether the volume has the size; the file system on it may follow when the
/// pod next starts.
fn has_grown(claim: &PersistentVolumeClaim, asked: u128) -> bool {
    let Some(status) = &claim.status else {
        return false;
    };
    let capacity = status
        .capacity
        .as_ref()
        .and_then(|capacity| storage::bytes(&capacity.get("storage")?.0));
    let pending = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "FileSystemResizePending" && condition.status == "True"
    });
    pending || capacity.is_some_and(|capacity| capacity >= asked)
}
