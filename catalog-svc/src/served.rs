//! What the cluster serves: asked by `apiVersion`, several at once, never on the
//! way of a call, and kept until there is another answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;
use kube::Client;
use plan::kinds::{ServedKind, ServedKinds};
use service::telemetry::chain;

/// How long the cluster is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long for one answer: an API whose own server hangs must not take the time of the others.
const EACH: Duration = Duration::from_secs(3);
/// Questions at once.
const AT_ONCE: usize = 8;

/// The kinds of an `apiVersion`, by name.
pub(crate) type Kinds = BTreeMap<String, ServedKind>;

/// The last answers.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// One that the cluster does not serve has no kinds.
    versions: BTreeMap<String, Kinds>,
}

impl Served {
    /// Asks for these. What gets no answer in time stays as it was.
    pub(crate) async fn ask(&mut self, client: &Client, versions: &BTreeSet<String>) {
        let mut silent = versions.clone();
        // Those that never had an answer come first: where time is short, all get one in the end.
        let known = |version: &&String| self.versions.contains_key(*version);
        let (old, new): (Vec<&String>, Vec<&String>) = versions.iter().partition(known);
        let order: Vec<String> = new.into_iter().chain(old).cloned().collect();
        let mut answers =
            std::pin::pin!(answers(client, &order).take_until(tokio::time::sleep(DEADLINE)));
        while let Some((version, answer)) = answers.next().await {
            silent.remove(&version);
            match answer {
                Ok(kinds) => {
                    self.versions.insert(version, kinds);
                }
                Err(error) => tracing::warn!(
                    api_version = version,
                    error = chain(&error),
                    "cannot find out whether the cluster serves an API; the last answer counts",
                ),
            }
        }
        if !silent.is_empty() {
            tracing::warn!(
                api_versions = ?silent,
                "the cluster does not say what it serves; the last answers count"
            );
        }
    }

    /// Forgets all others.
    pub(crate) fn keep(&mut self, versions: &BTreeSet<String>) {
        self.versions
            .retain(|version, _| versions.contains(version));
    }

    /// The kinds of an `apiVersion`, if there was an answer.
    pub(crate) fn kinds(&self, version: &str) -> Option<&Kinds> {
        self.versions.get(version)
    }

    /// What is known of these, for the check of plans.
    pub(crate) fn known(&self, versions: &BTreeSet<String>) -> ServedKinds {
        let mut known = ServedKinds::of_cluster();
        for version in versions {
            if let Some(kinds) = self.kinds(version) {
                known.add_answer(version, kinds.clone());
            }
        }
        known
    }

    #[cfg(test)]
    pub(crate) fn insert(&mut self, version: &str, kinds: Kinds) {
        self.versions.insert(version.to_owned(), kinds);
    }
}

/// The answers for some `apiVersion`s, in the order in which they come.
pub(crate) fn answers<'a>(
    client: &'a Client,
    versions: &'a [String],
) -> impl stream::Stream<Item = (String, kube::Result<Kinds>)> + 'a {
    stream::iter(versions)
        .map(move |version| async move {
            let asked = tokio::time::timeout(EACH, kinds(client, version)).await;
            let late = |_| Err(kube::Error::Service("no answer in time".into()));
            (version.clone(), asked.unwrap_or_else(late))
        })
        .buffer_unordered(AT_ONCE)
}

/// The kinds of an `apiVersion`; none if the cluster does not serve it.
async fn kinds(client: &Client, version: &str) -> kube::Result<Kinds> {
    let list = if version.contains('/') {
        client.list_api_group_resources(version).await
    } else {
        client.list_core_api_resources(version).await
    };
    match list {
        Ok(list) => Ok(list.resources.into_iter().filter_map(kind).collect()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Kinds::new()),
        Err(error) => Err(error),
    }
}

/// A subresource ("pods/log") has the kind of something else.
fn kind(resource: APIResource) -> Option<(String, ServedKind)> {
    let is_whole = !resource.name.contains('/');
    let kind = ServedKind::new(resource.name, resource.namespaced);
    is_whole.then_some((resource.kind, kind))
}
