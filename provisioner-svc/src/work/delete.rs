//! Delete: wait for bindings to go, then everything backwards. Legal in every
//! phase, idempotent, and without the templates.

use std::{pin::pin, time::Duration};

use cluster::{
    error::{call, optional},
    gate::{self, Deletion},
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions},
};

use objects::{
    inventory::{self, Entry},
    kinds,
};
use service::telemetry::chain;

use super::{Done, Halt, Job, discover::digests, halt::Rights};

/// Longest wait for the end of a namespace before it is looked at again.
const PATIENCE: Duration = Duration::from_secs(10);

impl Job {
    pub(super) async fn await_release(&mut self) -> Done {
        // The binder watches; its release is a change of the record, which
        // wakes this worker.
        match self.context.read(&self.record.name()).await? {
            Some(record) if record.resource.spec.held => Err(Halt::Wait(
                "waiting for the bindings of this instance to go".to_owned(),
            )),
            Some(_) => Ok(()),
            None => Err(Halt::Stale),
        }
    }

    pub(super) async fn find_remaining(&mut self) -> Done {
        if self.goes_with_namespace().await {
            self.objects.set_inventory(Vec::new());
            self.remaining = Some(Vec::new());
            return Ok(());
        }
        let wanted = self.all_kinds().await;
        let known = self.objects.inventory().to_vec();
        match self.objects.find(&wanted).await {
            Ok(()) => {}
            // No rights (any more) in the namespace: it was never made, or is going.
            Err(error @ cluster::Error::Forbidden(_))
                if self.record.resource.spec.own_namespace =>
            {
                if matches!(self.rights().await, Ok(Rights::Arriving)) {
                    return Err(error.into());
                }
                self.objects.set_inventory(Vec::new());
            }
            Err(error) => return Err(error.into()),
        }
        let mut all = self.objects.inventory().to_vec();
        for entry in known {
            if !all.iter().any(|found| found.same_place(&entry)) {
                all.push(entry);
            }
        }
        if self.retains() {
            // Data that a template made itself.
            all.retain(|entry| entry.kind != "PersistentVolumeClaim");
        }
        self.remaining = Some(all);
        Ok(())
    }

    /// Whether nothing is lost by deleting the namespace alone: all that there
    /// can be is in it, of one file, so that there is no order to keep, and
    /// without a controller that may need the rest while it cleans up.
    async fn goes_with_namespace(&self) -> bool {
        if !self.record.resource.spec.own_namespace || self.retains() {
            return false;
        }
        for digest in digests(&self.record) {
            let Ok(loaded) = self.context.catalog.bundle(digest).await else {
                return false;
            };
            if loaded.files().len() > 1 {
                return false;
            }
            for kind in loaded.bundle().kinds() {
                let gvk = kinds::parse(&kind.api_version(), &kind.kind);
                let is_inside = kinds::is_built_in(&gvk)
                    && matches!(self.context.kinds.get(&gvk).await, Ok(kind) if kind.namespaced);
                if !is_inside {
                    return false;
                }
            }
        }
        let inventory = self.objects.inventory();
        let is_inside =
            |entry: &Entry| entry.namespace == self.namespace() && kinds::is_built_in(&entry.gvk());
        inventory.iter().all(is_inside)
    }

    /// The objects of the last file that has any left: all at once, and no
    /// further before they are gone.
    pub(super) async fn delete_last(&mut self) -> Done {
        let mut left = self.remaining.clone().unwrap_or_default();
        let mut waiting = Vec::new();
        for (entry, gone) in inventory::delete_last(&self.context.kinds, &left.clone()).await {
            match gone {
                Ok(true) => left.retain(|kept| !kept.same_place(&entry)),
                Ok(false) => waiting.push(entry.label()),
                // The namespace goes anyway and takes it along.
                Err(cluster::Error::Forbidden(_)) if self.record.resource.spec.own_namespace => {
                    left.retain(|kept| !kept.same_place(&entry));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.objects.set_inventory(left.clone());
        self.remaining = Some(left);
        if waiting.is_empty() {
            return Ok(());
        }
        Err(Halt::Wait(format!("deleting {}", waiting.join(", "))))
    }

    /// Volume claims outlive their StatefulSet; in namespaces that are not the
    /// instance's own so do the Secret of generated values and the like.
    pub(super) async fn delete_leftovers(&mut self) -> Done {
        if self.record.resource.spec.own_namespace {
            // They go with it.
            return Ok(());
        }
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client(), self.namespace());
        let mut waiting = self.delete_labelled(&claims).await?;
        let secrets: Api<Secret> = Api::namespaced(self.context.client(), self.namespace());
        waiting.extend(self.delete_labelled(&secrets).await?);
        if waiting.is_empty() {
            return Ok(());
        }
        Err(Halt::Wait(format!("deleting {}", waiting.join(", "))))
    }

    async fn delete_labelled<K>(&self, api: &Api<K>) -> Result<Vec<String>, Halt>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let params = ListParams::default().labels(&self.record.selector());
        let list = match call(api.list_metadata(&params)).await {
            Ok(list) => list,
            Err(error) => return Err(error.into()),
        };
        let mut waiting = Vec::new();
        for object in list.items {
            let name = object.name_any();
            waiting.push(format!("{}/{name}", K::kind(&())));
            if object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: object.uid(),
                resource_version: None,
            });
            match optional(call(api.delete(&name, &params)).await) {
                Ok(_) | Err(cluster::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(waiting)
    }

    pub(super) async fn delete_namespace(&mut self) -> Done {
        let (client, name) = (self.context.client(), self.namespace().to_owned());
        let labels = self.record.labels();
        loop {
            let version = match gate::delete_namespace(&client, &name, &labels).await? {
                Deletion::Gone => return Ok(()),
                Deletion::Going(version) => version,
            };
            let waiting = "waiting for the instance's namespace to go".to_owned();
            self.say(waiting.clone()).await;
            let mut end = pin!(gate::await_end(&client, &name, &version, PATIENCE));
            let ended = loop {
                if self.is_overdue() {
                    return Err(Halt::Wait(waiting));
                }
                if self.is_stale()? {
                    return Err(Halt::Stale);
                }
                let mut ended = None;
                let left = self.time_left().unwrap_or(PATIENCE);
                let first = async { ended = tokio::time::timeout(left, &mut end).await.ok() };
                self.turn.aside(first).await;
                if let Some(ended) = ended {
                    break ended;
                }
            };
            match ended {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(namespace = name, error = chain(&error), "end not watched");
                    return Err(Halt::Wait(waiting));
                }
            }
        }
    }

    pub(super) async fn delete_revisions(&mut self) -> Done {
        if self.record.is_archived() {
            // The others are of the incarnation that lives.
            if let Some(applied) = &self.record.state.applied {
                self.context.revisions.delete(&applied.revision).await?;
            }
            return Ok(());
        }
        // A name is of one revision only. What no record names any more goes
        // with the sweep.
        for revision in self.record.revisions() {
            self.context.revisions.delete(revision).await?;
        }
        Ok(())
    }
}
