//! Watching objects while something waits for them: one watch per kind, in one
//! namespace, by label; closed when dropped.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use cluster::Error;
use futures::TryStreamExt as _;
use kube::{
    Client, ResourceExt as _,
    core::{DynamicObject, GroupVersionKind},
    runtime::watcher::{self, Event},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::kinds::{Kind, Kinds};

type Change = (GroupVersionKind, Event<DynamicObject>);

/// Pause after an interruption of a watch.
const PAUSE: Duration = Duration::from_secs(1);

/// An object as a watch shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen<'a> {
    /// The kind has not been listed yet, or its watch was interrupted.
    Unknown,
    /// There is no object of that name with these labels.
    Gone,
    /// As it is.
    There(&'a DynamicObject),
}

/// What watches have shown so far.
#[derive(Debug, Default)]
struct Shown {
    objects: HashMap<(GroupVersionKind, String), DynamicObject>,
    /// Kinds of which every object is in `objects`.
    listed: HashSet<GroupVersionKind>,
}

impl Shown {
    fn get(&self, gvk: &GroupVersionKind, name: &str) -> Seen<'_> {
        match self.objects.get(&(gvk.clone(), name.to_owned())) {
            Some(object) => Seen::There(object),
            None if self.listed.contains(gvk) => Seen::Gone,
            None => Seen::Unknown,
        }
    }

    fn take(&mut self, (gvk, event): Change) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                self.objects.insert((gvk, object.name_any()), object);
            }
            Event::Delete(object) => {
                self.objects.remove(&(gvk, object.name_any()));
            }
            Event::Init => {
                self.listed.remove(&gvk);
                self.objects.retain(|(kind, _), _| *kind != gvk);
            }
            Event::InitDone => {
                self.listed.insert(gvk);
            }
        }
    }
}

/// An open set of watches and what they have shown so far.
#[derive(Debug)]
pub struct Watch {
    shown: Shown,
    changes: mpsc::Receiver<Change>,
    // Aborts the watches when dropped.
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Opens a watch for each kind. Secrets must not be among them: a watch
    /// would keep their content in memory.
    pub async fn open(
        kinds: &Kinds,
        wanted: &[GroupVersionKind],
        namespace: &str,
        selector: &str,
    ) -> Result<Self, Error> {
        let (sender, changes) = mpsc::channel(256);
        let mut tasks = JoinSet::new();
        for gvk in wanted {
            let kind = kinds.get(gvk).await?;
            tasks.spawn(follow(
                kinds.client(),
                kind,
                gvk.clone(),
                namespace.to_owned(),
                selector.to_owned(),
                sender.clone(),
            ));
        }
        Ok(Self {
            shown: Shown::default(),
            changes,
            _tasks: tasks,
        })
    }

    /// The object as last seen.
    pub fn get(&self, gvk: &GroupVersionKind, name: &str) -> Seen<'_> {
        self.shown.get(gvk, name)
    }

    /// Waits for a change, at most for `patience`; takes in all that came.
    pub async fn changed(&mut self, patience: Duration) {
        let Ok(Some(first)) = tokio::time::timeout(patience, self.changes.recv()).await else {
            return;
        };
        self.shown.take(first);
        while let Ok(next) = self.changes.try_recv() {
            self.shown.take(next);
        }
    }
}

async fn follow(
    client: Client,
    kind: Kind,
    gvk: GroupVersionKind,
    namespace: String,
    selector: String,
    sender: mpsc::Sender<Change>,
) {
    let api = kind.api(client, &namespace);
    let config = watcher::Config::default().labels(&selector);
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                if sender.send((gvk.clone(), event)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(kind = %gvk.kind, %error, "watch interrupted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_listed_yet_is_unknown_and_not_gone() {
        let gvk = GroupVersionKind::gvk("", "v1", "ConfigMap");
        let object: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
        let mut shown = Shown::default();
        let mut after = |event| {
            shown.take((gvk.clone(), event));
            match shown.get(&gvk, "a") {
                Seen::Unknown => "unknown",
                Seen::Gone => "gone",
                Seen::There(_) => "there",
            }
        };
        assert_eq!(after(Event::Init), "unknown");
        assert_eq!(after(Event::InitApply(object.clone())), "there");
        assert_eq!(after(Event::InitDone), "there");
        assert_eq!(after(Event::Delete(object.clone())), "gone");
        assert_eq!(after(Event::Apply(object.clone())), "there");
        // A watch that was interrupted lists anew.
        assert_eq!(after(Event::Init), "unknown");
        assert_eq!(after(Event::InitDone), "gone");
    }
}
