//! The ConfigMap `mdb-topology` in the API server: read, watched, and written by conditional
//! patches of our own annotations, under a field manager of our own.
//!
//! Needs the verbs get, watch and patch on that one object.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tokio::sync::watch;

use super::topology::{BOOTSTRAPPED, REPORT, Report, Topology, TopologyError};

/// Owner of the annotations, apart from the broker's own.
const FIELD_MANAGER: &str = "mongo-bootstrap";
/// How long a call may take.
const CALL: Duration = Duration::from_secs(10);
/// How long a watch runs before it is made anew, in seconds.
const WATCH_SECONDS: u32 = 240;
/// The pause before the object is read again, after its watch ended or failed.
const PAUSE: Duration = Duration::from_secs(2);
/// The pause once that has failed again and again.
const LONG_PAUSE: Duration = Duration::from_secs(15);

/// A read or a write that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    /// The API server does not answer in time.
    #[error("the API server does not answer")]
    Deadline,
    /// There is no such object.
    #[error("there is no ConfigMap {0}")]
    Absent(String),
    /// Somebody wrote in between: look again.
    #[error("the topology has changed meanwhile")]
    Conflict,
    /// The object says nothing of use.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// Anything else.
    #[error("call the API server")]
    Call(#[source] kube::Error),
}

/// What was read, and of which state of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) topology: Topology,
    version: String,
}

/// The ConfigMap.
#[derive(Clone)]
pub(super) struct TopologyObject {
    api: Api<ConfigMap>,
    name: Arc<str>,
}

impl TopologyObject {
    pub(super) fn new(client: kube::Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
        }
    }

    /// Reads it, as fresh as it is.
    pub(super) async fn get(&self) -> Result<Seen, ClusterError> {
        let object = within(self.api.get_opt(&self.name)).await?;
        read(&object.ok_or_else(|| ClusterError::Absent(self.name.to_string()))?)
    }

    /// Writes that the set was initiated; only if the object is still as it was seen.
    pub(super) async fn mark(&self, seen: &Seen, set: &str) -> Result<Seen, ClusterError> {
        self.annotate(seen, BOOTSTRAPPED, set).await
    }

    /// Writes how things are; only if the object is still as it was seen.
    pub(super) async fn report(&self, seen: &Seen, report: &Report) -> Result<Seen, ClusterError> {
        let text = json!(report).to_string();
        self.annotate(seen, REPORT, &text).await
    }

    async fn annotate(&self, seen: &Seen, key: &str, value: &str) -> Result<Seen, ClusterError> {
        let patch = json!({
            "metadata": { "resourceVersion": seen.version, "annotations": { key: value } },
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = within(self.api.patch(&self.name, &params, &Patch::Merge(patch))).await?;
        read(&patched)
    }

    /// Keeps `latest` at what the object says, for ever. While the API server is away it keeps
    /// what it said last.
    pub(super) async fn follow(self, latest: watch::Sender<Option<Seen>>) {
        let mut failures = 0_u32;
        loop {
            match self.follow_once(&latest).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(error = texts(&error), "the topology cannot be followed");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            tokio::time::sleep(if failures > 5 { LONG_PAUSE } else { PAUSE }).await;
        }
    }

    /// Reads the object and follows one watch of it to its end.
    async fn follow_once(&self, latest: &watch::Sender<Option<Seen>>) -> Result<(), ClusterError> {
        let seen = self.get().await?;
        let version = seen.version.clone();
        publish(latest, seen);
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS)
            .disable_bookmarks();
        let events = within(self.api.watch(&params, &version)).await?;
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.try_next().await.map_err(ClusterError::Call)? {
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    publish(latest, read(&object)?);
                }
                WatchEvent::Bookmark(_) => {}
                // Read it again: it may be back, and an expired version starts from now.
                WatchEvent::Deleted(_) | WatchEvent::Error(_) => break,
            }
        }
        Ok(())
    }
}

/// Makes what was read known, if it is news.
pub(super) fn publish(latest: &watch::Sender<Option<Seen>>, seen: Seen) {
    latest.send_if_modified(|last| {
        let news = last.as_ref() != Some(&seen);
        *last = Some(seen);
        news
    });
}

fn read(object: &ConfigMap) -> Result<Seen, ClusterError> {
    let empty = std::collections::BTreeMap::new();
    let data = object.data.as_ref().unwrap_or(&empty);
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&empty);
    Ok(Seen {
        topology: Topology::read(data, annotations)?,
        version: object.metadata.resource_version.clone().unwrap_or_default(),
    })
}

async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
    match tokio::time::timeout(CALL, call).await {
        Err(_) => Err(ClusterError::Deadline),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(ClusterError::Conflict),
        Ok(answer) => answer.map_err(ClusterError::Call),
    }
}

/// An error with its causes, for the log.
pub(super) fn texts(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
