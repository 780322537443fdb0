//! The ConfigMaps `mdb-topology`, `mdb-compatibility` and `mdb-revocations` in the API server: read,
//! watched, and written by conditional patches of our own annotations, under a field manager of our own.
//!
//! Needs the verbs get, watch and patch on those objects.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
};
use mongo::revocation::{ANSWERS, Answers};
use serde_json::json;
use tokio::sync::watch;

use super::{
    compatibility::{self, Compatibility, CompatibilityError, CompatibilityReport},
    revocations::Revocations,
    topology::{self, BOOTSTRAPPED, Report, Topology, TopologyError},
};

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
    /// It was changed since it was read: observe again.
    #[error("the object has changed meanwhile")]
    Conflict,
    /// The topology cannot be used.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The wanted compatibility cannot be used.
    #[error(transparent)]
    Compatibility(#[from] CompatibilityError),
    /// Anything else.
    #[error("call the API server")]
    Call(#[source] kube::Error),
}

/// What the data and the annotations of a ConfigMap mean.
pub(super) trait Content: Clone + PartialEq {
    /// Reads them.
    fn read(
        data: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, ClusterError>;
}

impl Content for Topology {
    fn read(
        data: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, ClusterError> {
        Ok(Self::read(data, annotations)?)
    }
}

impl Content for Compatibility {
    fn read(
        data: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, ClusterError> {
        Ok(Self::read(data, annotations)?)
    }
}

impl Content for Revocations {
    fn read(
        data: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, ClusterError> {
        Ok(Self::read(data, annotations))
    }
}

/// What was read, and the resourceVersion it was read at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen<C> {
    pub(super) content: C,
    version: String,
}

/// A ConfigMap.
#[derive(Clone)]
pub(super) struct ConfigObject<C> {
    api: Api<ConfigMap>,
    name: Arc<str>,
    content: PhantomData<fn() -> C>,
}

/// The ConfigMap with the topology.
pub(super) type TopologyObject = ConfigObject<Topology>;
/// The ConfigMap with the wanted compatibility.
pub(super) type CompatibilityObject = ConfigObject<Compatibility>;
/// The ConfigMap with the logins to revoke.
pub(super) type RevocationsObject = ConfigObject<Revocations>;

impl ConfigObject<Topology> {
    /// Marks that the set was initiated, if the object is still as it was read.
    pub(super) async fn mark(
        &self,
        seen: &Seen<Topology>,
        set: &str,
    ) -> Result<Seen<Topology>, ClusterError> {
        self.annotate(seen, BOOTSTRAPPED, set).await
    }

    /// Writes the report, if the object is still as it was read.
    pub(super) async fn report(
        &self,
        seen: &Seen<Topology>,
        report: &Report,
    ) -> Result<Seen<Topology>, ClusterError> {
        let text = json!(report).to_string();
        self.annotate(seen, topology::REPORT, &text).await
    }
}

impl ConfigObject<Compatibility> {
    /// Writes the report, if the object is still as it was read.
    pub(super) async fn report(
        &self,
        seen: &Seen<Compatibility>,
        report: &CompatibilityReport,
    ) -> Result<Seen<Compatibility>, ClusterError> {
        let text = json!(report).to_string();
        self.annotate(seen, compatibility::REPORT, &text).await
    }
}

impl ConfigObject<Revocations> {
    /// Writes the answers, if the object is still as it was read.
    pub(super) async fn answer(
        &self,
        seen: &Seen<Revocations>,
        answers: &Answers,
    ) -> Result<Seen<Revocations>, ClusterError> {
        let text = json!(answers).to_string();
        self.annotate(seen, ANSWERS, &text).await
    }
}

impl<C: Content> ConfigObject<C> {
    pub(super) fn new(client: kube::Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
            content: PhantomData,
        }
    }

    /// Reads it from the API server.
    pub(super) async fn get(&self) -> Result<Seen<C>, ClusterError> {
        let found = self.find().await?;
        found.ok_or_else(|| ClusterError::Absent(self.name.to_string()))
    }

    async fn find(&self) -> Result<Option<Seen<C>>, ClusterError> {
        let object = within(self.api.get_opt(&self.name)).await?;
        object.as_ref().map(read).transpose()
    }

    async fn annotate(
        &self,
        seen: &Seen<C>,
        key: &str,
        value: &str,
    ) -> Result<Seen<C>, ClusterError> {
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

    /// Follows the object and keeps `latest` up to date, for ever. While the API server is away
    /// the last content stays.
    pub(super) async fn follow(self, latest: watch::Sender<Option<Seen<C>>>) {
        let mut failures = 0_u32;
        loop {
            match self.follow_once(&latest).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    if failures == 0 {
                        let name = &*self.name;
                        tracing::warn!(name, error = texts(&error), "cannot watch a ConfigMap");
                    }
                    failures = failures.saturating_add(1);
                }
            }
            tokio::time::sleep(if failures > 5 { LONG_PAUSE } else { PAUSE }).await;
        }
    }

    /// Reads the object and follows one watch of it to its end.
    async fn follow_once(
        &self,
        latest: &watch::Sender<Option<Seen<C>>>,
    ) -> Result<(), ClusterError> {
        // One that is not there yet is followed too: without a version a watch starts with what
        // there is.
        let mut version = String::new();
        if let Some(seen) = self.find().await? {
            version.clone_from(&seen.version);
            publish(latest, seen);
        }
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

/// Publishes what was read or watched, if it is new.
fn publish<C: Content>(latest: &watch::Sender<Option<Seen<C>>>, seen: Seen<C>) {
    latest.send_if_modified(|last| {
        let is_new = last.as_ref() != Some(&seen);
        *last = Some(seen);
        is_new
    });
}

/// Publishes what a write has made of `before`. Where something else was published meanwhile, the
/// watch has been faster than the answer to the write, or brings it soon: what was written may be
/// older than what is known, and would hide a wish until the watch is made anew.
pub(super) fn publish_written<C: Content>(
    latest: &watch::Sender<Option<Seen<C>>>,
    before: &Seen<C>,
    written: Seen<C>,
) {
    latest.send_if_modified(|last| {
        let is_next = last
            .as_ref()
            .is_some_and(|last| last.version == before.version);
        let is_new = is_next && last.as_ref() != Some(&written);
        if is_new {
            *last = Some(written);
        }
        is_new
    });
}

fn read<C: Content>(object: &ConfigMap) -> Result<Seen<C>, ClusterError> {
    let empty = BTreeMap::new();
    let data = object.data.as_ref().unwrap_or(&empty);
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&empty);
    Ok(Seen {
        content: C::read(data, annotations)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(version: &str, members: &str) -> Seen<Topology> {
        let data = BTreeMap::from([("members".to_owned(), members.to_owned())]);
        Seen {
            content: Topology::read(&data, &BTreeMap::new()).unwrap(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn a_wish_that_is_watched_before_the_answer_to_a_write_is_kept() {
        let (read, written, wished) = (
            topology("10", "1"),
            topology("11", "1"),
            topology("12", "3"),
        );
        let latest = watch::Sender::new(Some(read.clone()));
        publish(&latest, wished.clone());
        publish_written(&latest, &read, written);
        assert_eq!(*latest.borrow(), Some(wished));
    }

    #[test]
    fn what_was_written_is_known_before_it_is_watched() {
        let (read, written) = (topology("10", "1"), topology("11", "1"));
        let latest = watch::Sender::new(Some(read.clone()));
        publish_written(&latest, &read, written.clone());
        assert_eq!(*latest.borrow(), Some(written));
    }
}
