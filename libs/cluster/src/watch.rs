//! Watching the objects of one file while an operation waits for them: one
//! watch per kind, in one namespace, by label; closed when dropped.

use std::{collections::HashMap, time::Duration};

use futures::TryStreamExt as _;
use kube::{
    Client, ResourceExt as _,
    core::{DynamicObject, GroupVersionKind},
    runtime::watcher::{self, Event},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{error::Error, kinds::Kinds};

type Change = (GroupVersionKind, Event<DynamicObject>);

/// An open set of watches and what they have shown so far.
#[derive(Debug)]
pub struct Watch {
    objects: HashMap<(GroupVersionKind, String), DynamicObject>,
    changes: mpsc::Receiver<Change>,
    // Aborts the watches when dropped.
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Opens a watch for each kind. Secrets must not be among them: they are
    /// ready when applied, and a watch would keep their content in memory.
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
            objects: HashMap::new(),
            changes,
            _tasks: tasks,
        })
    }

    /// The object as last seen.
    pub fn get(&self, gvk: &GroupVersionKind, name: &str) -> Option<&DynamicObject> {
        self.objects.get(&(gvk.clone(), name.to_owned()))
    }

    /// Waits for a change, at most for `patience`; takes in all that came.
    pub async fn changed(&mut self, patience: Duration) {
        let Ok(Some(first)) = tokio::time::timeout(patience, self.changes.recv()).await else {
            return;
        };
        self.take(first);
        while let Ok(next) = self.changes.try_recv() {
            self.take(next);
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
            Event::Init => self.objects.retain(|(kind, _), _| *kind != gvk),
            Event::InitDone => {}
        }
    }
}

async fn follow(
    client: Client,
    kind: crate::kinds::Kind,
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
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
