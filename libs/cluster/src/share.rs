//! Sharing the reconcile work: each replica holds a Lease; live replicas
//! divide the records among them by rendezvous hashing.
//!
//! Whether another replica lives is judged by the renewals that this replica
//! observes on its own monotonic clock; clocks are never compared. Two
//! replicas may for a moment think that a record is theirs: that is harmless,
//! since every step can be repeated and every decision is a conditional write.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams},
};
use sha2::{Digest as _, Sha256};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, call_within, optional},
    names,
};

/// Label: the service whose replicas share work.
const SHARE: &str = "mongodb-osb.io/share";

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between renewals.
    pub renew: Duration,
    /// Without a renewal for this long a replica counts as gone.
    pub lifetime: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            renew: Duration::from_secs(3),
            lifetime: Duration::from_secs(12),
        }
    }
}

/// Who lives, as this replica sees it; empty while it cannot renew its own lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    own: String,
    live: BTreeSet<String>,
}

impl Members {
    /// Members for tests and for single use: `own` among `live`.
    pub fn new(own: &str, live: impl IntoIterator<Item = String>) -> Self {
        Self {
            own: own.to_owned(),
            live: live.into_iter().collect(),
        }
    }

    /// Whether the record of that name is this replica's to work on.
    pub fn owns(&self, record: &str) -> bool {
        self.owner(record) == Some(self.own.as_str())
    }

    /// Whose the record is: the live replica with the highest hash.
    pub fn owner(&self, record: &str) -> Option<&str> {
        self.live
            .iter()
            .max_by_key(|replica| weight(replica, record))
            .map(String::as_str)
    }

    /// Whether a replica lives.
    pub fn lives(&self, replica: &str) -> bool {
        self.live.contains(replica)
    }

    /// Whether this replica lives, and no other.
    pub fn is_alone(&self) -> bool {
        self.live.len() == 1 && self.live.contains(&self.own)
    }

    /// How many replicas live.
    pub fn count(&self) -> usize {
        self.live.len()
    }
}

fn weight(replica: &str, record: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((replica.len() as u64).to_be_bytes());
    hash.update(replica);
    hash.update(record);
    hash.finalize().into()
}

/// A replica's part in the sharing.
#[derive(Debug, Clone)]
pub struct Share {
    api: Api<Lease>,
    service: String,
    replica: String,
    timing: Timing,
    members: watch::Sender<Members>,
}

impl Share {
    /// For the replica of that name (unique among the service's replicas, a
    /// DNS label) in the broker's namespace.
    pub fn new(
        client: Client,
        namespace: &str,
        service: &str,
        replica: &str,
        timing: Timing,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            service: service.to_owned(),
            replica: replica.to_owned(),
            timing,
            members: watch::Sender::new(Members::new(replica, [])),
        }
    }

    /// This replica's name.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Follows who lives.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    /// Renews and observes until `stop`, then gives the lease back.
    pub async fn run(self, stop: CancellationToken) {
        let mut seen: HashMap<String, Seen> = HashMap::new();
        let mut renewed: Option<Instant> = None;
        let mut ticks = tokio::time::interval(self.timing.renew);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let begun = Instant::now();
            match self.renew().await {
                Ok(()) => renewed = Some(begun),
                Err(error) => tracing::warn!(%error, "lease not renewed"),
            }
            match self.list().await {
                Ok(leases) => observe(&mut seen, leases, Instant::now()),
                Err(error) => tracing::warn!(%error, "leases not listed"),
            }
            let now = Instant::now();
            let holding = renewed.is_some_and(|at| now - at < self.timing.lifetime);
            let live = if holding {
                let others = seen
                    .iter()
                    .filter(|(_, seen)| now - seen.at < self.timing.lifetime)
                    .map(|(replica, _)| replica.clone());
                others.chain([self.replica.clone()]).collect()
            } else {
                BTreeSet::new()
            };
            self.publish(live);
        }
        self.publish(BTreeSet::new());
        if let Err(error) = self.give_back().await {
            tracing::warn!(%error, "lease not given back; others take over when it expires");
        }
    }

    fn publish(&self, live: BTreeSet<String>) {
        self.members.send_if_modified(|members| {
            let changed = members.live != live;
            if changed {
                tracing::info!(replicas = ?live, "replicas that share the work");
                members.live = live;
            }
            changed
        });
    }

    fn lease_name(&self) -> String {
        format!("{}-{}", self.service, self.replica)
    }

    async fn renew(&self) -> Result<(), Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.lease_name()),
                labels: Some(BTreeMap::from([
                    (SHARE.to_owned(), self.service.clone()),
                    (names::MANAGED_BY.to_owned(), names::MANAGER.to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.replica.clone()),
                lease_duration_seconds: i32::try_from(self.timing.lifetime.as_secs()).ok(),
                renew_time: Some(MicroTime(jiff::Timestamp::now())),
                ..LeaseSpec::default()
            }),
        };
        let params = PatchParams::apply(crate::FIELD_MANAGER).force();
        call_within(
            self.timing.renew,
            self.api
                .patch(&self.lease_name(), &params, &Patch::Apply(&lease)),
        )
        .await
        .map(drop)
    }

    async fn list(&self) -> Result<Vec<Lease>, Error> {
        let params = ListParams::default().labels(&format!("{SHARE}={}", self.service));
        Ok(call_within(self.timing.renew, self.api.list(&params))
            .await?
            .items)
    }

    async fn give_back(&self) -> Result<(), Error> {
        let params = DeleteParams::default();
        optional(
            call_within(
                self.timing.renew,
                self.api.delete(&self.lease_name(), &params),
            )
            .await,
        )
        .map(drop)
    }
}

/// A lease's version, and when this replica first saw it.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    at: Instant,
}

/// Takes in a list: a lease whose version changed was renewed, and a lease
/// that is gone was given back. One seen for the first time counts as live:
/// whether it is stale shows within its lifetime.
fn observe(seen: &mut HashMap<String, Seen>, leases: Vec<Lease>, now: Instant) {
    let mut listed = BTreeSet::new();
    for lease in leases {
        let version = lease.resource_version();
        let Some(replica) = lease.spec.and_then(|spec| spec.holder_identity) else {
            continue;
        };
        listed.insert(replica.clone());
        let known = seen.entry(replica).or_insert_with(|| Seen {
            version: version.clone(),
            at: now,
        });
        if known.version != version {
            *known = Seen { version, at: now };
        }
    }
    seen.retain(|replica, _| listed.contains(replica));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(own: &str, live: &[&str]) -> Members {
        Members::new(own, live.iter().map(|name| (*name).to_owned()))
    }

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
    fn every_record_has_exactly_one_owner_and_a_leave_moves_only_its_own() {
        let three = members("a", &["a", "b", "c"]);
        let two = members("a", &["a", "b"]);
        let mut moved = 0;
        for number in 0..300 {
            let record = names::instance_record(&number.to_string());
            let before = three.owner(&record).unwrap();
            let after = two.owner(&record).unwrap();
            if before == "c" {
                moved += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!(
            (50..150).contains(&moved),
            "{moved} of 300 were the leaver's"
        );
    }

    #[test]
    fn a_replica_that_cannot_renew_owns_nothing() {
        assert!(!members("a", &[]).owns("x"));
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
