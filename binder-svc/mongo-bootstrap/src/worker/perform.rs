//! Performing a step.

use std::time::Duration;

use service::failpoint;
use tokio::time::Instant;

use super::{EXPECTING, WorkError, Worker};
use crate::{
    cluster::{Seen, publish_written},
    compatibility::CompatibilityReport,
    member::Ordinal,
    mongod::AdminSession,
    replica_set::SetConfig,
    step::{Step, Wait},
    topology::{Report, Topology},
};

/// The time between two observations while nothing is expected to change.
const IDLE: Duration = Duration::from_secs(5);
/// The shortest time between two reports of a set without a primary, so that a member that is cut
/// off and the primary do not overwrite each other's reports again and again.
const REPORT_PACE: Duration = Duration::from_secs(5);

impl Worker {
    /// Performs a step; gives the time until the next turn.
    pub(super) async fn act(
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
        self.last_error = None;
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
                let marked = self.objects.topology.mark(seen, &self.set).await?;
                publish_written(&self.topology, seen, marked);
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
            Step::Report(report) => return self.report(report, seen, name).await,
            Step::ReportCompatibility(report) => self.report_compatibility(report).await?,
        }
        tracing::info!(step = name, detail = ?step, "done");
        failpoint::reach(name);
        self.last_error = None;
        // The same step again: it changed nothing, so it is not repeated at once.
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
        step_name: &str,
    ) -> Result<Duration, WorkError> {
        if let (None, Some(last)) = (report.primary_ordinal, self.reported)
            && last.elapsed() < REPORT_PACE
        {
            return Ok(EXPECTING);
        }
        let seen = seen.ok_or(WorkError::Changed)?;
        let reported = self.objects.topology.report(seen, report).await?;
        publish_written(&self.topology, seen, reported);
        self.reported = Some(Instant::now());
        tracing::info!(?report, "reported");
        failpoint::reach(step_name);
        Ok(Duration::ZERO)
    }

    async fn report_compatibility(&self, report: &CompatibilityReport) -> Result<(), WorkError> {
        let seen = self.compatibility.borrow().clone();
        let seen = seen.ok_or(WorkError::Changed)?;
        let object = &self.objects.compatibility;
        publish_written(
            &self.compatibility,
            &seen,
            object.report(&seen, report).await?,
        );
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
}

/// The time until the next observation.
fn pace(wait: Wait) -> Duration {
    match wait {
        Wait::Settled
        | Wait::NotPrimary
        | Wait::DataLost
        | Wait::PeerInSet(_)
        | Wait::AdminRefused
        | Wait::OwnName
        | Wait::Restart
        | Wait::Joining
        | Wait::OldServer(_)
        | Wait::NewerData => IDLE,
        Wait::Topology
        | Wait::Mongod
        | Wait::NoPrimary
        | Wait::InitialSync(_)
        | Wait::Successor
        | Wait::Unhealthy(_) => EXPECTING,
    }
}
