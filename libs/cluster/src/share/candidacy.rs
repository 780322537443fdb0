//! What this replica has seen of the others' leases: who lives, and whether
//! they have seen it in turn, without which it takes no part.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::leases::SEES;

/// A replica that has begun a term and is not known to have been seen.
#[derive(Debug)]
pub(super) struct Candidate {
    since: Instant,
    /// Those that lived, with the versions of their leases, right after this
    /// replica's own renewal. Who comes later sees it before taking part.
    others: BTreeMap<String, Option<String>>,
}

impl Candidate {
    pub(super) fn new(
        others: &BTreeSet<String>,
        seen: &HashMap<String, Seen>,
        since: Instant,
    ) -> Self {
        let version = |replica: &String| seen.get(replica).and_then(|seen| seen.version.clone());
        Self {
            since,
            others: others
                .iter()
                .map(|replica| (replica.clone(), version(replica)))
                .collect(),
        }
    }

    /// Whether everybody who lives has named `own` in a renewal later than its
    /// own. One that renews and never names it is waited for one lifetime.
    pub(super) fn is_seen(
        &self,
        own: &str,
        seen: &HashMap<String, Seen>,
        now: Instant,
        lifetime: Duration,
    ) -> bool {
        now - self.since >= lifetime
            || self.others.iter().all(|(replica, before)| {
                seen.get(replica).is_none_or(|seen| {
                    seen.version != *before && seen.sees.contains(own) || now - seen.at >= lifetime
                })
            })
    }
}

/// What is known of a replica's lease.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) version: Option<String>,
    /// When this replica first saw that version.
    pub(super) at: Instant,
    /// The other replicas that the holder names.
    sees: BTreeSet<String>,
}

/// Takes in a list: a lease whose version changed was renewed, and a lease
/// that is gone was given back. One seen for the first time counts as live:
/// whether it is stale shows within its lifetime.
pub(super) fn observe(seen: &mut HashMap<String, Seen>, leases: Vec<Lease>, now: Instant) {
    let mut listed = BTreeSet::new();
    for lease in leases {
        let version = lease.resource_version();
        let sees = lease.annotations().get(SEES).map(|names| {
            let names = names.split(',').filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        });
        let Some(replica) = lease.spec.and_then(|spec| spec.holder_identity) else {
            continue;
        };
        listed.insert(replica.clone());
        if seen
            .get(&replica)
            .is_none_or(|known| known.version != version)
        {
            let sees = sees.unwrap_or_default();
            seen.insert(
                replica,
                Seen {
                    version,
                    at: now,
                    sees,
                },
            );
        }
    }
    seen.retain(|replica, _| listed.contains(replica));
}

/// Those whose last renewal is not too long ago.
pub(super) fn living(
    seen: &HashMap<String, Seen>,
    now: Instant,
    lifetime: Duration,
) -> BTreeSet<String> {
    seen.iter()
        .filter(|(_, seen)| now.saturating_duration_since(seen.at) < lifetime)
        .map(|(replica, _)| replica.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    fn lease(replica: &str, version: &str) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.to_owned());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(replica.to_owned()),
            ..LeaseSpec::default()
        });
        lease
    }

    #[test]
    fn a_newcomer_waits_until_each_that_lives_has_named_it() {
        let (start, life) = (Instant::now(), Duration::from_secs(10));
        let after = |seconds| start + Duration::from_secs(seconds);
        let naming = |replica: &str, version: &str, sees: &str| {
            let mut lease = lease(replica, version);
            lease.metadata.annotations = Some([(SEES.to_owned(), sees.to_owned())].into());
            lease
        };
        let mut seen = HashMap::new();
        let first = Candidate::new(&BTreeSet::new(), &seen, start);
        assert!(first.is_seen("a", &seen, start, life), "there is nobody");

        // Before its own renewal it may have been named, and dropped since.
        let before = vec![naming("b", "1", "a"), naming("c", "1", "")];
        observe(&mut seen, before, start);
        let candidate = Candidate::new(&living(&seen, start, life), &seen, start);
        let is_seen = |seen: &_, seconds| candidate.is_seen("a", seen, after(seconds), life);
        assert!(!is_seen(&seen, 1));
        let by_one = vec![naming("b", "2", "a,c"), naming("c", "2", "b")];
        observe(&mut seen, by_one, after(2));
        assert!(!is_seen(&seen, 2));
        // Who came later has seen it.
        let by_both = vec![
            naming("b", "2", "a,c"),
            naming("c", "3", "a,b"),
            naming("d", "1", ""),
        ];
        observe(&mut seen, by_both, after(3));
        assert!(is_seen(&seen, 3));
        // One that leaves need not see it, and a mute one does not stop it.
        let mut mute = HashMap::new();
        observe(&mut mute, vec![naming("b", "2", "a")], after(3));
        assert!(is_seen(&mute, 3));
        observe(&mut mute, vec![naming("b", "3", "")], after(9));
        assert!(!is_seen(&mute, 9));
        assert!(is_seen(&mute, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn only_observed_renewals_keep_a_replica_alive() {
        let mut seen = HashMap::new();
        let start = Instant::now();
        observe(&mut seen, vec![lease("b", "1"), lease("c", "1")], start);
        let later = start + Duration::from_secs(10);
        observe(&mut seen, vec![lease("b", "2"), lease("c", "1")], later);
        assert_eq!((seen["b"].at, seen["c"].at), (later, start));
        observe(&mut seen, vec![lease("b", "2")], later);
        assert!(!seen.contains_key("c"));
    }
}
