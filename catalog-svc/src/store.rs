//! Bundles at rest: immutable ConfigMaps in a namespace of their own, found by
//! digest, so that records that pin a bundle find it for as long as they need
//! it, and the last good version of a plan survives a restart.
//!
//! The content never changes; annotations say since when a bundle is the
//! current one of its plan, or since when it is not. The provisioner, which
//! knows the records, deletes those that no record names.
//!
//! What `*.url` files name is stored in the same way (see [`fetched`]), so that
//! it goes in the same way.

mod entry;
mod fetched;
mod part;

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{ByteString, api::core::v1::ConfigMap, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use plan::{Bundle, id::Digest};
use serde_json::{Value, json};

use bundles::stored::{BUNDLE, CURRENT_SINCE, DIGEST, PART, PARTS, PLAN, SUPERSEDED_AT};
pub(crate) use entry::{Entry, newest};
pub(crate) use fetched::{IfKnown, ListKey};

use crate::snapshot::PlanKey;

const MANAGER: &str = "mongodb-osb";
const DEADLINE: Duration = Duration::from_secs(10);

/// The key of the content in a part.
const KEY: &str = "bundle.json.gz";

/// Why the store did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused, or could not be reached.
    #[error("{0} ConfigMaps of bundles")]
    Api(&'static str, #[source] Box<kube::Error>),
    /// The API server did not answer in time.
    #[error("{0} ConfigMaps of bundles: no answer within {DEADLINE:?}")]
    Deadline(&'static str),
    /// Not tried, since another attempt just failed.
    #[error("store a bundle: put off, since another one failed")]
    Postponed,
    /// Compression failed.
    #[error("compress a bundle")]
    Compression(#[source] std::io::Error),
    /// What is stored is not what the digest says.
    #[error("the stored bundle is damaged; delete the ConfigMaps labelled {BUNDLE}={0}")]
    Damaged(String, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a stamp says about a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// It is the current version of its plan since then.
    Current(Timestamp),
    /// It is the current version; since when stays as it is.
    StillCurrent,
    /// It is not since then.
    Superseded(Timestamp),
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    api: Api<ConfigMap>,
}

impl Store {
    /// Bundles in this namespace.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
        }
    }

    /// All bundles, without their content.
    pub(crate) async fn list(&self) -> Result<Vec<Entry>, Error> {
        let parameters = ListParams::default().labels(BUNDLE);
        let list = call("list", self.api.list_metadata(&parameters)).await?;
        Ok(entry::entries(
            list.items.into_iter().map(|item| item.metadata),
        ))
    }

    /// The bytes of a bundle, verified; nothing if it is not stored, or not all
    /// of it.
    pub(crate) async fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let label = label(digest);
        let parameters = ListParams::default().labels(&format!("{BUNDLE}={label}"));
        let list = call("read", self.api.list(&parameters)).await?;
        let mut parts: BTreeMap<usize, &[u8]> = BTreeMap::new();
        let mut total = 0;
        for map in &list.items {
            if annotation(&map.metadata, DIGEST) != Some(digest.as_str()) {
                continue;
            }
            let content = map.binary_data.as_ref().and_then(|data| data.get(KEY));
            // What says that a file has this content is no part of it.
            let Some((part, content)) = number(&map.metadata, PART).zip(content) else {
                continue;
            };
            total = number(&map.metadata, PARTS).unwrap_or_default();
            parts.insert(part, &content.0);
        }
        if total == 0 || !parts.keys().copied().eq(0..total) {
            return Ok(None);
        }
        let parts: Vec<_> = parts.into_values().collect();
        let damaged =
            |why: Box<dyn std::error::Error + Send + Sync>| Error::Damaged(label.to_owned(), why);
        let bytes = part::join(&parts).map_err(|error| damaged(error.into()))?;
        let found = Digest::of(&bytes);
        if found == *digest {
            Ok(Some(bytes))
        } else {
            Err(damaged(format!("it has the digest {found}").into()))
        }
    }

    /// Stores a bundle as the current one of its plan. It is safe to do this
    /// again, and for several replicas at once.
    pub(crate) async fn put(&self, bundle: &Bundle, now: Timestamp) -> Result<(), Error> {
        let plan = PlanKey::of(bundle);
        let stored = Stored {
            digest: bundle.digest(),
            plan: Some(&plan),
        };
        self.put_bytes(stored, bundle.to_bytes(), now).await
    }

    async fn put_bytes(
        &self,
        stored: Stored<'_>,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        let digest = stored.digest;
        let parts = part::split(bytes).map_err(Error::Compression)?;
        if !self.create(stored, &parts, now).await? {
            return Ok(());
        }
        // It exists already. Mark it as current first, so that the sweep of what
        // is superseded, which is conditional on the resourceVersion, cannot
        // delete it; then create again what was deleted before that.
        self.stamp(stored, parts.len(), Stamp::Current(now)).await?;
        if self.read(digest).await?.is_some() {
            return Ok(());
        }
        self.create(stored, &parts, now).await?;
        if self.read(digest).await?.is_some() {
            return Ok(());
        }
        let why = "parts of it are those of another bundle".into();
        Err(Error::Damaged(label(digest).to_owned(), why))
    }

    /// Creates what is not there; whether some part was.
    async fn create(
        &self,
        stored: Stored<'_>,
        parts: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut existed = false;
        for (number, content) in parts.iter().enumerate() {
            let map = config_map(stored, number, parts.len(), content.clone(), now);
            match call("create", self.api.create(&PostParams::default(), &map)).await {
                Ok(_) => {}
                Err(Error::Api(_, error)) if is_status(&error, 409) => existed = true,
                Err(error) => return Err(error),
            }
        }
        Ok(existed)
    }

    /// Notes on every part whether the bundle is the current one of its plan.
    /// A part that is gone needs no note.
    pub(crate) async fn stamp(
        &self,
        stored: Stored<'_>,
        parts: usize,
        stamp: Stamp,
    ) -> Result<(), Error> {
        let annotations = stamp.annotations();
        for part in 0..parts {
            self.annotate(&stored.name(part), &annotations).await?;
        }
        Ok(())
    }

    /// Changes annotations of what is there.
    async fn annotate(&self, name: &str, annotations: &Value) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self.api.patch_metadata(name, &parameters, &patch);
        match call("annotate", patched).await {
            Ok(_) => Ok(()),
            Err(Error::Api(_, error)) if is_status(&error, 404) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Stamp {
    fn annotations(self) -> Value {
        match self {
            Self::Current(since) => {
                json!({CURRENT_SINCE: since.to_string(), SUPERSEDED_AT: Value::Null})
            }
            Self::StillCurrent => json!({SUPERSEDED_AT: Value::Null}),
            Self::Superseded(at) => json!({SUPERSEDED_AT: at.to_string()}),
        }
    }
}

/// What is stored under a digest: the bundle of a plan, or what a `*.url` file
/// names, which is of no plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    /// The digest of the content.
    pub(crate) digest: &'a Digest,
    /// The plan that it is a version of.
    pub(crate) plan: Option<&'a PlanKey>,
}

impl Stored<'_> {
    /// The name of a part; 160 bits of the digest distinguish them.
    fn name(self, part: usize) -> String {
        let (start, _) = self.digest.as_str().split_at(40);
        let prefix = match self.plan {
            Some(_) => "bundle",
            None => "fetched",
        };
        format!("{prefix}-{start}-{part}")
    }
}

fn config_map(
    stored: Stored<'_>,
    number: usize,
    total: usize,
    content: Vec<u8>,
    now: Timestamp,
) -> ConfigMap {
    let digest = stored.digest;
    let mut annotations = texts(&[
        (DIGEST, digest.as_str()),
        (PART, &number.to_string()),
        (PARTS, &total.to_string()),
        (CURRENT_SINCE, &now.to_string()),
    ]);
    if let Some(plan) = stored.plan {
        annotations.insert(PLAN.to_owned(), plan.to_string());
    }
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(stored.name(number)),
            labels: Some(texts(&[
                (BUNDLE, label(digest)),
                ("app.kubernetes.io/managed-by", MANAGER),
            ])),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(content))])),
        ..ConfigMap::default()
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
        .collect()
}

/// A label's value has 63 characters, a digest 64.
fn label(digest: &Digest) -> &str {
    digest.as_str().split_at(63).0
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn number(metadata: &ObjectMeta, key: &str) -> Option<usize> {
    annotation(metadata, key)?.parse().ok()
}

fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

async fn call<T>(
    action: &'static str,
    future: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(outcome) => outcome.map_err(|error| Error::Api(action, Box::new(error))),
        Err(_) => Err(Error::Deadline(action)),
    }
}
