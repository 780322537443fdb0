//! The barrier behind a set of objects: keeps what is known of them current
//! while they are waited for. Whether they are ready is for the caller to say.

use std::time::Duration;

use cluster::{
    Error,
    error::{call, optional},
};
use kube::{
    ResourceExt as _,
    core::{DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::{
    manifest,
    objects::Objects,
    watch::{Seen, Watch},
};

/// An object as it was written, and as the API server has it.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its kind.
    pub gvk: GroupVersionKind,
    /// As rendered.
    pub manifest: Value,
    /// As last seen.
    pub live: DynamicObject,
}

impl Written {
    /// The live object with apiVersion and kind, which lists and watches leave
    /// out.
    pub fn live_json(&self) -> Value {
        let mut live = serde_json::to_value(&self.live).unwrap_or_default();
        live["apiVersion"] = json!(self.gvk.api_version());
        live["kind"] = json!(self.gvk.kind);
        live
    }

    /// `Kind/name`, for messages.
    pub fn title(&self) -> String {
        manifest::title(&self.gvk, &self.live.name_any())
    }

    /// Whether it is being deleted: whatever its status says, it will be gone.
    pub fn is_terminating(&self) -> bool {
        self.live.metadata.deletion_timestamp.is_some()
    }

    /// Secrets are never watched.
    fn is_watched(&self) -> bool {
        !(self.gvk.group.is_empty() && self.gvk.kind == "Secret")
    }
}

/// Open watches on the kinds of the awaited objects.
#[derive(Debug)]
pub struct Barrier {
    watch: Watch,
}

impl Barrier {
    /// Opens the watches.
    pub async fn open(objects: &Objects, awaited: &[Written]) -> Result<Self, Error> {
        let mut wanted: Vec<GroupVersionKind> = Vec::new();
        for object in awaited.iter().filter(|object| object.is_watched()) {
            if !wanted.contains(&object.gvk) {
                wanted.push(object.gvk.clone());
            }
        }
        let scope = objects.scope();
        let watch = Watch::open(objects.kinds(), &wanted, &scope.namespace, &scope.selector);
        Ok(Self {
            watch: watch.await?,
        })
    }

    /// Waits for a change, at most for `patience`.
    pub async fn changed(&mut self, patience: Duration) {
        self.watch.changed(patience).await;
    }

    /// Brings `awaited` up to date. Returns which of them are gone, or replaced
    /// by another object of the same name: these have to be written again.
    pub fn refresh<'a>(&self, awaited: &'a mut [Written]) -> Vec<&'a Written> {
        let mut gone = Vec::new();
        for object in awaited {
            match self.watch.get(&object.gvk, &object.live.name_any()) {
                Seen::Unknown => {}
                Seen::Gone => gone.push(&*object),
                Seen::There(live) if live.uid() != object.live.uid() => gone.push(&*object),
                Seen::There(live) => object.live = live.clone(),
            }
        }
        gone
    }
}

/// Asks which of the awaited objects that no watch shows are gone, or replaced.
pub async fn gone_unwatched<'a>(
    objects: &Objects,
    awaited: &'a [Written],
) -> Result<Vec<&'a Written>, Error> {
    let mut gone = Vec::new();
    for object in awaited.iter().filter(|object| !object.is_watched()) {
        let kind = objects.kinds().get(&object.gvk).await?;
        let namespace = object.live.namespace().unwrap_or_default();
        let api = kind.api(objects.kinds().client(), &namespace);
        let found = optional(call(api.get_metadata(&object.live.name_any())).await)?;
        if found.is_none_or(|found| found.uid() != object.live.uid()) {
            gone.push(object);
        }
    }
    Ok(gone)
}
