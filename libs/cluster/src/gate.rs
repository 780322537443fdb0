//! Creation as a gate: what is made with `create` is ours, or tells whose it is.

use std::{collections::BTreeMap, time::Duration};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions, WatchEvent, WatchParams},
};

use crate::error::{Error, call, optional};

/// What came of asking for a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Made just now: nothing can be inside.
    Created,
    /// Ours from before.
    Ours,
    /// Ours, and being deleted.
    Terminating,
    /// Somebody else's.
    Foreign,
}

/// Makes an instance's own namespace, or finds it. It is ours only if every
/// one of `labels` matches; it is the gate for all that is inside.
pub async fn namespace(
    client: &Client,
    name: &str,
    labels: &BTreeMap<String, String>,
    extra_labels: &BTreeMap<String, String>,
) -> Result<Gate, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut all = extra_labels.clone();
    all.extend(labels.clone());
    let wanted = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(all),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match call(api.create(&PostParams::default(), &wanted)).await {
        Ok(_) => Ok(Gate::Created),
        Err(Error::AlreadyExists) => {
            let found = call(api.get(name)).await?;
            Ok(judge(&found, labels))
        }
        Err(error) => Err(error),
    }
}

/// Whose a found namespace is.
pub(crate) fn judge(found: &Namespace, labels: &BTreeMap<String, String>) -> Gate {
    let ours = labels
        .iter()
        .all(|(key, value)| found.labels().get(key) == Some(value));
    match (ours, found.metadata.deletion_timestamp.is_some()) {
        (false, _) => Gate::Foreign,
        (true, true) => Gate::Terminating,
        (true, false) => Gate::Ours,
    }
}

/// How far the deletion of a namespace is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// There is no namespace of ours.
    Gone,
    /// Its contents are being deleted; it is of this version, or a later one.
    Going(String),
}

impl Deletion {
    fn of(namespace: &Namespace) -> Self {
        Self::Going(namespace.resource_version().unwrap_or_default())
    }
}

/// Asks for the deletion of an instance's own namespace. A foreign namespace of
/// that name is left alone and counts as gone.
pub async fn delete_namespace(
    client: &Client,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Deletion, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let Some(found) = optional(call(api.get(name)).await)? else {
        return Ok(Deletion::Gone);
    };
    match judge(&found, labels) {
        Gate::Foreign => Ok(Deletion::Gone),
        Gate::Terminating => Ok(Deletion::of(&found)),
        Gate::Created | Gate::Ours => {
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: found.uid(),
                resource_version: None,
            });
            match optional(call(api.delete(name, &params)).await) {
                Ok(_) | Err(Error::Conflict) => Ok(Deletion::of(&found)),
                Err(error) => Err(error),
            }
        }
    }
}

/// Waits until a namespace that was seen in this version is gone; `false` if
/// the watch ended before, after at most `patience`.
///
/// # Errors
/// The watch cannot be opened.
pub async fn await_end(
    client: &Client,
    name: &str,
    version: &str,
    patience: Duration,
) -> Result<bool, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let events = call(api.watch_metadata(&params, version)).await?;
    let end = events.try_any(async |event| matches!(event, WatchEvent::Deleted(_)));
    // Of a watch that broke off nothing is known, as of one that took too long.
    Ok(matches!(
        tokio::time::timeout(patience, end).await,
        Ok(Ok(true))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_ours_only_if_instance_and_incarnation_match() {
        let labels = crate::names::instance_labels("record", "one");
        let mut found = Namespace::default();
        assert_eq!(judge(&found, &labels), Gate::Foreign);
        found.metadata.labels = Some(crate::names::instance_labels("record", "two"));
        assert_eq!(judge(&found, &labels), Gate::Foreign);
        found.metadata.labels = Some(labels.clone());
        assert_eq!(judge(&found, &labels), Gate::Ours);
        found.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
        );
        assert_eq!(judge(&found, &labels), Gate::Terminating);
    }
}
