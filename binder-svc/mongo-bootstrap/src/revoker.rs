//! Revokes the logins that `mdb-revocations` names, over the connection in reserve, if this mongod is
//! the primary; keeps that connection.

use std::time::Duration;

use mongo::revocation::{Answers, Request};
use service::failpoint;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    answer::Role,
    cluster::{ClusterError, RevocationsObject, Seen, publish_written, texts},
    mongod::{AdminSession, MongodError},
    reserve::{REOPEN, Reserve},
    revocations::{Due, Revocations},
};

/// The time between two looks at the connection.
const IDLE: Duration = Duration::from_secs(5);
/// The time between two looks while something is to be revoked, by this member or by another.
const EXPECTING: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Revoker {
    reserve: Reserve,
    object: RevocationsObject,
    latest: watch::Sender<Option<Seen<Revocations>>>,
    is_failing: bool,
}

/// What did not work; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Mongod(#[from] MongodError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl Revoker {
    pub(super) fn new(reserve: Reserve, object: RevocationsObject) -> Self {
        Self {
            reserve,
            object,
            latest: watch::Sender::new(None),
            is_failing: false,
        }
    }

    /// Works until `shutdown` is cancelled. It stops between two instructions, as a kill would.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let mut changes = self.latest.subscribe();
        let follow = Box::pin(self.object.clone().follow(self.latest.clone()));
        let work = async {
            loop {
                let seen = changes.borrow_and_update().clone();
                let pause = self.turn(seen).await;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = changes.changed() => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow => {}
            () = work => {}
        }
    }

    /// One turn; gives the time until the next.
    async fn turn(&mut self, seen: Option<Seen<Revocations>>) -> Duration {
        let (session, hello) = match self.reserve.look().await {
            Ok(looked) => looked,
            Err(MongodError::LoginRefused) => return IDLE,
            Err(MongodError::Unreachable(_)) => return REOPEN,
            // There are no users yet, for as long as the first copy of the data takes.
            Err(_) => return EXPECTING,
        };
        let Some(seen) = seen else { return IDLE };
        let due = seen.content.due();
        let done = match (&due, hello.role) {
            (Due::Nothing, _) => return IDLE,
            (_, Role::Secondary | Role::Other) => return EXPECTING,
            (Due::Drop(record, request), Role::Primary) => {
                self.revoke(&session, &seen, record, request).await
            }
            (Due::Tidy(kept), Role::Primary) => self.write(&seen, kept).await,
        };
        match done {
            Ok(()) => {
                self.is_failing = false;
                Duration::ZERO
            }
            Err(error) => {
                self.failed(&error);
                EXPECTING
            }
        }
    }

    async fn revoke(
        &self,
        session: &AdminSession,
        seen: &Seen<Revocations>,
        record: &str,
        request: &Request,
    ) -> Result<(), Trouble> {
        let found = session.users_of(record).await?;
        for user in request.doomed(&found) {
            session.drop_user(&user).await?;
            tracing::info!(
                binding.record = record,
                user,
                "login revoked for the binder"
            );
            failpoint::reach("DropRevoked");
        }
        let left = session.users_of(record).await?;
        let named = session.existing(&request.users).await?;
        session.confirm_primary(record).await?;
        let mut answers = seen.content.answers.clone();
        answers.insert(record.to_owned(), request.answer(&left, named));
        self.write(seen, &answers).await?;
        failpoint::reach("ReportRevoked");
        Ok(())
    }

    async fn write(&self, seen: &Seen<Revocations>, answers: &Answers) -> Result<(), Trouble> {
        let written = self.object.answer(seen, answers).await?;
        publish_written(&self.latest, seen, written);
        Ok(())
    }

    fn failed(&mut self, error: &Trouble) {
        match error {
            // The watch brings what it is now.
            Trouble::Cluster(ClusterError::Conflict) => return,
            Trouble::Mongod(MongodError::LoginNeeded) => self.reserve.log_in_again(),
            Trouble::Mongod(_) | Trouble::Cluster(_) => {}
        }
        if !self.is_failing {
            tracing::warn!(error = texts(error), "a login is not revoked yet");
        }
        self.is_failing = true;
    }
}
