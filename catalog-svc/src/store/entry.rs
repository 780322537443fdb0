//! What the ConfigMaps of bundles say without their content.

use std::collections::{BTreeMap, BTreeSet};

use bundles::stored::{CURRENT_SINCE, DIGEST, PART, PARTS, PLAN, SUPERSEDED_AT};
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use plan::id::Digest;

use super::{Stored, annotation, number};
use crate::snapshot::PlanKey;

/// No bundle has more: a larger number is not of our writing.
const MAX_PARTS: usize = 64;

/// A stored bundle, or content that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its digest.
    pub(crate) digest: Digest,
    /// The plan that it is a version of; none for content that was fetched.
    pub(crate) plan: Option<PlanKey>,
    /// How many parts it has, and whether all are there.
    pub(crate) parts: usize,
    /// Whether all parts are there.
    pub(crate) complete: bool,
    /// When it became the current version.
    pub(crate) since: Option<Timestamp>,
    /// Whether a part says that it is not any more.
    pub(crate) superseded: bool,
}

impl Entry {
    /// As what it is stored.
    pub(crate) fn stored(&self) -> Stored<'_> {
        Stored {
            digest: &self.digest,
            plan: self.plan.as_ref(),
        }
    }
}

/// The bundles that these ConfigMaps are parts of.
pub(crate) fn entries(maps: impl Iterator<Item = ObjectMeta>) -> Vec<Entry> {
    let mut found: BTreeMap<Digest, (Entry, BTreeSet<usize>)> = BTreeMap::new();
    for metadata in maps {
        let digest = annotation(&metadata, DIGEST).and_then(|text| text.parse::<Digest>().ok());
        let plan = annotation(&metadata, PLAN).map(PlanKey::parse);
        // A plan that cannot be read is not of our writing.
        let (Some(digest), Some(plan)) = (digest, plan.map_or(Some(None), |plan| plan.map(Some)))
        else {
            continue;
        };
        let (Some(part), Some(parts)) = (number(&metadata, PART), number(&metadata, PARTS)) else {
            continue;
        };
        if !(1..=MAX_PARTS).contains(&parts) {
            continue;
        }
        let (entry, seen) = found.entry(digest.clone()).or_insert_with(|| {
            let entry = Entry {
                digest,
                plan,
                parts,
                complete: false,
                since: None,
                superseded: false,
            };
            (entry, BTreeSet::new())
        });
        let since = annotation(&metadata, CURRENT_SINCE).and_then(|text| text.parse().ok());
        entry.since = entry.since.max(since);
        entry.superseded |= annotation(&metadata, SUPERSEDED_AT).is_some();
        seen.insert(part);
    }
    found
        .into_values()
        .map(|(entry, seen)| Entry {
            complete: seen.into_iter().eq(0..entry.parts),
            ..entry
        })
        .collect()
}

/// For each plan the bundle that was its current version last.
pub(crate) fn newest(entries: &[Entry]) -> BTreeMap<&PlanKey, &Entry> {
    let mut newest: BTreeMap<&PlanKey, &Entry> = BTreeMap::new();
    let usable = entries
        .iter()
        .filter(|entry| entry.complete && !entry.superseded);
    let of_plans = usable.filter_map(|entry| Some((entry.plan.as_ref()?, entry)));
    for (plan, entry) in of_plans {
        let best = newest.entry(plan).or_insert(entry);
        if entry.since > best.since {
            *best = entry;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(digest: char, number: usize, total: usize, since: &str) -> ObjectMeta {
        let digest = digest.to_string().repeat(64);
        let pairs = [
            (DIGEST, digest),
            (PLAN, "p/q".to_owned()),
            (PART, number.to_string()),
            (PARTS, total.to_string()),
            (CURRENT_SINCE, since.to_owned()),
        ];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value));
        ObjectMeta {
            annotations: Some(BTreeMap::from(pairs)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_bundle_counts_when_all_its_parts_are_there() {
        let since = "2026-01-01T00:00:00Z";
        let parts = [
            part('a', 1, 2, since),
            part('b', 0, 2, since),
            part('b', 1, 2, since),
        ];
        let found = entries(parts.into_iter());
        let complete: Vec<_> = found.iter().map(|entry| entry.complete).collect();
        assert_eq!(complete, [false, true]);
        assert_eq!(
            newest(&found)[found[0].plan.as_ref().unwrap()].digest,
            found[1].digest
        );
    }

    #[test]
    fn the_newest_that_is_not_superseded_was_the_last_good_one() {
        let mut gone = part('c', 0, 1, "2026-03-01T00:00:00Z");
        gone.annotations
            .as_mut()
            .unwrap()
            .insert(SUPERSEDED_AT.to_owned(), "2026-03-02T00:00:00Z".to_owned());
        let parts = [
            part('b', 0, 1, "2026-02-01T00:00:00Z"),
            part('a', 0, 1, "2026-01-01T00:00:00Z"),
            gone,
        ];
        let found = entries(parts.into_iter());
        let newest = newest(&found);
        assert_eq!(newest.len(), 1);
        assert!(
            newest
                .values()
                .all(|entry| entry.digest.as_str().starts_with('b'))
        );
    }

    #[test]
    fn a_stranger_with_our_label_is_no_bundle() {
        assert!(entries(std::iter::once(ObjectMeta::default())).is_empty());
    }
}
