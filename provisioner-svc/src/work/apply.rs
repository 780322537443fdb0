//! Create and update: find, compare, apply file by file, wait, prune.

use std::time::Duration;

use cluster::{
    apply::{self, Basis, Outcome, Place},
    diagnose,
    error::{call, optional},
    inventory::{self, Entry},
    kinds,
    watch::Watch,
};
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams, PropagationPolicy},
    core::{DynamicObject, GroupVersionKind},
};
use plan::{descriptor::KindRef, ready::Readiness, render::File};
use serde_json::{Value, json};
use service::telemetry::chain;
use tokio::time::Instant;

use super::{AppliedObject, Done, Failure, Halt, Job, refuse};
use crate::{error::Error, step::FileState, storage};

/// Annotation: index of the template file, so that an inventory found by
/// label knows the order in which to delete.
const FILE: &str = "mongodb-osb.io/file";
/// The authorizer hears of a new RoleBinding with a small delay.
const GRANT_DELAY: Duration = Duration::from_secs(30);
/// Between looks at what no watch tells (pods, volume claims, events).
const DIAGNOSE_EVERY: Duration = Duration::from_secs(5);
/// Stop point: all is decided, nothing is written.
const CONFIRMED: &str = "Apply-confirmed";
/// Waiting objects that a poll names.
const NAMED: usize = 3;

/// Kinds that hold data: an update never deletes one.
const DATA_KINDS: [&str; 5] = [
    "StatefulSet",
    "PersistentVolumeClaim",
    "Namespace",
    "CustomResourceDefinition",
    "PersistentVolume",
];

impl Job<'_> {
    pub(super) async fn discover(&mut self) -> Done {
        let wanted = self.all_kinds().await?;
        let found = self.permit(
            inventory::discover(
                self.kinds(),
                &wanted,
                self.namespace(),
                &self.record.selector(),
            )
            .await,
        )?;
        self.inventory = entries(&found, &self.inventory);
        for (_, object) in &found {
            self.saw(object);
        }
        self.observed.discovered = true;
        Ok(())
    }

    /// The kinds of every bundle that this instance may have objects of.
    /// Bundles that are not to be had any more are made good by the inventory.
    pub(super) async fn all_kinds(&self) -> Result<Vec<GroupVersionKind>, Halt> {
        let mut digests: Vec<String> = self.record.operation().bundles.clone();
        digests.extend(
            self.record
                .state
                .applied
                .iter()
                .map(|applied| applied.bundle.clone()),
        );
        digests.sort();
        digests.dedup();
        let mut all: Vec<GroupVersionKind> = self.inventory.iter().map(Entry::gvk).collect();
        for digest in digests {
            match self.context.catalog.bundle(&digest).await {
                Ok(bundle) => all.extend(bundle.bundle().kinds().iter().map(gvk)),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "kinds of a bundle not known");
                }
            }
        }
        all.sort_by_key(|kind| (kind.group.clone(), kind.kind.clone(), kind.version.clone()));
        all.dedup_by_key(|kind| (kind.group.clone(), kind.kind.clone()));
        Ok(all)
    }

    /// Renders one file with what is known now.
    fn render(&self, index: usize) -> Result<File, Halt> {
        let inputs = self.inputs()?;
        let name = inputs.loaded.files().get(index).ok_or(Halt::Stale)?;
        let variables = self.variables()?;
        inputs
            .loaded
            .render_file(name, &variables)
            .map_err(|error| refuse(format!("The plan's template cannot be rendered: {error}")))
    }

    /// Asks the API server, without effect, whether it would take each object,
    /// and refuses to delete what holds data. Nothing was applied yet.
    pub(super) async fn compare(&mut self) -> Done {
        let count = self.observed.files.len();
        let mut rendered = Vec::new();
        for index in 0..count {
            let file = self.render(index)?;
            for object in &file.objects {
                let (mut manifest, growths) = self.fitted(object).await?;
                for growth in growths {
                    self.check_growth(&growth).await?;
                    // The claim template is immutable; all else is compared.
                    storage::put_back(&mut manifest, &growth);
                    self.growths.push(growth);
                }
                self.dry_run(&manifest).await?;
            }
            rendered.extend(file.objects);
        }
        let doomed: Vec<String> = self
            .stale(&rendered)
            .into_iter()
            .filter(holds_data)
            .map(|entry| entry.label())
            .collect();
        if !doomed.is_empty() {
            return Err(refuse(format!(
                "The update would delete {}, which holds data; nothing was changed.",
                doomed.join(", ")
            )));
        }
        self.observed.grows = !self.growths.is_empty();
        self.observed.compared = true;
        Ok(())
    }

    async fn dry_run(&self, object: &Value) -> Done {
        let Some((gvk, name)) = place_of(object) else {
            return Ok(());
        };
        if self.known(&gvk, name).is_none() {
            return Ok(());
        }
        let kind = self.permit(self.kinds().get(&gvk).await)?;
        let mut manifest = object.clone();
        apply::label(&mut manifest, &self.record.labels());
        let params = PatchParams::apply(cluster::FIELD_MANAGER)
            .force()
            .validation_strict()
            .dry_run();
        let api = kind.api(self.context.client(), self.namespace());
        match call(api.patch(name, &params, &Patch::Apply(&manifest))).await {
            Ok(_) | Err(cluster::Error::NotFound) => Ok(()),
            Err(cluster::Error::Invalid(fields)) => Err(refuse(format!(
                "{}/{name} cannot be changed this way: {fields}; nothing was changed.",
                gvk.kind
            ))),
            Err(error) => self.permit(Err(error)),
        }
    }

    pub(super) async fn apply(&mut self, index: usize) -> Done {
        let file = self.render(index)?;
        let mut manifests = Vec::new();
        for manifest in &file.objects {
            let (mut fitted, _) = self.fitted(manifest).await?;
            mark(&mut fitted, index);
            if let Some((gvk, name)) = place_of(manifest) {
                self.look(&gvk, name).await?;
            }
            manifests.push(fitted);
        }
        // In this order: every write is based on what was there before the
        // record was seen to ask for it still, so that one that comes late
        // (this process was paused) does not make old again what is newer.
        self.confirm().await?;
        service::failpoint::reach(CONFIRMED);
        let place = if self.record.resource.spec.own_namespace {
            Place::Own
        } else {
            Place::Shared
        };
        let labels = self.record.labels();
        let namespace = self.namespace().to_owned();
        let mut applied = Vec::new();
        self.touched = true;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        for (manifest, fitted) in file.objects.into_iter().zip(manifests) {
            let Some((gvk, name)) = place_of(&manifest) else {
                continue;
            };
            let label = format!("{}/{name}", gvk.kind);
            let known = self.known(&gvk, name);
            let basis = known.and_then(|entry| self.seen.get(&entry.uid));
            let outcome =
                apply::apply(self.kinds(), &fitted, &namespace, &labels, place, basis).await;
            let live = match outcome {
                Ok(Outcome::Applied(live)) => *live,
                Ok(Outcome::Changed(live)) => {
                    // By a controller, or by a replica that took over: look again.
                    self.saw(&live);
                    self.note(Entry::of(&gvk, &live, number));
                    return Err(Halt::Wait(format!("{label} is being changed")));
                }
                Ok(Outcome::Foreign) => {
                    return Err(Halt::Wait(format!(
                        "waiting for {label}, which belongs to somebody else, to go"
                    )));
                }
                Ok(Outcome::Vanished) => {
                    // Deleted by somebody since it was recorded: make it anew.
                    self.inventory.retain(|entry| !entry.is_of(&gvk, name));
                    return Err(Halt::Wait(format!("making {label} anew")));
                }
                Err(cluster::Error::UnknownKind(kind)) => {
                    return Err(Halt::Wait(format!(
                        "waiting for the cluster to serve {kind}"
                    )));
                }
                Err(cluster::Error::Invalid(fields)) => {
                    return Err(refuse(format!(
                        "{label} is refused by the API server: {fields}"
                    )));
                }
                Err(error) => return self.permit(Err(error)),
            };
            self.saw(&live);
            self.note(Entry::of(&gvk, &live, number));
            applied.push(AppliedObject {
                gvk,
                manifest,
                live,
            });
        }
        self.applied.insert(index, applied);
        self.observed.files[index] = FileState::Applied;
        self.write_status().await?;
        Ok(())
    }

    /// Waits at the barrier behind a file: watches its objects until all are
    /// ready, then evaluates the outputs.
    pub(super) async fn wait_for(&mut self, index: usize) -> Done {
        let mut watch: Option<Watch> = None;
        let begun = Instant::now();
        let mut diagnosed: Option<Instant> = None;
        let mut hints: Vec<String> = Vec::new();
        loop {
            let waiting = self.judge(index)?;
            if waiting.is_empty() {
                break;
            }
            if self.is_overdue() {
                self.observed.overdue = true;
                return Err(Halt::Wait(sentence(&waiting, &hints)));
            }
            if self.is_stale()? {
                return Err(Halt::Stale);
            }
            let now = Instant::now();
            if now - begun > DIAGNOSE_EVERY && diagnosed.is_none_or(|at| now - at > DIAGNOSE_EVERY)
            {
                diagnosed = Some(now);
                let (client, selector) = (self.context.client(), self.record.selector());
                let found = diagnose::diagnose(&client, self.namespace(), &selector).await;
                hints = found.unwrap_or_default();
            }
            self.say(sentence(&waiting, &hints)).await;
            let watch = match &mut watch {
                Some(watch) => watch,
                None => watch.insert(self.watch(index).await?),
            };
            tokio::select! {
                () = watch.changed(Duration::from_secs(2)) => {}
                () = self.signals.wake.notified() => {}
            }
            for object in self.applied.get_mut(&index).into_iter().flatten() {
                if let Some(live) = watch.get(&object.gvk, &object.live.name_any()) {
                    object.live = live.clone();
                }
            }
        }
        self.evaluate_outputs(index)?;
        self.observed.files[index] = FileState::Ready;
        Ok(())
    }

    async fn watch(&self, index: usize) -> Result<Watch, Halt> {
        let mut wanted: Vec<GroupVersionKind> = Vec::new();
        for object in self.applied.get(&index).into_iter().flatten() {
            if object.gvk.kind != "Secret" && !wanted.contains(&object.gvk) {
                wanted.push(object.gvk.clone());
            }
        }
        let opened = Watch::open(
            self.kinds(),
            &wanted,
            self.namespace(),
            &self.record.selector(),
        )
        .await;
        self.permit(opened)
    }

    /// What is not ready yet, in words; an object that has failed is a failure.
    fn judge(&self, index: usize) -> Result<Vec<String>, Halt> {
        let variables = self.variables()?;
        let inputs = self.inputs()?;
        let now = Timestamp::now();
        let mut waiting = Vec::new();
        for object in self.applied.get(&index).into_iter().flatten() {
            let live = live_json(object);
            match inputs
                .loaded
                .readiness(&live, &object.manifest, &variables, now)
            {
                Readiness::Ready => {}
                Readiness::Waiting(message) => waiting.push(message),
                Readiness::Failed(message) => {
                    return Err(Halt::Fail(Failure {
                        message,
                        repeatable: true,
                    }));
                }
            }
        }
        Ok(waiting)
    }

    fn evaluate_outputs(&mut self, index: usize) -> Result<(), Halt> {
        let objects: Vec<Value> = self.applied.values().flatten().map(live_json).collect();
        let variables = self.variables()?;
        let inputs = self.inputs()?;
        let outputs = inputs
            .loaded
            .outputs(&variables, &objects)
            .map_err(|error| refuse(format!("The plan's outputs cannot be evaluated: {error}")))?;
        let missing = inputs.loaded.missing_outputs(&outputs).join(", ");
        if index + 1 == self.observed.files.len() && !missing.is_empty() {
            return Err(Halt::Wait(format!("waiting for the outputs {missing}")));
        }
        self.outputs = outputs;
        Ok(())
    }

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
    fn stale(&self, rendered: &[Value]) -> Vec<Entry> {
        let rendered: Vec<_> = rendered.iter().filter_map(place_of).collect();
        let is_rendered = |entry: &Entry| rendered.iter().any(|(gvk, name)| entry.is_of(gvk, name));
        self.inventory
            .iter()
            .filter(|entry| !is_rendered(entry))
            .cloned()
            .collect()
    }

    fn saw(&mut self, object: &DynamicObject) {
        let basis = Basis::of(object);
        self.seen.insert(basis.uid().to_owned(), basis);
    }

    /// Sees to it that an object that the inventory knows of was seen.
    async fn look(&mut self, gvk: &GroupVersionKind, name: &str) -> Done {
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

    fn note(&mut self, entry: Entry) {
        self.inventory.retain(|known| !known.same_place(&entry));
        self.inventory.push(entry);
    }

    /// "Forbidden" shortly after a RoleBinding was made means "not yet".
    pub(super) fn permit<T>(&self, result: Result<T, cluster::Error>) -> Result<T, Halt> {
        match result {
            Err(cluster::Error::Forbidden(reason)) => {
                let recent = self.granted_at.is_some_and(|at| at.elapsed() < GRANT_DELAY);
                if recent {
                    Err(Halt::Wait(
                        "waiting for the broker's rights in the namespace".to_owned(),
                    ))
                } else {
                    Err(Halt::Fail(Failure {
                        message: format!("The broker may not do this in the cluster: {reason}"),
                        repeatable: true,
                    }))
                }
            }
            Err(error) => Err(Halt::Broken(Error::Cluster(error))),
            Ok(value) => Ok(value),
        }
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

fn mark(manifest: &mut Value, index: usize) {
    let metadata = &mut manifest["metadata"];
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    metadata["annotations"][FILE] = json!(index.to_string());
}

fn live_json(object: &AppliedObject) -> Value {
    let mut live = serde_json::to_value(&object.live).unwrap_or_default();
    // Lists and watches leave these out.
    live["apiVersion"] = json!(object.gvk.api_version());
    live["kind"] = json!(object.gvk.kind);
    live
}

/// An update never deletes a database, a volume, or any MongoDB or Atlas kind.
fn holds_data(entry: &Entry) -> bool {
    DATA_KINDS.contains(&entry.kind.as_str()) || entry.gvk().group.ends_with("mongodb.com")
}

/// Which object a manifest means: kind and name.
pub(super) fn place_of(manifest: &Value) -> Option<(GroupVersionKind, &str)> {
    let gvk = kinds::of_manifest(manifest)?;
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
    Some((gvk, name.unwrap_or_default()))
}

pub(crate) fn gvk(kind: &KindRef) -> GroupVersionKind {
    GroupVersionKind::gvk(&kind.group, &kind.version, &kind.kind)
}

fn sentence(waiting: &[String], hints: &[String]) -> String {
    let shown: Vec<&str> = waiting
        .iter()
        .chain(hints)
        .take(NAMED + hints.len())
        .map(String::as_str)
        .collect();
    shown.join("; ")
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
