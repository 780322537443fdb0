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
//!
//! ```text
//!             renewed, first time or after a gap            each that lives has named it,
//!                      (a new term)                          or is silent for a lifetime
//!   no lease ------------------------------> candidate ---------------------------------> member
//!      ^                                     owns nothing                    owns its part by rendezvous hashing,
//!      |                                                                     drives the requests that it takes
//!      +--------- lifetime over without a renewal, or process ends (lease given back) ---------+
//!   term: the time for which a lease holds without a gap. What was read in one term counts in that term only.
//! ```

mod candidacy;
mod leases;
mod members;
mod tenure;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use kube::{Api, Client};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    candidacy::{Candidate, Seen, living, observe},
    leases::Leases,
    tenure::{Held, renewed},
};

#[cfg(feature = "testing")]
pub use self::tenure::Holder;
pub use self::{
    members::Members,
    tenure::{Tenure, Term},
};

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

/// A replica's part in the sharing.
#[derive(Debug, Clone)]
pub struct Share {
    leases: Leases,
    timing: Timing,
    members: watch::Sender<Members>,
    held: watch::Sender<Option<Held>>,
}

/// What one round of renewing and looking builds on.
#[derive(Debug, Default)]
struct Round {
    /// The other replicas' leases.
    seen: HashMap<String, Seen>,
    held: Option<Held>,
    candidate: Option<Candidate>,
}

impl Share {
    /// For the replica of that name (unique among the service's replicas, a
    /// DNS label) in that namespace.
    pub fn new(
        client: Client,
        namespace: &str,
        service: &str,
        replica: &str,
        timing: Timing,
    ) -> Self {
        Self {
            leases: Leases {
                api: Api::namespaced(client, namespace),
                service: service.to_owned(),
                replica: replica.to_owned(),
                deadline: timing.renew,
                lifetime: timing.lifetime,
            },
            timing,
            members: watch::Sender::new(Members::new(replica, [])),
            held: watch::Sender::new(None),
        }
    }

    /// This replica's name.
    pub fn replica(&self) -> &str {
        &self.leases.replica
    }

    /// Follows who lives.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    /// Resolves once this replica counts as living: a synchronous request names
    /// it as its driver, which the others believe only while its lease lives.
    pub fn joined(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut members, replica) = (self.members(), self.replica().to_owned());
        async move {
            let living = members.wait_for(|members| members.lives(&replica));
            if living.await.is_err() {
                // The replica has left: it will not join any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Tells whether this replica's own lease holds.
    pub fn tenure(&self) -> Tenure {
        Tenure {
            held: self.held.subscribe(),
        }
    }

    /// Renews and observes until `stop`, then gives the lease back.
    pub async fn run(self, stop: CancellationToken) {
        let mut round = Round::default();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            self.take_part(&mut round).await;
            pause = match round.candidate {
                Some(_) => self.timing.renew / LOOKS,
                None => self.timing.renew,
            };
        }
        self.publish(BTreeSet::new());
        self.held.send_replace(None);
        if let Err(error) = self.leases.give_back().await {
            tracing::warn!(%error, "lease not given back; others take over when it expires");
        }
    }

    /// Renews, looks who lives, and publishes what follows from that.
    async fn take_part(&self, round: &mut Round) {
        let lifetime = self.timing.lifetime;
        let begun = Instant::now();
        // The lease that is written now names those that lived a moment ago.
        // Who is not among them stops being counted only after that write.
        let named = living(&round.seen, begun, lifetime);
        let mut others = named.clone();
        match self.leases.renew_and_list(&named).await {
            Ok(leases) => {
                let now = Instant::now();
                observe(&mut round.seen, leases, now);
                round.seen.remove(self.replica());
                others = living(&round.seen, begun, lifetime);
                let next = renewed(round.held, begun, now, lifetime);
                if round.held.is_none_or(|held| held.term != next.term) {
                    round.candidate = Some(Candidate::new(&others, &round.seen, begun));
                }
                round.held = Some(next);
                self.leases.clear_away(&round.seen).await;
            }
            Err(error) => tracing::warn!(%error, "lease not renewed"),
        }
        let now = Instant::now();
        let unseen = |one: &Candidate| !one.is_seen(self.replica(), &round.seen, now, lifetime);
        round.candidate = round.candidate.take().filter(unseen);
        let part = round
            .held
            .filter(|held| now < held.until && round.candidate.is_none());
        self.publish(match part {
            Some(_) => others
                .iter()
                .map(String::as_str)
                .chain([self.replica()])
                .map(str::to_owned)
                .collect(),
            None => BTreeSet::new(),
        });
        // Members before the term, so that whoever knows that the lease holds
        // finds a list of members.
        self.held.send_replace(part);
        if !others.is_subset(&named)
            && let Err(error) = self.leases.renew(&others).await
        {
            tracing::debug!(%error, "newcomers not named yet");
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
}
