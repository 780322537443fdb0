//! What can go wrong in the binder, and the answer to the caller.

use broker_proto::ErrorCode;

use crate::{ledger, mongo};

/// Why a revocation takes long.
const NO_CONNECTIONS: &str = "The server takes no more connections, not even the broker's. The \
                              login is being revoked over one that is kept beside the server, \
                              which takes longer.";

/// Why it may take long.
const UNREACHED: &str = "The server takes no more connections, or does not answer at the moment. The \
                         login is revoked as soon as that can be done.";

/// A failure. The client gets [`Error::answer`]; the cause stays in the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Decided against: the text is for the user.
    #[error(transparent)]
    Refused(broker_proto::Error),
    /// Another service of the broker refused or did not answer.
    #[error("call a service of the broker")]
    Upstream(#[source] broker_proto::Error),
    /// The instance's plan cannot be had.
    #[error(transparent)]
    Bundle(#[from] bundles::Error),
    /// The API server.
    #[error("keep the binding's record")]
    Cluster(#[from] cluster::Error),
    /// A record that cannot be read.
    #[error("use the binding's record")]
    Ledger(#[from] ledger::Malformed),
    /// The database.
    #[error("make or drop a login")]
    Mongo(#[from] mongo::Error),
    /// A login is to be dropped and the database does not answer, or gives no connection.
    #[error("drop a login")]
    Unreached(#[source] mongo::Error),
    /// The same for a while; mongo-bootstrap is asked, and has not answered yet.
    #[error("have a login revoked by mongo-bootstrap, since the database gives no connection")]
    NoConnections,
    /// A user that is to be dropped bears the mark of another binding, or none.
    #[error("have a user dropped that is not of binding record {0}")]
    NotOurs(String),
    /// The plan does not tell where the database is.
    #[error("work out the instance's database from its plan")]
    Database(#[from] plan::binding::Error),
    /// What the plan says of it takes too much to evaluate.
    #[error("evaluate the instance's plan")]
    Sandbox(#[from] sandbox::Error),
    /// A step came before the one that looks the instance up.
    #[error("use instance {0}, which was not looked up")]
    NotLookedUp(String),
    /// A binding that should have a login has none.
    #[error("find the login in binding record {0}")]
    NoAttempt(String),
    /// JSON that cannot travel.
    #[error("encode the binding")]
    Json(#[from] broker_proto::json::Error),
    /// A Secret that the record names is not there or not what we write.
    #[error("read Secret {0}")]
    Secret(String),
    /// A binding of an instance that leaves is not removed yet.
    #[error("remove binding record {0}")]
    StillBound(String),
    /// The request's time is over; the work goes on.
    #[error("finish within the request's time")]
    TimedOut,
}

impl Error {
    /// Whether trying again, with nothing changed, is useless.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Mongo(error) => error.is_final(),
            Self::Sandbox(error) => !error.is_transient(),
            Self::Refused(_)
            | Self::Upstream(_)
            | Self::Bundle(_)
            | Self::Cluster(_)
            | Self::Ledger(_)
            | Self::Unreached(_)
            | Self::NoConnections
            | Self::NotOurs(_)
            | Self::Database(_)
            | Self::NotLookedUp(_)
            | Self::NoAttempt(_)
            | Self::Json(_)
            | Self::Secret(_)
            | Self::StillBound(_)
            | Self::TimedOut => false,
        }
    }

    /// The record changed since it was read.
    pub fn is_lost_race(&self) -> bool {
        matches!(
            self,
            Self::Cluster(cluster::Error::Conflict | cluster::Error::NotFound)
        )
    }

    /// The answer for the caller.
    pub fn answer(&self) -> broker_proto::Error {
        match self {
            Self::Refused(error) => error.clone(),
            Self::Upstream(error) | Self::Bundle(bundles::Error::Fetch { source: error, .. }) => {
                upstream(error)
            }
            Self::Cluster(error) if error.is_transient() => {
                broker_proto::Error::unavailable("The Kubernetes API")
            }
            // A RoleBinding in a new namespace takes a moment to count.
            Self::Cluster(cluster::Error::Forbidden(_)) => {
                broker_proto::Error::unavailable("A right that the broker needs in the cluster")
            }
            // Lost against other requests again and again: to retry is right.
            Self::Cluster(cluster::Error::Conflict) => {
                broker_proto::Error::unavailable("The binding's record")
            }
            Self::Sandbox(error) if error.is_transient() => {
                broker_proto::Error::unavailable("The evaluation of the instance's plan")
            }
            Self::Mongo(mongo::Error::Unreachable(_) | mongo::Error::Login(_)) => {
                broker_proto::Error::unavailable("The instance's database")
            }
            Self::Unreached(_) => broker_proto::Error::new(ErrorCode::Unavailable, UNREACHED),
            Self::NoConnections => broker_proto::Error::new(ErrorCode::Unavailable, NO_CONNECTIONS),
            Self::Bundle(
                bundles::Error::Unusable { .. }
                | bundles::Error::Interrupted { .. }
                | bundles::Error::Digest(_),
            )
            | Self::Cluster(_)
            | Self::Ledger(_)
            | Self::NotOurs(_)
            | Self::Database(_)
            | Self::Sandbox(_)
            | Self::NotLookedUp(_)
            | Self::NoAttempt(_)
            | Self::Json(_)
            | Self::Secret(_)
            | Self::StillBound(_)
            | Self::Mongo(_) => broker_proto::Error::internal(),
            Self::TimedOut => broker_proto::Error::new(
                ErrorCode::DeadlineExceeded,
                "The broker did not finish in time; it goes on trying.",
            ),
        }
    }
}

/// A peer's refusal of our own call is no answer to the client's, except where
/// it says to wait.
fn upstream(error: &broker_proto::Error) -> broker_proto::Error {
    match error.code {
        ErrorCode::Unavailable | ErrorCode::DeadlineExceeded | ErrorCode::ConcurrencyError => {
            error.clone()
        }
        ErrorCode::Unspecified
        | ErrorCode::InvalidArgument
        | ErrorCode::UnknownService
        | ErrorCode::UnknownPlan
        | ErrorCode::AsyncRequired
        | ErrorCode::RequiresApp
        | ErrorCode::MaintenanceInfoConflict
        | ErrorCode::Conflict
        | ErrorCode::NotFound
        | ErrorCode::Gone
        | ErrorCode::UpdateNotSupported
        | ErrorCode::NotBindable
        | ErrorCode::QuotaExceeded
        | ErrorCode::NotOrderable
        | ErrorCode::OperationFailed
        | ErrorCode::Internal => broker_proto::Error::internal(),
    }
}

#[cfg(test)]
mod tests {
    use cluster::error::{Denial, Obstacle};

    use super::*;

    #[test]
    fn what_is_away_is_unavailable_and_what_is_broken_is_internal() {
        for (error, expected) in [
            (
                Error::Cluster(cluster::Error::Unavailable(None)),
                ErrorCode::Unavailable,
            ),
            (
                Error::Cluster(cluster::Error::Forbidden(Denial::new(
                    Obstacle::Rights,
                    "hunter2",
                ))),
                ErrorCode::Unavailable,
            ),
            (
                Error::Cluster(cluster::Error::Conflict),
                ErrorCode::Unavailable,
            ),
            (
                Error::Mongo(mongo::Error::Unreachable(None)),
                ErrorCode::Unavailable,
            ),
            (Error::NoConnections, ErrorCode::Unavailable),
            (
                Error::Unreached(mongo::Error::Unreachable(None)),
                ErrorCode::Unavailable,
            ),
            (Error::NotOurs("hunter2".into()), ErrorCode::Internal),
            (Error::Mongo(mongo::Error::Taken), ErrorCode::Internal),
            (Error::NotLookedUp("hunter2".into()), ErrorCode::Internal),
            (Error::NoAttempt("hunter2".into()), ErrorCode::Internal),
            (Error::Secret("hunter2".into()), ErrorCode::Internal),
            (Error::TimedOut, ErrorCode::DeadlineExceeded),
            (
                Error::Upstream(broker_proto::Error::new(ErrorCode::Conflict, "hunter2")),
                ErrorCode::Internal,
            ),
            (
                Error::Upstream(broker_proto::Error::unavailable("x")),
                ErrorCode::Unavailable,
            ),
        ] {
            let answer = error.answer();
            assert_eq!(answer.code, expected, "{error}");
            assert!(!answer.message.contains("hunter2"));
        }
    }
}
