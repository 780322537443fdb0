//! The mark of what carries our labels and has no record. Its absence proves
//! nothing (a restore may bring the record back), so it is shown to people
//! and never deleted: `kubectl get namespaces,secrets -A -l mongodb-osb.io/orphaned`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    error::{Error, call, optional},
    gate::{Gate, judge},
    names,
};

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// An orphan since then.
    Orphaned(Timestamp),
    /// It has its record (again).
    Owned,
}

impl Mark {
    /// A merge patch, of the object with this uid only.
    pub(crate) fn patch(self, uid: Option<String>) -> Value {
        let (label, since) = match self {
            Self::Orphaned(since) => (json!("true"), json!(format!("{since:.0}"))),
            Self::Owned => (Value::Null, Value::Null),
        };
        let mut metadata = json!({
            "labels": { names::ORPHANED: label },
            "annotations": { names::ORPHANED_AT: since },
        });
        if let Some(uid) = uid {
            metadata["uid"] = json!(uid);
        }
        json!({ "metadata": metadata })
    }
}

/// What was found where an instance's own namespace should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is there, and carries the mark as asked.
    Ours,
    /// It is there and is being deleted.
    Terminating,
    /// There is none, or one of somebody else's.
    Missing,
}

/// Marks an instance's own namespace if it is there; writes only a change.
pub async fn mark_namespace(
    client: &Client,
    name: &str,
    labels: &BTreeMap<String, String>,
    mark: Mark,
) -> Result<Found, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let Some(found) = optional(call(api.get(name)).await)? else {
        return Ok(Found::Missing);
    };
    match judge(&found, labels) {
        Gate::Foreign => return Ok(Found::Missing),
        Gate::Terminating => return Ok(Found::Terminating),
        Gate::Created | Gate::Ours => {}
    }
    let is_marked = found.labels().contains_key(names::ORPHANED);
    if is_marked == matches!(mark, Mark::Orphaned(_)) {
        return Ok(Found::Ours);
    }
    let patch = Patch::Merge(mark.patch(found.uid()));
    match optional(call(api.patch(name, &PatchParams::default(), &patch)).await)? {
        Some(_) => Ok(Found::Ours),
        None => Ok(Found::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_a_label_to_select_by_and_the_time_and_both_go_again() {
        let set = Mark::Orphaned(Timestamp::UNIX_EPOCH).patch(Some("u".into()));
        assert_eq!(
            set,
            json!({"metadata": {
                "uid": "u",
                "labels": {"mongodb-osb.io/orphaned": "true"},
                "annotations": {"mongodb-osb.io/orphaned-at": "1970-01-01T00:00:00Z"},
            }})
        );
        let unset = Mark::Owned.patch(None);
        assert_eq!(
            unset["metadata"]["labels"]["mongodb-osb.io/orphaned"],
            Value::Null
        );
        assert_eq!(unset["metadata"].get("uid"), None);
    }
}
