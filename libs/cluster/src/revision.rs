//! Revisions: what an operation aims at, in one immutable Secret with a name
//! of its own, written just before the record that names it. User parameters
//! may be secret, so they are never in a custom resource.

use std::collections::BTreeMap;

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

/// The revisions in the broker's namespace.
#[derive(Debug, Clone)]
pub struct Revisions {
    api: Api<Secret>,
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
        }
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
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(data))])),
            ..Secret::default()
        };
        call(self.api.create(&PostParams::default(), &secret)).await?;
        Ok(name)
    }

    /// Reads a revision.
    pub async fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, RevisionError> {
        let secret = optional(call(self.api.get(name)).await)?
            .ok_or_else(|| RevisionError::Missing(name.to_owned()))?;
        secret
            .data
            .and_then(|mut data| data.remove(KEY))
            .and_then(|bytes| serde_json::from_slice(&bytes.0).ok())
            .ok_or_else(|| RevisionError::Malformed(name.to_owned()))
    }

    /// Deletes a revision; gone already is fine.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
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
