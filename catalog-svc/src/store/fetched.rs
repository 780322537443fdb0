//! Which content a `*.url` file has. The first replica that fetched it says so,
//! in one small ConfigMap for each file, and all others take the same: so they
//! serve one digest, and a host that is away takes no plan away.
//!
//! The content itself is stored by its digest, as bundles are.

use std::{collections::BTreeMap, fmt};

use bundles::stored::{BUNDLE, DIGEST, FETCHED_FILE, FETCHED_FOR, SUPERSEDED_AT};
use k8s_openapi::{api::core::v1::ConfigMap, jiff::Timestamp};
use kube::{
    ResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
};
use plan::id::Digest;
use serde_json::{Value, json};

use super::{Error, MANAGER, Stamp, Store, Stored, annotation, call, is_status, label, texts};

/// Identifies a `*.url` file with its text: once the text changes it is another
/// one, and is fetched again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListKey(String);

impl ListKey {
    /// `path` is `<provider>/<plan>/<file>`.
    pub(crate) fn of(path: &str, text: &[u8]) -> Self {
        let mut whole = path.as_bytes().to_vec();
        whole.push(0);
        whole.extend(text);
        // 160 bits tell files apart, and fit a name and a label.
        let digest = Digest::of(&whole);
        Self(digest.as_str().split_at(40).0.to_owned())
    }

    fn name(&self) -> String {
        format!("url-{}", self.0)
    }
}

impl fmt::Display for ListKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The content of each file that was fetched once.
type Lists = BTreeMap<ListKey, Known>;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// The content's digest.
    pub(crate) digest: Digest,
    /// Whether the file is said to be gone.
    pub(crate) superseded: bool,
}

/// What becomes of the content that a file has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfKnown {
    /// It stays: somebody was faster.
    Keep,
    /// The new one takes its place.
    Replace,
}

impl Store {
    /// All files that have a content.
    pub(crate) async fn lists(&self) -> Result<Lists, Error> {
        self.lists_by(FETCHED_FOR).await
    }

    /// The digest of a file's content, if it was fetched before.
    pub(crate) async fn list_of(&self, key: &ListKey) -> Result<Option<Digest>, Error> {
        let found = self.lists_by(&format!("{FETCHED_FOR}={key}")).await?;
        Ok(found.into_values().next().map(|known| known.digest))
    }

    async fn lists_by(&self, selector: &str) -> Result<Lists, Error> {
        let parameters = ListParams::default().labels(selector);
        let found = call("list", self.api.list_metadata(&parameters)).await?;
        let known = found.items.into_iter().filter_map(|item| {
            let key = ListKey(item.labels().get(FETCHED_FOR)?.clone());
            let digest = annotation(&item.metadata, DIGEST)?.parse().ok()?;
            let superseded = annotation(&item.metadata, SUPERSEDED_AT).is_some();
            Some((key, Known { digest, superseded }))
        });
        Ok(known.collect())
    }

    /// Stores what was fetched for a file. The digest of the content that the
    /// file has now.
    pub(crate) async fn put_fetched(
        &self,
        key: &ListKey,
        path: &str,
        content: &[u8],
        now: Timestamp,
        if_known: IfKnown,
    ) -> Result<Digest, Error> {
        let digest = self.put_content(content, now).await?;
        if self.claim(key, path, &digest).await? {
            return Ok(digest);
        }
        match if_known {
            IfKnown::Keep => Ok(self.list_of(key).await?.unwrap_or(digest)),
            IfKnown::Replace => {
                let annotations = json!({DIGEST: digest.as_str(), SUPERSEDED_AT: Value::Null});
                self.annotate(&key.name(), &annotations).await?;
                Ok(digest)
            }
        }
    }

    /// Says which content a file has; false if that was said before.
    async fn claim(&self, key: &ListKey, path: &str, digest: &Digest) -> Result<bool, Error> {
        let map = config_map(key, path, digest);
        match call("create", self.api.create(&PostParams::default(), &map)).await {
            Ok(_) => Ok(true),
            Err(Error::Api(_, error)) if is_status(&error, 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes whether a file is still there.
    pub(crate) async fn stamp_list(&self, key: &ListKey, stamp: Stamp) -> Result<(), Error> {
        self.annotate(&key.name(), &stamp.annotations()).await
    }

    /// Stores content by its digest.
    pub(crate) async fn put_content(
        &self,
        content: &[u8],
        now: Timestamp,
    ) -> Result<Digest, Error> {
        let digest = Digest::of(content);
        let stored = Stored {
            digest: &digest,
            plan: None,
        };
        self.put_bytes(stored, content, now).await?;
        Ok(digest)
    }
}

fn config_map(key: &ListKey, path: &str, digest: &Digest) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(key.name()),
            // With the label of bundles: the sweep of superseded ones takes it, too.
            labels: Some(texts(&[
                (BUNDLE, label(digest)),
                (FETCHED_FOR, &key.0),
                ("app.kubernetes.io/managed-by", MANAGER),
            ])),
            annotations: Some(texts(&[(DIGEST, digest.as_str()), (FETCHED_FILE, path)])),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}
