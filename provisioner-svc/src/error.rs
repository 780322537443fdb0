//! Failures of a request, and what the caller is told of each.

use broker_proto::{Error as Told, ErrorCode};
use cluster::revision::RevisionError;
use service::telemetry::chain;

use crate::state;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Decided: the caller gets this as it is.
    #[error(transparent)]
    Told(#[from] Told),
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A revision Secret.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// A record's annotation.
    #[error(transparent)]
    State(#[from] state::ReadError),
    /// A bundle.
    #[error(transparent)]
    Bundle(#[from] bundles::Error),
    /// Rival writers won again and again.
    #[error("write a record that others keep changing")]
    Contended,
    /// JSON that cannot travel.
    #[error("encode an answer")]
    Json(#[from] broker_proto::json::Error),
}

impl Error {
    /// A decided error.
    pub(crate) fn told(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Told(Told::new(code, message))
    }

    fn is_unavailable(&self) -> bool {
        match self {
            Self::Cluster(error) | Self::Revision(RevisionError::Cluster(error)) => {
                error.is_transient()
            }
            Self::Bundle(error) => error.is_transient(),
            Self::Contended => true,
            Self::Told(_)
            | Self::Revision(RevisionError::Missing(_) | RevisionError::Malformed(_))
            | Self::State(_)
            | Self::Json(_) => false,
        }
    }
}

/// What the caller is told; the cause goes to the log, here and only here.
impl From<Error> for Told {
    fn from(error: Error) -> Self {
        match error {
            Error::Told(told) => told,
            other => {
                let unavailable = other.is_unavailable();
                let cause = chain(&other);
                if unavailable {
                    tracing::warn!(cause, "a dependency does not answer");
                    Told::unavailable("The broker's cluster")
                } else {
                    tracing::error!(cause, "request failed");
                    Told::internal()
                }
            }
        }
    }
}
