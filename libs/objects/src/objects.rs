//! The objects of one owner: what is known of them, and what is done with them.

use std::collections::{BTreeMap, HashMap};

use cluster::{
    Error,
    error::{call, optional},
};
use kube::{
    Api, ResourceExt as _,
    api::PropagationPolicy,
    core::{DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::{
    inventory::{self, Entry},
    kinds::Kinds,
    manifest::{self, identity},
    unchanged::is_unchanged,
    write::{self, Basis, Outcome, Place},
};

/// Where an owner's objects are, and how they are told from others.
#[derive(Debug, Clone)]
pub struct Scope {
    /// All namespaced objects are in this one.
    pub namespace: String,
    /// What guards them there.
    pub place: Place,
    /// On every object; what lacks one of them is another owner's.
    pub labels: BTreeMap<String, String>,
    /// Finds the objects by (some of) these labels.
    pub selector: String,
}

/// The objects of one owner: an inventory, and what writes are based on.
#[derive(Debug)]
pub struct Objects {
    kinds: Kinds,
    scope: Scope,
    inventory: Vec<Entry>,
    /// By uid.
    seen: HashMap<String, Basis>,
    /// Objects as they were read, and not written since; by uid.
    read: HashMap<String, DynamicObject>,
}

impl Objects {
    /// Starts from an inventory that was kept somewhere, or an empty one.
    pub fn new(kinds: Kinds, scope: Scope, inventory: Vec<Entry>) -> Self {
        Self {
            kinds,
            scope,
            inventory,
            seen: HashMap::new(),
            read: HashMap::new(),
        }
    }

    /// What is there, as far as is known.
    pub fn inventory(&self) -> &[Entry] {
        &self.inventory
    }

    /// Replaces what is known of what is there.
    pub fn set_inventory(&mut self, inventory: Vec<Entry>) {
        self.inventory = inventory;
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Finds what is there by kind and label. What a controller made is not
    /// part of it: that goes with its owner.
    pub async fn find(&mut self, wanted: &[GroupVersionKind]) -> Result<(), Error> {
        let Scope {
            namespace,
            selector,
            ..
        } = &self.scope;
        let found = inventory::discover(&self.kinds, wanted, namespace, selector).await?;
        self.inventory = inventory::of_found(&found, &self.inventory);
        for (_, object) in found {
            self.keep(object);
        }
        Ok(())
    }

    /// The entry of that kind (whatever its version) and name.
    pub fn entry(&self, gvk: &GroupVersionKind, name: &str) -> Option<&Entry> {
        self.inventory.iter().find(|entry| entry.is_of(gvk, name))
    }

    /// An object as the API server has it, if the inventory has an entry of it.
    pub async fn read(
        &mut self,
        gvk: &GroupVersionKind,
        name: &str,
    ) -> Result<Option<DynamicObject>, Error> {
        let Some(entry) = self.entry(gvk, name) else {
            return Ok(None);
        };
        let kind = self.kinds.get(gvk).await?;
        let api = kind.api(self.kinds.client(), &entry.namespace);
        let found = optional(call(api.get(name)).await)?;
        if let Some(found) = &found {
            self.keep(found.clone());
        }
        Ok(found)
    }

    /// Reads the object that the next write is to be based on, unless it was
    /// read before. One that is gone, or was replaced, leaves the inventory.
    pub async fn look_at(&mut self, manifest: &Value) -> Result<(), Error> {
        let Some((gvk, name)) = identity(manifest) else {
            return Ok(());
        };
        let entry = self.entry(&gvk, name);
        let Some(entry) = entry.filter(|entry| !self.seen.contains_key(&entry.uid)) else {
            return Ok(());
        };
        let uid = entry.uid.clone();
        let found = self.read(&gvk, name).await?;
        if found.and_then(|found| found.uid()).as_deref() != Some(&*uid) {
            self.forget(&gvk, name);
        }
        Ok(())
    }

    /// Whether the object of a manifest was never changed since it was created,
    /// so that [`Self::own`] has something to do.
    pub fn is_as_created(&self, manifest: &Value) -> bool {
        identity(manifest)
            .and_then(|(gvk, name)| self.entry(&gvk, name))
            .and_then(|entry| self.seen.get(&entry.uid))
            .is_some_and(|basis| basis.created().is_some())
    }

    /// Before the first change of an object, its dry run included: makes its
    /// fields owned as an apply owns them, so that this change does what every
    /// later one does. `previous` is the manifest that the object was made
    /// from, if that is known. The object's content stays as it is.
    ///
    /// [`Error::Conflict`]: it changed meanwhile, and has been read again.
    pub async fn own(
        &mut self,
        manifest: &Value,
        previous: Option<&Value>,
        file: u32,
    ) -> Result<(), Error> {
        let Some((gvk, name)) = identity(manifest) else {
            return Ok(());
        };
        self.look_at(manifest).await?;
        let Some((basis, created)) = self.entry(&gvk, name).and_then(|entry| {
            let basis = self.seen.get(&entry.uid)?;
            Some((basis.clone(), basis.created()?.to_vec()))
        }) else {
            return Ok(());
        };
        let api = self.api(&gvk, manifest).await?;
        let previous = match previous {
            Some(previous) => Some(self.complete(previous, file).await?),
            None => None,
        };
        let owned = async {
            let entries = write::fields_as_applied(&api, name, previous, &basis, &created).await?;
            write::own(&api, name, &basis, &entries).await
        };
        match owned.await {
            Ok(owned) => {
                self.saw(&owned);
                Ok(())
            }
            Err(Error::NotFound) => {
                self.forget(&gvk, name);
                Ok(())
            }
            Err(Error::Conflict) => {
                self.seen.remove(basis.uid());
                self.look_at(manifest).await?;
                Err(Error::Conflict)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the API server whether it would take the change. An object that is
    /// not in the inventory, or gone, is not asked for. Nothing is written.
    pub async fn try_out(&self, manifest: &Value, file: u32) -> Result<(), Error> {
        let Some((gvk, name)) = identity(manifest) else {
            return Ok(());
        };
        let Some(entry) = self.entry(&gvk, name) else {
            return Ok(());
        };
        let api = self.api(&gvk, manifest).await?;
        let manifest = self.complete(manifest, file).await?;
        match write::try_out(&api, name, manifest, &entry.uid).await {
            // Gone, or replaced: it will be made anew.
            Ok(_) | Err(Error::NotFound | Error::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes the object of a manifest from template file `file`, labelled.
    /// Fields that the kind does not have are an error. The write is based on
    /// the object as it was seen last; if there is none in the inventory, there
    /// must be none.
    pub async fn write(&mut self, manifest: &Value, file: u32) -> Result<Outcome, Error> {
        let missing = || Error::Invalid("metadata.name (FieldValueRequired)".to_owned());
        let (gvk, name) = identity(manifest).ok_or_else(missing)?;
        let api = self.api(&gvk, manifest).await?;
        let complete = self.complete(manifest, file).await?;
        let entry = self.entry(&gvk, name);
        let basis = entry.and_then(|entry| self.seen.get(&entry.uid));
        let outcome = if let Some(basis) = basis {
            write::change(&api, name, complete, basis).await?
        } else {
            let Scope { labels, place, .. } = &self.scope;
            let client = self.kinds.client();
            write::create(&client, &api, name, &complete, labels, *place).await?
        };
        match &outcome {
            Outcome::Applied(live) | Outcome::Changed(live) => {
                self.saw(live);
                self.note(Entry::of(&gvk, live, file));
            }
            Outcome::Vanished => self.forget(&gvk, name),
            Outcome::Foreign => {}
        }
        Ok(outcome)
    }

    /// The object of a manifest from template file `file`, if it was read just
    /// now and is what a write would make of it. Nobody is asked.
    pub async fn unchanged(
        &self,
        manifest: &Value,
        file: u32,
    ) -> Result<Option<&DynamicObject>, Error> {
        let entry = identity(manifest).and_then(|(gvk, name)| self.entry(&gvk, name));
        let Some(read) = entry.and_then(|entry| self.read.get(&entry.uid)) else {
            return Ok(None);
        };
        let complete = self.complete(manifest, file).await?;
        Ok(is_unchanged(read, &complete).then_some(read))
    }

    /// What is in the inventory and not among these manifests.
    pub fn not_among(&self, rendered: &[Value]) -> Vec<Entry> {
        inventory::not_among(&self.inventory, rendered)
    }

    /// Asks for the deletion of exactly this object; `true` once it is gone.
    pub async fn delete(
        &mut self,
        entry: &Entry,
        propagation: PropagationPolicy,
    ) -> Result<bool, Error> {
        let gone = inventory::delete(&self.kinds, entry, propagation).await?;
        if gone {
            self.inventory.retain(|kept| !kept.same_place(entry));
        }
        Ok(gone)
    }

    /// Takes an object that is gone from the inventory: the next write makes
    /// it anew.
    pub fn forget(&mut self, gvk: &GroupVersionKind, name: &str) {
        self.inventory.retain(|entry| !entry.is_of(gvk, name));
    }

    /// Bases the next write on this: the object as the caller read or wrote it
    /// just now.
    pub fn saw(&mut self, object: &DynamicObject) {
        let basis = Basis::of(object);
        self.read.remove(basis.uid());
        self.seen.insert(basis.uid().to_owned(), basis);
    }

    /// Forgets what was read so far, except for what the next write is based
    /// on: time has passed, and [`Self::unchanged`] must not tell of it.
    pub fn forget_reads(&mut self) {
        self.read.clear();
    }

    /// What was read just now: the next write is based on it, and
    /// [`Self::unchanged`] may tell of it.
    fn keep(&mut self, object: DynamicObject) {
        self.saw(&object);
        self.read.insert(object.uid().unwrap_or_default(), object);
    }

    fn note(&mut self, entry: Entry) {
        self.inventory.retain(|known| !known.same_place(&entry));
        self.inventory.push(entry);
    }

    async fn api(
        &self,
        gvk: &GroupVersionKind,
        manifest: &Value,
    ) -> Result<Api<DynamicObject>, Error> {
        let kind = self.kinds.get(gvk).await?;
        Ok(kind.api(self.kinds.client(), self.namespace_of(manifest)))
    }

    fn namespace_of<'a>(&'a self, manifest: &'a Value) -> &'a str {
        manifest
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or(&self.scope.namespace)
    }

    /// The manifest as it is sent.
    async fn complete(&self, rendered: &Value, file: u32) -> Result<Value, Error> {
        let missing = || Error::Invalid("apiVersion or kind (FieldValueRequired)".to_owned());
        let (gvk, _) = identity(rendered).ok_or_else(missing)?;
        let mut complete = rendered.clone();
        manifest::mark(&mut complete, file);
        manifest::label(&mut complete, &self.scope.labels);
        if self.kinds.get(&gvk).await?.namespaced {
            complete["metadata"]["namespace"] = json!(self.namespace_of(rendered));
        }
        manifest::note_digest(&mut complete);
        Ok(complete)
    }
}
