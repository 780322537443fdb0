//! The loop: look, decide, act, look again. It has no decisions of its own.

use std::{collections::BTreeMap, time::Duration};

use service::failpoint;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    args::RunArgs,
    cluster::{ClusterError, CompatibilityObject, Seen, TopologyObject, publish, texts},
    compatibility::{Compatibility, CompatibilityReport},
    member::Ordinal,
    mongod::{AdminSession, Mongod, MongodError},
    next::{self, Features, Observed, Step, Wait},
    observe::Observer,
    probes::Probes,
    replica_set::SetConfig,
    topology::{Report, Topology},
};

/// How often to look while nothing is expected to happen.
const IDLE: Duration = Duration::from_secs(5);
/// How often to look while something is.
const EXPECTING: Duration = Duration::from_millis(500);
/// The pause after a failure, doubled with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The shortest time between two reports of a set without a primary, so that a member that is cut
/// off does not quarrel with the primary about the report.
const REPORT_PACE: Duration = Duration::from_secs(5);

/// What it works on.
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
    /// What the topology said last, by its watch or by our own writes.
    latest: watch::Sender<Option<Seen<Topology>>>,
    /// The same of the wanted compatibility.
    wanted: watch::Sender<Option<Seen<Compatibility>>>,
    set: String,
    trouble: Option<String>,
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
    #[error("things have changed meanwhile")]
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
            latest: watch::Sender::new(None),
            wanted: watch::Sender::new(None),
            set: args.replica_set.clone(),
            trouble: None,
            failures: 0,
            reported: None,
            last: None,
        })
    }

    /// Works until `shutdown` is cancelled. It stops between two instructions, as a kill would.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut latest = self.latest.subscribe();
        let mut wanted = self.wanted.subscribe();
        let Objects {
            topology,
            compatibility,
        } = self.objects.clone();
        let follow = Box::pin(topology.follow(self.latest.clone()));
        let follow_wanted = Box::pin(compatibility.follow(self.wanted.clone()));
        let work = async {
            loop {
                let pause = self.turn(&mut latest).await;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = latest.changed() => {}
                    Ok(()) = wanted.changed() => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow => {}
            () = follow_wanted => {}
            () = work => {}
        }
    }

    /// One turn; gives the time until the next.
    async fn turn(&mut self, latest: &mut watch::Receiver<Option<Seen<Topology>>>) -> Duration {
        let seen = latest.borrow_and_update().clone();
        let outcome = match self.look(seen).await {
            Ok((observed, seen)) => {
                let step = next::next(&observed);
                self.probes.note_stranded(&observed);
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

    async fn look(
        &mut self,
        seen: Option<Seen<Topology>>,
    ) -> Result<(Observed, Option<Seen<Topology>>), WorkError> {
        let mongod = self.observer.look().await?;
        // The absence of a mark allows to start a set: never take it from a cache.
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
        let compatibility = self.wanted.borrow().as_ref().map(|w| w.content.clone());
        let mut observed = Observed {
            ordinal: self.observer.ordinal,
            topology,
            compatibility,
            mongod,
            features: level.map(|level| Features {
                level,
                servers: BTreeMap::new(),
            }),
            peer_in_set,
            trouble: self.trouble.clone(),
        };
        if next::asks_servers(&observed)
            && let Some(features) = &mut observed.features
        {
            features.servers = self.observer.servers(&observed.mongod).await;
        }
        Ok((observed, seen))
    }

    async fn act(
        &mut self,
        step: Step,
        seen: Option<&Seen<Topology>>,
    ) -> Result<Duration, WorkError> {
        let Step::Wait(wait) = step else {
            return self.perform(&step, seen).await;
        };
        if self.last != Some(step) {
            tracing::info!(reason = %wait, "waiting");
            self.last = Some(Step::Wait(wait));
        }
        self.trouble = None;
        Ok(pace(wait))
    }

    async fn perform(
        &mut self,
        step: &Step,
        seen: Option<&Seen<Topology>>,
    ) -> Result<Duration, WorkError> {
        let name = step.name();
        match step {
            Step::Wait(_) => {}
            Step::Initiate => self.initiate().await?,
            Step::Mark => {
                let seen = seen.ok_or(WorkError::Changed)?;
                publish(
                    &self.latest,
                    self.objects.topology.mark(seen, &self.set).await?,
                );
            }
            Step::CreateAdmin => self.mongod.create_admin().await?,
            Step::StepDown => self.session()?.step_down().await?,
            Step::Remove(member) => {
                let host = self.observer.names.host(*member);
                self.reconfigure(|config| config.without(&host)).await?;
            }
            Step::Promote(member) => {
                let host = self.observer.names.host(*member);
                self.reconfigure(|config| config.with_vote(&host)).await?;
            }
            Step::Add(member) => {
                let host = self.observer.names.host(*member);
                self.reconfigure(|config| config.with(*member, &host))
                    .await?;
            }
            Step::RaiseCompatibility { to, server } => {
                self.session()?.raise_level(*to, *server).await?;
            }
            Step::Report(report) => return self.report(report, seen).await,
            Step::ReportCompatibility(report) => self.report_compatibility(report).await?,
        }
        tracing::info!(step = name, detail = ?step, "done");
        failpoint::reach(name);
        self.trouble = None;
        // One that was done but changed nothing must not be done as fast as it can.
        let again = self.last.as_ref() == Some(step);
        self.last = Some(step.clone());
        Ok(if again { IDLE } else { Duration::ZERO })
    }

    async fn initiate(&self) -> Result<(), WorkError> {
        let ordinal: Ordinal = self.observer.ordinal;
        let host = self.observer.names.host(ordinal);
        Ok(self
            .mongod
            .initiate(SetConfig::initial(&self.set, ordinal, &host))
            .await?)
    }

    async fn report(
        &mut self,
        report: &Report,
        seen: Option<&Seen<Topology>>,
    ) -> Result<Duration, WorkError> {
        if let (None, Some(last)) = (report.primary_ordinal, self.reported)
            && last.elapsed() < REPORT_PACE
        {
            return Ok(EXPECTING);
        }
        let seen = seen.ok_or(WorkError::Changed)?;
        publish(
            &self.latest,
            self.objects.topology.report(seen, report).await?,
        );
        self.reported = Some(Instant::now());
        tracing::info!(?report, "reported");
        failpoint::reach("report");
        Ok(Duration::ZERO)
    }

    async fn report_compatibility(&self, report: &CompatibilityReport) -> Result<(), WorkError> {
        let seen = self.wanted.borrow().clone();
        let seen = seen.ok_or(WorkError::Changed)?;
        let object = &self.objects.compatibility;
        publish(&self.wanted, object.report(&seen, report).await?);
        Ok(())
    }

    /// Changes the configuration that the set has now.
    async fn reconfigure(
        &self,
        change: impl FnOnce(SetConfig) -> SetConfig,
    ) -> Result<(), WorkError> {
        let session = self.session()?;
        let config = session.config().await?;
        Ok(session.reconfigure(change(config)).await?)
    }

    fn session(&self) -> Result<&AdminSession, WorkError> {
        self.observer.session().ok_or(WorkError::Changed)
    }

    /// Notes a failure; gives the time until the next try.
    fn failed(&mut self, error: &WorkError) -> Duration {
        let text = texts(error);
        if self.trouble.as_deref() != Some(error.to_string().as_str()) {
            tracing::warn!(error = text, "a step failed and is tried again");
        }
        // Without its causes: those change from try to try, and a report should not.
        self.trouble = Some(error.to_string());
        let pause = FIRST_PAUSE * 2_u32.pow(self.failures.min(5));
        self.failures = self.failures.saturating_add(1);
        pause.min(LONGEST_PAUSE)
    }
}

/// Whether a peer's word matters.
fn may_initiate(ordinal: Ordinal, bootstrapped: bool, mongod: &next::Mongod) -> bool {
    ordinal == 0 && !bootstrapped && *mongod == next::Mongod::Empty
}

/// How soon to look again.
fn pace(wait: Wait) -> Duration {
    match wait {
        Wait::Settled
        | Wait::Elsewhere
        | Wait::LostDisk
        | Wait::PeerInSet(_)
        | Wait::AdminRefused
        | Wait::OwnName
        | Wait::Restart
        | Wait::Admission
        | Wait::OldServer(_)
        | Wait::NewerData => IDLE,
        Wait::Topology
        | Wait::Mongod
        | Wait::Primary
        | Wait::Joiner(_)
        | Wait::Successor
        | Wait::Ailing(_) => EXPECTING,
    }
}
