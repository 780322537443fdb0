//! Sharing the reconcile work: each replica holds a Lease; live replicas
//! divide the records among them by rendezvous hashing.
//!
//! Whether another replica lives is judged by the renewals that this replica
//! observes on its own monotonic clock; clocks are never compared. A replica
//! takes part only when those that live have seen it: each lease names the
//! others that its holder knows of, so that nobody takes a newcomer, or one
//! that was paused, for absent. Two replicas may still for a moment think that
//! a record is theirs, while it moves from one to the other: that is harmless,
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
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, Preconditions},
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

/// Annotation: the other replicas that the holder of the lease knows of.
const SEES: &str = "mongodb-osb.io/sees";

/// So many lifetimes after its last renewal a dead replica's lease is cleared
/// away: pods get new names, and nobody else would.
const CLEAR_AFTER: u32 = 5;

/// So many looks in the time of one renewal while waiting to be seen.
const LOOKS: u32 = 6;

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

/// Who lives, as this replica sees it; empty while it cannot renew its own
/// lease, and until those that live have seen it.
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

    /// Whether the record is this replica's to work on, if `driver` took the
    /// request that it came with: the driver's while it lives, else the owner's.
    pub fn works_on(&self, record: &str, driver: Option<&str>) -> bool {
        match driver {
            Some(driver) if self.lives(driver) => driver == self.own && self.lives(&self.own),
            Some(_) | None => self.owns(record),
        }
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

/// The time for which this replica holds its lease without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(u64);

#[derive(Debug, Clone, Copy)]
struct Held {
    term: Term,
    until: Instant,
}

/// Whether this replica's lease holds at this very moment: unlike [`Members`],
/// which a task must first publish, true right after the process was paused.
#[derive(Debug, Clone)]
pub struct Tenure {
    held: watch::Receiver<Option<Held>>,
}

impl Tenure {
    /// The running term; `None` if the lease has expired by now.
    pub fn now(&self) -> Option<Term> {
        let held = *self.held.borrow();
        held.filter(|held| Instant::now() < held.until)
            .map(|held| held.term)
    }

    /// Waits until the lease holds; `None` once the replica has left.
    pub async fn begun(&mut self) -> Option<Term> {
        loop {
            if let Some(term) = self.now() {
                return Some(term);
            }
            self.held.changed().await.ok()?;
        }
    }
}

/// What a renewal that began at `begun` and is known of `now` makes of the
/// lease: the same term goes on unless there was a gap.
fn renewed(before: Option<Held>, begun: Instant, now: Instant, lifetime: Duration) -> Held {
    let term = match before {
        None => Term(0),
        Some(held) if now < held.until => held.term,
        Some(held) => Term(held.term.0 + 1),
    };
    Held {
        term,
        until: begun + lifetime,
    }
}

/// A replica that has begun a term and is not known to have been seen.
#[derive(Debug)]
struct Candidate {
    since: Instant,
    /// Those that lived, with the versions of their leases, right after this
    /// replica's own renewal. Who comes later sees it before taking part.
    others: BTreeMap<String, Option<String>>,
}

impl Candidate {
    fn new(others: &BTreeSet<String>, seen: &HashMap<String, Seen>, since: Instant) -> Self {
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
    fn is_seen(
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

/// A replica's part in the sharing.
#[derive(Debug, Clone)]
pub struct Share {
    api: Api<Lease>,
    service: String,
    replica: String,
    timing: Timing,
    members: watch::Sender<Members>,
    held: watch::Sender<Option<Held>>,
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
            held: watch::Sender::new(None),
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

    /// Tells whether this replica's own lease holds.
    pub fn tenure(&self) -> Tenure {
        Tenure {
            held: self.held.subscribe(),
        }
    }

    /// Renews and observes until `stop`, then gives the lease back.
    pub async fn run(self, stop: CancellationToken) {
        let lifetime = self.timing.lifetime;
        let mut seen: HashMap<String, Seen> = HashMap::new();
        let mut held: Option<Held> = None;
        let mut candidate: Option<Candidate> = None;
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            let begun = Instant::now();
            // Who is not named any more is dropped after that, never before.
            let named = living(&seen, begun, lifetime);
            let mut others = named.clone();
            match self.renew_and_list(&named).await {
                Ok(leases) => {
                    let now = Instant::now();
                    observe(&mut seen, leases, now);
                    seen.remove(&self.replica);
                    others = living(&seen, begun, lifetime);
                    let next = renewed(held, begun, now, lifetime);
                    if held.is_none_or(|held| held.term != next.term) {
                        candidate = Some(Candidate::new(&others, &seen, begun));
                    }
                    held = Some(next);
                    self.clear_away(&seen).await;
                }
                Err(error) => tracing::warn!(%error, "lease not renewed"),
            }
            let now = Instant::now();
            candidate = candidate.filter(|one| !one.is_seen(&self.replica, &seen, now, lifetime));
            let part = held.filter(|held| now < held.until && candidate.is_none());
            self.publish(match part {
                Some(_) => others.iter().chain([&self.replica]).cloned().collect(),
                None => BTreeSet::new(),
            });
            // Who knows that the lease holds knows who else lives, too.
            self.held.send_replace(part);
            if !others.is_subset(&named)
                && let Err(error) = self.renew(&others).await
            {
                tracing::debug!(%error, "newcomers not named yet");
            }
            pause = match candidate {
                Some(_) => self.timing.renew / LOOKS,
                None => self.timing.renew,
            };
        }
        self.publish(BTreeSet::new());
        self.held.send_replace(None);
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

    async fn renew_and_list(&self, named: &BTreeSet<String>) -> Result<Vec<Lease>, Error> {
        self.renew(named).await?;
        let params = ListParams::default().labels(&format!("{SHARE}={}", self.service));
        Ok(call_within(self.timing.renew, self.api.list(&params))
            .await?
            .items)
    }

    /// `named`: the other replicas that this one knows of.
    async fn renew(&self, named: &BTreeSet<String>) -> Result<(), Error> {
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.lease_name()),
                annotations: Some([(SEES.to_owned(), named.join(","))].into()),
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

    async fn clear_away(&self, seen: &HashMap<String, Seen>) {
        let limit = self.timing.lifetime * CLEAR_AFTER;
        let dead = seen.iter().filter(|(_, seen)| seen.at.elapsed() > limit);
        for (replica, seen) in dead {
            let name = format!("{}-{replica}", self.service);
            // Not if it was renewed after all.
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: None,
                resource_version: seen.version.clone(),
            });
            match call_within(self.timing.renew, self.api.delete(&name, &params)).await {
                Ok(_) | Err(Error::NotFound | Error::Conflict) => {}
                Err(error) => tracing::debug!(%error, name, "dead lease not cleared away"),
            }
        }
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

/// What is known of a replica's lease.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    /// When this replica first saw that version.
    at: Instant,
    /// Whom the holder knows of.
    sees: BTreeSet<String>,
}

/// Takes in a list: a lease whose version changed was renewed, and a lease
/// that is gone was given back. One seen for the first time counts as live:
/// whether it is stale shows within its lifetime.
fn observe(seen: &mut HashMap<String, Seen>, leases: Vec<Lease>, now: Instant) {
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
fn living(seen: &HashMap<String, Seen>, now: Instant, lifetime: Duration) -> BTreeSet<String> {
    seen.iter()
        .filter(|(_, seen)| now.saturating_duration_since(seen.at) < lifetime)
        .map(|(replica, _)| replica.clone())
        .collect()
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

    #[test]
    fn a_driver_works_while_it_lives_and_the_owner_afterwards() {
        let three = members("a", &["a", "b", "c"]);
        let foreign = |number: &u32| !three.owns(&number.to_string());
        let record = (0..100).find(foreign).unwrap().to_string();
        assert!(three.works_on(&record, Some("a")));
        assert!(!three.works_on(&record, Some("b")));
        assert!(!three.works_on(&record, None));
        assert!(!three.works_on(&record, Some("gone")));
        assert!(members("a", &["a"]).works_on(&record, Some("b")));
        assert!(
            !members("a", &[]).works_on(&record, Some("a")),
            "a driver that cannot renew works on nothing"
        );
    }

    #[test]
    fn a_term_ends_with_the_lease_and_a_late_renewal_begins_another() {
        let (start, life) = (Instant::now(), Duration::from_secs(10));
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = renewed(None, start, start, life);
        let second = renewed(Some(first), after(9), after(9), life);
        assert_eq!((second.term, second.until), (first.term, after(19)));
        let third = renewed(Some(second), after(18), after(20), life);
        assert_ne!(
            third.term, second.term,
            "it ended before its renewal was known"
        );
        assert_eq!(third.until, after(28), "counted from before the call");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_renewed_ends_by_itself() {
        let share = watch::Sender::new(None);
        let mut tenure = Tenure {
            held: share.subscribe(),
        };
        assert_eq!(tenure.now(), None);
        let (now, life) = (Instant::now(), Duration::from_secs(3));
        share.send_replace(Some(renewed(None, now, now, life)));
        assert_eq!(tenure.begun().await, Some(Term(0)));
        tokio::time::advance(life).await;
        assert_eq!(tenure.now(), None);
        drop(share);
        assert_eq!(tenure.begun().await, None);
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
