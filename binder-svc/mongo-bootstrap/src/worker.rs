//! The loop: observe, decide, act, observe again. It has no decisions of its own.

mod perform;

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    args::RunArgs,
    cluster::{ClusterError, CompatibilityObject, Seen, TopologyObject, texts},
    compatibility::Compatibility,
    member::Ordinal,
    mongod::{Mongod, MongodError},
    next,
    observe::Observer,
    observed::{Features, MongodState, Observed},
    probes::Probes,
    step::Step,
    topology::Topology,
};

/// The time between two observations while something is expected to change.
const EXPECTING: Duration = Duration::from_millis(500);
/// The pause after a failure, doubled with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The ConfigMaps.
#[derive(Clone)]
pub(super) struct Objects {
    pub(super) topology: TopologyObject,
    pub(super) compatibility: CompatibilityObject,
}

/// Works on the membership of one member's set.
pub(super) struct Worker {
    observer: Observer,
    mongod: Mongod,
    objects: Objects,
    probes: Probes,
    /// The topology as it was last watched, or written here.
    topology: watch::Sender<Option<Seen<Topology>>>,
    /// The same of the wanted compatibility.
    compatibility: watch::Sender<Option<Seen<Compatibility>>>,
    set: String,
    last_error: Option<String>,
    failures: u32,
    reported: Option<Instant>,
    last: Option<Step>,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Mongod(#[from] MongodError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// What the step needs is gone since it was decided on.
    #[error("the state has changed since it was observed")]
    Changed,
}

impl Worker {
    pub(super) fn new(
        args: &RunArgs,
        mongod: Mongod,
        objects: Objects,
        probes: Probes,
    ) -> anyhow::Result<Self> {
        let (ordinal, _) = args.member()?;
        Ok(Self {
            observer: Observer::new(ordinal, args.members.clone(), mongod.clone()),
            mongod,
            objects,
            probes,
            topology: watch::Sender::new(None),
            compatibility: watch::Sender::new(None),
            set: args.replica_set.clone(),
            last_error: None,
            failures: 0,
            reported: None,
            last: None,
        })
    }

    /// Works until `shutdown` is cancelled. It stops between two instructions, as a kill would.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut topology = self.topology.subscribe();
        let mut compatibility = self.compatibility.subscribe();
        let objects = self.objects.clone();
        let follow_topology = Box::pin(objects.topology.follow(self.topology.clone()));
        let follow_compatibility =
            Box::pin(objects.compatibility.follow(self.compatibility.clone()));
        let work = async {
            loop {
                let pause = self.turn(&mut topology).await;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = topology.changed() => {}
                    Ok(()) = compatibility.changed() => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow_topology => {}
            () = follow_compatibility => {}
            () = work => {}
        }
    }

    /// One turn; gives the time until the next.
    async fn turn(&mut self, topology: &mut watch::Receiver<Option<Seen<Topology>>>) -> Duration {
        let seen = topology.borrow_and_update().clone();
        let outcome = match self.observe(seen).await {
            Ok((observed, seen)) => {
                let step = next::next(&observed);
                self.probes.note(&observed);
                self.act(step, seen.as_ref()).await
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(pause) => {
                self.failures = 0;
                pause
            }
            Err(WorkError::Cluster(ClusterError::Conflict) | WorkError::Changed) => EXPECTING,
            Err(error) => self.failed(&error),
        }
    }

    async fn observe(
        &mut self,
        seen: Option<Seen<Topology>>,
    ) -> Result<(Observed, Option<Seen<Topology>>), WorkError> {
        let mongod = self.observer.mongod_state().await?;
        // Without the mark a set may be initiated: never take that from a cache.
        let seen = match seen {
            Some(seen) if !seen.content.bootstrapped => Some(self.objects.topology.get().await?),
            other => other,
        };
        let topology = seen.as_ref().map(|seen| seen.content.clone());
        let peer_in_set = match &topology {
            Some(topology)
                if may_initiate(self.observer.ordinal, topology.bootstrapped, &mongod) =>
            {
                self.observer.peer_in_set(topology).await
            }
            _ => None,
        };
        let level = self.observer.level(&mongod).await?;
        let compatibility = self.compatibility.borrow().clone();
        let mut observed = Observed {
            ordinal: self.observer.ordinal,
            topology,
            compatibility: compatibility.map(|seen| seen.content),
            mongod,
            features: level.map(|level| Features {
                level,
                servers: BTreeMap::new(),
            }),
            peer_in_set,
            last_error: self.last_error.clone(),
        };
        if next::asks_servers(&observed)
            && let Some(features) = &mut observed.features
        {
            features.servers = self.observer.servers(&observed.mongod).await;
        }
        Ok((observed, seen))
    }

    /// Notes a failure; gives the time until the next try.
    fn failed(&mut self, error: &WorkError) -> Duration {
        let text = texts(error);
        if self.last_error.as_deref() != Some(error.to_string().as_str()) {
            tracing::warn!(error = text, "a step failed and is tried again");
        }
        // Without its causes: they differ from try to try, and a report should not.
        self.last_error = Some(error.to_string());
        let pause = FIRST_PAUSE * 2_u32.pow(self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }
}

/// Whether it matters if a peer is in a set.
fn may_initiate(ordinal: Ordinal, bootstrapped: bool, mongod: &MongodState) -> bool {
    ordinal == 0 && !bootstrapped && *mongod == MongodState::Empty
}
