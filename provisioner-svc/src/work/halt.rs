//! Why a step did not do its thing.

use std::time::Duration;

use super::Job;
use crate::error::Error;

/// The authorizer hears of a new RoleBinding with a small delay.
const GRANT_DELAY: Duration = Duration::from_secs(30);

/// Something that waiting will not mend, told to the user.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Whether anything of this operation was applied.
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
    /// A dependency does not answer.
    Broken(Error),
}

impl<E: Into<Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
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

impl Job<'_> {
    /// "Forbidden" shortly after a RoleBinding was made means "not yet".
    pub(super) fn permit<T>(&self, result: Result<T, cluster::Error>) -> Result<T, Halt> {
        match result {
            Err(cluster::Error::Forbidden(reason)) => {
                let recent = self.granted_at.is_some_and(|at| at.elapsed() < GRANT_DELAY);
                if recent {
                    Err(Halt::Wait(
                        "waiting for the broker's rights in the namespace".to_owned(),
                    ))
                } else {
                    Err(Halt::Fail(Failure {
                        message: format!("The broker may not do this in the cluster: {reason}"),
                        repeatable: true,
                    }))
                }
            }
            Err(error) => Err(Halt::Broken(Error::Cluster(error))),
            Ok(value) => Ok(value),
        }
    }
}
