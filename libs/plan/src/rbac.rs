//! The rules of the ClusterRole that plans need, from their kinds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::descriptor::{KindRef, Scope};
use crate::kinds;

/// Name of the ClusterRole with what the plans may apply. Its text is generated from their kinds,
/// and the provisioner binds it in the instances' namespaces.
pub const PLANS_ROLE: &str = "mongodb-osb-plans";

/// What the provisioner does with a plan's objects.
const VERBS: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];
/// What it does with Secrets, which are ready as soon as they exist: nothing waits for them by
/// watch, which would deliver the content of all Secrets of a namespace.
const SECRET_VERBS: [&str; 5] = ["create", "delete", "get", "list", "patch"];

/// A rule of a ClusterRole, as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API groups.
    pub api_groups: Vec<String>,
    /// Plural resource names.
    pub resources: Vec<String>,
    /// What may be done.
    pub verbs: Vec<String>,
}

/// A kind whose plural is not known; `kinds` must name it: `group/version/Kind=plural`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plural of {} is not known: write it as {}=<plural>", .0, .0)]
pub struct UnknownPlural(pub KindRef);

/// The rules for a set of plans: their kinds, and what every plan needs. Plans of scope `cluster`
/// are worked by the installer, whose rights are another role; pass them on their own.
pub fn rules<'a>(
    bundles: impl IntoIterator<Item = &'a Bundle>,
) -> Result<Vec<Rule>, UnknownPlural> {
    let mut verbs: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    let mut grant = |group: &str, resource: &str, granted: &[&'static str]| {
        verbs
            .entry((group.to_owned(), resource.to_owned()))
            .or_default()
            .extend(granted);
    };
    // Objects that owners leave behind are found by label and deleted; pods and events show why an
    // object is not ready.
    grant(
        "",
        "persistentvolumeclaims",
        &["get", "list", "patch", "delete"],
    );
    grant("", "pods", &["get", "list"]);
    grant("", "events", &["get", "list"]);
    for bundle in bundles {
        // Generated values are kept in a Secret, whatever the templates render.
        if !bundle.descriptor().generate.is_empty() {
            grant("", "secrets", &SECRET_VERBS);
        }
        for kind in bundle.kinds() {
            let plural = kinds::plural(kind).ok_or_else(|| UnknownPlural(kind.clone()))?;
            grant(&kind.group, plural, verbs_of(kind));
        }
    }
    // Resources of one group with the same verbs share a rule.
    let mut merged: BTreeMap<(String, Vec<&str>), Vec<String>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        merged
            .entry((group, verbs.into_iter().collect()))
            .or_default()
            .push(resource);
    }
    Ok(merged
        .into_iter()
        .map(|((group, verbs), resources)| Rule {
            api_groups: vec![group],
            resources,
            verbs: verbs.into_iter().map(str::to_owned).collect(),
        })
        .collect())
}

fn verbs_of(kind: &KindRef) -> &'static [&'static str] {
    if kind.group.is_empty() && kind.kind == "Secret" {
        &SECRET_VERBS
    } else {
        &VERBS
    }
}

/// Splits bundles by who works them: those of the provisioner, and those of the installer.
pub fn by_scope<'a>(
    bundles: impl IntoIterator<Item = &'a Bundle>,
) -> (Vec<&'a Bundle>, Vec<&'a Bundle>) {
    bundles
        .into_iter()
        .partition(|bundle| bundle.scope() == Scope::Namespace)
}
