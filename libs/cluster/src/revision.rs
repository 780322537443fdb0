//! Revisions: what an operation aims at, in one immutable Secret with a name
//! of its own, written just before the record that names it. User parameters
//! may be secret, so they are never in a custom resource.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, call, optional},
    list, names,
    orphan::Mark,
};

const KEY: &str = "revision";
const PURPOSE: &str = "revision";

/// Bytes of revisions that are remembered, all together.
const REMEMBERED: usize = 4 << 20;

/// The revisions in the instances' namespace; cheap to clone.
#[derive(Debug, Clone)]
pub struct Revisions {
    api: Api<Secret>,
    memory: Arc<Mutex<Memory>>,
}

/// Revisions that were read or written here lately. They never change, and no
/// name is used twice.
#[derive(Default)]
struct Memory {
    content: HashMap<String, Arc<[u8]>>,
    /// The oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

impl std::fmt::Debug for Memory {
    /// Without content: parameters may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory")
            .field("revisions", &self.content.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Memory {
    fn put(&mut self, name: &str, content: Arc<[u8]>) {
        self.bytes += content.len();
        match self.content.insert(name.to_owned(), content) {
            Some(before) => self.bytes -= before.len(),
            None => self.order.push_back(name.to_owned()),
        }
        while self.bytes > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.content.remove(&oldest).map_or(0, |gone| gone.len());
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(gone) = self.content.remove(name) {
            self.bytes -= gone.len();
            self.order.retain(|known| known != name);
        }
    }
}

/// Why a revision cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] Error),
    /// It is not there, though a record names it.
    #[error("find revision {0}")]
    Missing(String),
    /// Its content is not what we write. No source: its text might repeat content.
    #[error("read revision {0}: not in the expected form")]
    Malformed(String),
}

impl Revisions {
    /// Those in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            memory: Arc::default(),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a revision for the record of that name and returns its own name.
    pub async fn write(
        &self,
        record: &str,
        content: &impl Serialize,
    ) -> Result<String, RevisionError> {
        let name = format!("rev-{}-{}", names::short(record), names::random(10));
        let data =
            serde_json::to_vec(content).map_err(|_| RevisionError::Malformed(name.clone()))?;
        let labels = [
            (names::INSTANCE, record),
            (names::PURPOSE, PURPOSE),
            (names::MANAGED_BY, names::MANAGER),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(
                    labels
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .into(),
                ),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(data.clone()))])),
            ..Secret::default()
        };
        call(self.api.create(&PostParams::default(), &secret)).await?;
        self.memory().put(&name, data.into());
        Ok(name)
    }

    /// What a revision holds, from memory where that has it: for an answer, and
    /// for nothing that is made from it.
    pub async fn recall<T: DeserializeOwned>(&self, name: &str) -> Result<T, RevisionError> {
        let known = self.memory().content.get(name).cloned();
        match known {
            Some(bytes) => decode(name, &bytes),
            None => self.read(name).await,
        }
    }

    /// Reads a revision.
    pub async fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, RevisionError> {
        let secret = optional(call(self.api.get(name)).await)?
            .ok_or_else(|| RevisionError::Missing(name.to_owned()))?;
        let bytes = secret.data.and_then(|mut data| data.remove(KEY));
        let bytes = bytes.ok_or_else(|| RevisionError::Malformed(name.to_owned()))?;
        let content = decode(name, &bytes.0)?;
        self.memory().put(name, bytes.0.into());
        Ok(content)
    }

    /// Deletes a revision; gone already is fine.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        self.memory().forget(name);
        optional(call(self.api.delete(name, &DeleteParams::default())).await).map(drop)
    }

    /// The names of a record's revisions, or of all records' if none is given,
    /// with the record and the time of each.
    pub async fn list(&self, record: Option<&str>) -> Result<Vec<Listed>, Error> {
        let mut selector = format!("{}={PURPOSE}", names::PURPOSE);
        if let Some(record) = record {
            selector = format!("{selector},{}={record}", names::INSTANCE);
        }
        let list = list::metadata(&self.api, &selector).await?;
        Ok(list
            .into_iter()
            .filter_map(|secret| {
                let metadata = secret.metadata;
                let labels = metadata.labels?;
                Some(Listed {
                    name: metadata.name?,
                    record: labels.get(names::INSTANCE)?.clone(),
                    created: metadata.creation_timestamp?.0,
                    is_orphan: labels.contains_key(names::ORPHANED),
                })
            })
            .collect())
    }

    /// Marks a revision as one that belongs to no record, or takes the mark
    /// away. Gone already is fine.
    pub async fn mark(&self, name: &str, mark: Mark) -> Result<(), Error> {
        let patch = Patch::Merge(mark.patch(None));
        let patched = call(
            self.api
                .patch_metadata(name, &PatchParams::default(), &patch),
        )
        .await;
        optional(patched).map(drop)
    }
}

fn decode<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, RevisionError> {
    serde_json::from_slice(bytes).map_err(|_| RevisionError::Malformed(name.to_owned()))
}

/// A revision as [`Revisions::list`] tells of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its own name.
    pub name: String,
    /// The record that it was written for.
    pub record: String,
    /// When it was written, by the API server's clock.
    pub created: jiff::Timestamp,
    /// Whether it is marked as belonging to no record.
    pub is_orphan: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_the_newest_within_its_bounds() {
        let mut memory = Memory::default();
        let half: Arc<[u8]> = vec![0; REMEMBERED / 2].into();
        for name in ["a", "a", "b", "c"] {
            memory.put(name, Arc::clone(&half));
        }
        assert!(!memory.content.contains_key("a"));
        assert_eq!((memory.bytes, memory.order.len()), (REMEMBERED, 2));
        memory.forget("b");
        memory.forget("b");
        assert_eq!((memory.bytes, memory.order.len()), (REMEMBERED / 2, 1));
        memory.put("huge", vec![0; REMEMBERED + 1].into());
        assert_eq!((memory.bytes, memory.content.len()), (0, 0));
    }
}
