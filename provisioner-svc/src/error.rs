//! Failures of a request, and what the caller gets for each.

use broker_proto::{Error as ApiError, ErrorCode};
use cluster::revision::RevisionError;
use service::telemetry::chain;

use crate::state;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Decided: the caller gets this as it is.
    #[error(transparent)]
    Refused(#[from] ApiError),
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
    pub(crate) fn refusal(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused(ApiError::new(code, message))
    }

    fn is_unavailable(&self) -> bool {
        match self {
            Self::Cluster(error) | Self::Revision(RevisionError::Cluster(error)) => {
                error.is_transient()
            }
            Self::Bundle(error) => error.is_transient(),
            Self::Contended => true,
            Self::Refused(_)
            | Self::Revision(RevisionError::Missing(_) | RevisionError::Malformed(_))
            | Self::State(_)
            | Self::Json(_) => false,
        }
    }
}

impl Error {
    /// What the caller gets; the cause goes to the log, here and only here.
    pub(crate) fn answer(self) -> ApiError {
        match self {
            Self::Refused(refusal) => refusal,
            other => {
                let cause = chain(&other);
                if other.is_unavailable() {
                    tracing::warn!(cause, "a dependency does not answer");
                    ApiError::unavailable("The broker's cluster")
                } else {
                    tracing::error!(cause, "request failed");
                    ApiError::internal()
                }
            }
        }
    }
}
