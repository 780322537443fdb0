//! Why a step did not do its thing, and what that means for the operation.

use std::time::Duration;

use cluster::{age, error::Obstacle, revision::RevisionError};
use k8s_openapi::api::rbac::v1::RoleBinding;
use plan::{Loaded, rbac::PLANS_ROLE};
use service::telemetry::chain;
use tokio::time::Instant;

use super::Job;
use crate::{error::Error, step::Step};

/// Rights are there that soon, as a rule.
const SPREADING: Duration = Duration::from_secs(1);
/// The shortest pause until they are looked for again.
const SHORTEST: Duration = Duration::from_millis(2);

/// Something that waiting will not mend, for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    /// OSB `update_repeatable`: whether the same request may succeed later.
    pub(super) repeatable: bool,
}

/// Why a step did not do its thing.
#[derive(Debug)]
pub(super) enum Halt {
    /// Try the step again; the text says what is waited for.
    Wait(String),
    /// The operation fails.
    Fail(Failure),
    /// The record changed under the worker: read it again.
    Stale,
    /// A call failed; [`Job::settle`] decides what that means.
    Call(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<cluster::Error> for Halt {
    fn from(error: cluster::Error) -> Self {
        Self::Call(Error::Cluster(error))
    }
}

impl From<bundles::Error> for Halt {
    fn from(error: bundles::Error) -> Self {
        Self::Call(Error::Bundle(error))
    }
}

pub(super) type Done = Result<(), Halt>;

/// A failure that neither waiting nor repeating mends.
pub(super) fn refuse(message: impl Into<String>) -> Halt {
    Halt::Fail(Failure {
        message: message.into(),
        repeatable: false,
    })
}

/// What it means that an evaluation has no result: a plan that takes too much will do so again.
pub(super) fn ended(plan: &Loaded, what: &str, error: &sandbox::Error) -> Halt {
    if error.is_transient() {
        return Halt::Wait(format!("waiting for {what} of the plan"));
    }
    let bundle = plan.bundle();
    refuse(format!(
        "The plan {}/{} cannot be used with these parameters: {what} was ended, since {error}.",
        bundle.provider(),
        bundle.name()
    ))
}

/// What the worker does after a step that did not do its thing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Pause and try the step again. A text says what is waited for.
    Wait(Option<String>),
    /// Pause for this long at most and try the step again.
    Moment(Duration),
    /// Pause and start over from a fresh read.
    Restart(Option<String>),
    /// Let the operation fail.
    Fail(Failure),
}

/// How the broker stands in the instance's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Given a moment ago: not every API server may have learnt of it.
    Arriving,
    /// Given, long enough ago to count, or by somebody else.
    Settled,
    /// This worker saw to them, and they are gone.
    Revoked,
}

impl Job {
    /// The one place where it is decided what an interrupted step means.
    pub(super) async fn settle(&self, step: Step, halt: Halt) -> Action {
        let action = match halt {
            Halt::Wait(text) => Action::Wait(Some(text)),
            Halt::Stale => Action::Restart(None),
            Halt::Fail(failure) => Action::Fail(failure),
            Halt::Call(error) => {
                let rights = if is_denied(&error) {
                    self.rights_or_default().await
                } else {
                    Rights::Settled
                };
                let action = action(&error, rights);
                let pause = moment(self.granted_at, Instant::now());
                if let (Action::Wait(_), Rights::Arriving, Some(pause)) = (&action, rights, pause) {
                    Action::Moment(pause)
                } else {
                    self.log(step, &error, &action);
                    action
                }
            }
        };
        match action {
            // There is no operation to fail, or it is failing already.
            Action::Fail(failure) if step == Step::Fail || !self.has_operation() => {
                Action::Wait(Some(failure.message))
            }
            action => action,
        }
    }

    fn log(&self, step: Step, error: &Error, action: &Action) {
        let (record, step, cause) = (self.record.name(), step.name(), chain(error));
        match action {
            Action::Fail(_) => {
                tracing::error!(%record, step, cause, "step cannot be done");
            }
            Action::Moment(_) => {}
            Action::Wait(_) | Action::Restart(_) => {
                tracing::warn!(%record, step, cause, "step interrupted; trying again");
            }
        }
    }

    async fn rights_or_default(&self) -> Rights {
        if moment(self.granted_at, Instant::now()).is_some() {
            return Rights::Arriving;
        }
        match self.rights().await {
            Ok(rights) => rights,
            // Not even that may be asked.
            Err(cluster::Error::Forbidden(_)) => Rights::Settled,
            Err(_) => Rights::Arriving,
        }
    }

    /// Judged by the RoleBinding itself and the API server's clock: any worker,
    /// on any replica, comes to the same answer.
    pub(super) async fn rights(&self) -> Result<Rights, cluster::Error> {
        if !self.record.resource.spec.own_namespace {
            return Ok(Rights::Settled);
        }
        let client = self.context.client();
        let age = age::of::<RoleBinding>(&client, self.namespace(), PLANS_ROLE).await?;
        Ok(match age {
            Some(age) if age < self.context.args.rights_delay => Rights::Arriving,
            None if self.is_done(Step::Grant) => Rights::Revoked,
            Some(_) | None => Rights::Settled,
        })
    }
}

/// The pause before the next try while rights that were given just now spread
/// through the API server, which takes milliseconds: a fifth of the time that
/// has passed. `None` once it takes longer than that can explain.
fn moment(granted_at: Option<Instant>, now: Instant) -> Option<Duration> {
    let passed = now.saturating_duration_since(granted_at?);
    (passed < SPREADING).then(|| (passed / 5).max(SHORTEST))
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Cluster(cluster::Error::Forbidden(_)))
}

/// What a failed call means.
fn action(error: &Error, rights: Rights) -> Action {
    match error {
        Error::Cluster(error) | Error::Revision(RevisionError::Cluster(error)) => {
            of_cluster(error, rights)
        }
        Error::Revision(RevisionError::Missing(_) | RevisionError::Malformed(_)) => permanent(
            "The stored request is missing or damaged; the broker's operator must restore it.",
        ),
        Error::Bundle(error) if error.is_transient() => wait("waiting for the catalog service"),
        Error::Bundle(_) => {
            permanent("The plan's bundle cannot be used by this version of the broker.")
        }
        Error::Contended => Action::Wait(None),
        Error::Refused(_) | Error::State(_) | Error::Json(_) => {
            wait("waiting for the broker's operator to repair the record of this instance")
        }
    }
}

fn of_cluster(error: &cluster::Error, rights: Rights) -> Action {
    match error {
        cluster::Error::Unavailable(_) => wait("waiting for the cluster's API server"),
        cluster::Error::Undecodable | cluster::Error::Other(_) => {
            wait("the cluster's API server answers in an unexpected way; trying again")
        }
        cluster::Error::Conflict | cluster::Error::AlreadyExists | cluster::Error::Expired => {
            Action::Wait(None)
        }
        cluster::Error::NotServed => wait("waiting for the cluster to serve a kind of object"),
        cluster::Error::UnknownKind(kind) => {
            wait(format!("waiting for the cluster to serve {kind}"))
        }
        cluster::Error::NotFound => Action::Restart(Some(
            "the namespace of the instance, or a kind of object, is gone; looking again".to_owned(),
        )),
        cluster::Error::Invalid(fields) => {
            permanent(format!("The cluster refuses a part of this: {fields}."))
        }
        cluster::Error::Forbidden(denial) => of_obstacle(denial.obstacle(), rights),
    }
}

/// What stands in the way, without the names of accounts and rights: these
/// are in the log.
fn of_obstacle(obstacle: Obstacle, rights: Rights) -> Action {
    match (obstacle, rights) {
        (Obstacle::Terminating, _) => Action::Restart(Some(
            "waiting for the namespace of the instance, which is being deleted".to_owned(),
        )),
        (Obstacle::Rights, Rights::Arriving) => {
            wait("waiting for the broker's rights in the namespace")
        }
        (Obstacle::Rights, Rights::Revoked) => Action::Restart(Some(
            "giving the broker its rights in the namespace again".to_owned(),
        )),
        (Obstacle::Rights, Rights::Settled) => repeatable(
            "The broker lacks a right in the cluster that this needs. \
             The broker's log names it; its operator can grant it.",
        ),
        (Obstacle::Quota, _) => repeatable("A quota of the cluster is used up."),
        // Right after a namespace was made its default account may be missing,
        // which an admission controller refuses pods for.
        (Obstacle::Policy, Rights::Arriving) => {
            wait("an admission policy of the cluster does not allow this yet; trying again")
        }
        (Obstacle::Policy, Rights::Settled | Rights::Revoked) => repeatable(
            "An admission policy of the cluster does not allow this. The broker's log names it.",
        ),
    }
}

fn wait(text: impl Into<String>) -> Action {
    Action::Wait(Some(text.into()))
}

fn permanent(message: impl Into<String>) -> Action {
    Action::Fail(Failure {
        message: message.into(),
        repeatable: false,
    })
}

fn repeatable(message: impl Into<String>) -> Action {
    Action::Fail(Failure {
        message: message.into(),
        repeatable: true,
    })
}

#[cfg(test)]
mod tests {
    use cluster::error::Denial;

    use super::*;

    fn forbidden(obstacle: Obstacle) -> Error {
        Error::Cluster(cluster::Error::Forbidden(Denial::new(
            obstacle,
            "User \"system:serviceaccount:b:p\" cannot create resource \"x\"",
        )))
    }

    #[test]
    fn what_is_not_allowed_fails_at_once_and_says_what_stands_in_the_way() {
        for (obstacle, class) in [
            (Obstacle::Rights, "right"),
            (Obstacle::Quota, "quota"),
            (Obstacle::Policy, "policy"),
        ] {
            let action = action(&forbidden(obstacle), Rights::Settled);
            let Action::Fail(failure) = action else {
                panic!("{obstacle:?}: {action:?}");
            };
            assert!(failure.repeatable, "{obstacle:?}");
            assert!(failure.message.contains(class), "{}", failure.message);
            for name in ["serviceaccount", "resource \"x\""] {
                assert!(!failure.message.contains(name), "{}", failure.message);
            }
        }
    }

    #[test]
    fn rights_that_were_given_just_now_are_waited_for_and_lost_ones_given_again() {
        let rights = forbidden(Obstacle::Rights);
        assert!(matches!(
            action(&rights, Rights::Arriving),
            Action::Wait(Some(_))
        ));
        assert!(matches!(
            action(&rights, Rights::Revoked),
            Action::Restart(Some(_))
        ));
        let quota = forbidden(Obstacle::Quota);
        assert!(matches!(action(&quota, Rights::Arriving), Action::Fail(_)));
    }

    #[test]
    fn rights_that_spread_are_looked_for_again_and_again_for_a_second() {
        let given = Instant::now();
        let after = |millis| moment(Some(given), given + Duration::from_millis(millis));
        assert_eq!(after(0), Some(SHORTEST));
        assert_eq!(after(500), Some(Duration::from_millis(100)));
        assert_eq!(after(1000), None);
        assert_eq!(moment(None, given), None, "this worker gave none");
    }

    #[test]
    fn what_may_pass_is_waited_for_and_told() {
        for error in [
            cluster::Error::Unavailable(None),
            cluster::Error::UnknownKind("x/v1, kind X".into()),
        ] {
            let action = action(&Error::Cluster(error), Rights::Settled);
            assert!(matches!(action, Action::Wait(Some(_))), "{action:?}");
        }
        for error in [
            cluster::Error::NotFound,
            cluster::Error::Forbidden(Denial::new(Obstacle::Terminating, "")),
        ] {
            let action = action(&Error::Cluster(error), Rights::Settled);
            assert!(matches!(action, Action::Restart(Some(_))), "{action:?}");
        }
        for error in [cluster::Error::Conflict, cluster::Error::AlreadyExists] {
            let action = action(&Error::Cluster(error), Rights::Settled);
            assert_eq!(action, Action::Wait(None));
        }
    }

    #[test]
    fn what_the_api_refuses_is_permanent() {
        let error = cluster::Error::Invalid("spec.ports[0] (FieldValueInvalid)".into());
        let Action::Fail(failure) = action(&Error::Cluster(error), Rights::Settled) else {
            panic!("not a failure");
        };
        assert!(!failure.repeatable);
        assert!(failure.message.contains("spec.ports[0]"));
    }
}
