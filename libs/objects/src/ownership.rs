//! Whose the fields of an object are, as its managedFields tell.
//!
//! An object is made with `create`, since only that is a gate for its name.
//! The API server notes a creation as an `Update` that owns every field,
//! defaults included, and a server-side apply does not remove what such an
//! entry owns. Before an object is first changed the creation's entry
//! therefore becomes an `Apply` entry: then every change does what `kubectl
//! apply --server-side` of the two manifests would have done.
//!
//! What the entry must own is told by a dry run of the manifest that was
//! applied. Merely turning the entry around would own the API server's defaults
//! as well, and a first update would differ from later ones wherever a default
//! depends on another field (a NetworkPolicy's policyTypes).

use cluster::FIELD_MANAGER;
use serde_json::{Value, json};

/// Whether an entry was made by our creation of the object.
fn is_creation(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER
        && entry["operation"] == "Update"
        && entry.get("subresource").is_none()
}

fn is_apply(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER
        && entry["operation"] == "Apply"
        && entry.get("subresource").is_none()
}

/// Whether the object was never applied since it was created.
pub(crate) fn is_as_created(entries: &[Value]) -> bool {
    entries.iter().any(is_creation)
}

/// The entries with the creation's turned into an apply's. It keeps the
/// defaults that the API server filled in: a later apply clears and renews
/// them.
pub(crate) fn turned(entries: &[Value]) -> Vec<Value> {
    let mut turned = entries.to_vec();
    for entry in turned.iter_mut().filter(|entry| is_creation(entry)) {
        entry["operation"] = json!("Apply");
    }
    turned
}

/// The entries with the creation's replaced by the apply's of `tried`: those
/// of a dry run that applied the manifest of the creation. So only what the
/// manifest says is owned, and defaults stay what they are. `None` if `tried`
/// has no such entry.
pub(crate) fn replaced(entries: &[Value], tried: &[Value]) -> Option<Vec<Value>> {
    let applied = tried.iter().find(|entry| is_apply(entry))?;
    let mut replaced: Vec<Value> = entries
        .iter()
        .filter(|entry| !is_creation(entry) && !is_apply(entry))
        .cloned()
        .collect();
    replaced.push(applied.clone());
    Some(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Value> {
        vec![
            json!({"manager": FIELD_MANAGER, "operation": "Update", "fieldsV1": {"f:a": {}, "f:default": {}}}),
            json!({"manager": "kubectl", "operation": "Update"}),
            json!({"manager": FIELD_MANAGER, "operation": "Update", "subresource": "status"}),
        ]
    }

    #[test]
    fn only_our_own_creation_is_turned() {
        let turned = turned(&entries());
        assert_eq!(turned[0]["operation"], "Apply");
        assert_eq!(turned[1..], entries()[1..]);
        assert!(is_as_created(&entries()));
        assert!(!is_as_created(&turned));
    }

    #[test]
    fn the_creation_gives_way_to_what_its_manifest_owns() {
        let applied =
            json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:a": {}}});
        let mut tried = entries();
        tried.push(applied.clone());
        let replaced = replaced(&entries(), &tried).unwrap();
        assert_eq!(replaced[..2], entries()[1..]);
        assert_eq!(replaced[2..], [applied]);
        assert!(!is_as_created(&replaced));
    }

    #[test]
    fn a_dry_run_that_shows_no_apply_replaces_nothing() {
        assert_eq!(replaced(&entries(), &entries()), None);
    }
}
