//! The one error type that crosses a service boundary, and the one place where
//! [`ErrorCode`] meets [`tonic::Code`].
//!
//! Which error type to use where:
//!
//! - a library or a part of a service: a `thiserror` enum of its own, with the
//!   cause as `#[source]`; its text is for the log;
//! - a handler of a service: its service's error, which wraps those, and which
//!   becomes an [`Error`] in one function next to it. The cause is logged there;
//! - a decision that refuses a request: an [`Error`] itself, with a text that
//!   tells the user the place and the remedy;
//! - between services: [`Error`] as a [`Status`], and back by
//!   [`Error::from_status`]. Never build a `Status` anywhere else;
//! - towards the platform: `gateway/src/error.rs` makes HTTP and OSB of it;
//! - `main`, `run` and start-up: `anyhow`, with a context that names the setting.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::v1::ErrorCode;

/// `google.rpc.ErrorInfo.domain` of every error that we send.
pub const DOMAIN: &str = "mongodb-osb.io";

const INSTANCE_USABLE: &str = "instance_usable";
const UPDATE_REPEATABLE: &str = "update_repeatable";

/// A failure as services report it to each other.
///
/// `message` is for the user: it names the place and the remedy and holds no
/// secret and no internals. The cause stays with the service that saw it, in
/// its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure.
    pub code: ErrorCode,
    /// For the user.
    pub message: String,
    /// OSB `instance_usable`; only on a failed update or deprovision.
    pub instance_usable: Option<bool>,
    /// OSB `update_repeatable`; only on a failed update.
    pub update_repeatable: Option<bool>,
}

impl Error {
    /// An error of `code` with a text for the user.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            instance_usable: None,
            update_repeatable: None,
        }
    }

    /// A fault of the broker's own. The client gets a fixed text; log the cause.
    pub fn internal() -> Self {
        Self::new(
            ErrorCode::Internal,
            "The broker met an internal error; its log has the cause.",
        )
    }

    /// A dependency that does not answer: `what` names it for the user.
    pub fn unavailable(what: &str) -> Self {
        Self::new(
            ErrorCode::Unavailable,
            format!("{what} does not answer at the moment; try again later."),
        )
    }

    /// Reads the error back from what a peer sent.
    ///
    /// A status without our `ErrorInfo` comes from the transport or from a
    /// foreign peer; its text is not shown to anybody.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let code = info
            .and_then(|info| ErrorCode::from_str_name(&format!("ERROR_CODE_{}", info.reason)))
            .filter(|code| *code != ErrorCode::Unspecified);
        let flag = |name: &str| {
            info.and_then(|info| info.metadata.get(name))
                .and_then(|value| value.parse().ok())
        };
        match code {
            Some(code) => Self {
                code,
                message: status.message().to_owned(),
                instance_usable: flag(INSTANCE_USABLE),
                update_repeatable: flag(UPDATE_REPEATABLE),
            },
            None => Self::from_transport(status.code()),
        }
    }

    fn from_transport(code: Code) -> Self {
        match code {
            Code::DeadlineExceeded => Self::new(
                ErrorCode::DeadlineExceeded,
                "The broker did not finish in time; the request may still take effect.",
            ),
            // The transport uses the last two for connections that closed or
            // broke; time has passed only where it says DeadlineExceeded.
            Code::Unavailable | Code::ResourceExhausted | Code::Cancelled | Code::Unknown => {
                Self::unavailable("A service of the broker")
            }
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Self::internal(),
        }
    }

    /// `ErrorInfo.reason`: the code's name without its prefix.
    pub fn reason(&self) -> &'static str {
        let name = self.code.as_str_name();
        name.strip_prefix("ERROR_CODE_").unwrap_or(name)
    }
}

/// The status code that goes with an [`ErrorCode`].
pub fn status_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidArgument | ErrorCode::UnknownService | ErrorCode::UnknownPlan => {
            Code::InvalidArgument
        }
        ErrorCode::NotBindable
        | ErrorCode::AsyncRequired
        | ErrorCode::RequiresApp
        | ErrorCode::MaintenanceInfoConflict
        | ErrorCode::UpdateNotSupported
        | ErrorCode::NotOrderable
        | ErrorCode::OperationFailed => Code::FailedPrecondition,
        ErrorCode::ConcurrencyError => Code::Aborted,
        ErrorCode::Conflict => Code::AlreadyExists,
        ErrorCode::NotFound | ErrorCode::Gone => Code::NotFound,
        ErrorCode::QuotaExceeded => Code::ResourceExhausted,
        ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorCode::Internal | ErrorCode::Unspecified => Code::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut metadata = HashMap::new();
        if let Some(usable) = error.instance_usable {
            metadata.insert(INSTANCE_USABLE.to_owned(), usable.to_string());
        }
        if let Some(repeatable) = error.update_repeatable {
            metadata.insert(UPDATE_REPEATABLE.to_owned(), repeatable.to_string());
        }
        let details = ErrorDetails::with_error_info(error.reason(), DOMAIN, metadata);
        Self::with_error_details(status_code(error.code), error.message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = ErrorCode> {
        (1..).map_while(|number| ErrorCode::try_from(number).ok())
    }

    #[test]
    fn every_code_survives_the_wire() {
        assert_eq!(all().count(), 18);
        for code in all() {
            let sent = Error {
                instance_usable: Some(false),
                update_repeatable: Some(true),
                ..Error::new(code, "a text")
            };
            assert_eq!(Error::from_status(&Status::from(sent.clone())), sent);
        }
    }

    #[test]
    fn a_foreign_status_never_shows_its_text() {
        for (code, expected) in [
            (Code::Unavailable, ErrorCode::Unavailable),
            (Code::Unknown, ErrorCode::Unavailable),
            (Code::DeadlineExceeded, ErrorCode::DeadlineExceeded),
            (Code::Cancelled, ErrorCode::Unavailable),
            (Code::PermissionDenied, ErrorCode::Internal),
            (Code::Unauthenticated, ErrorCode::Internal),
            (Code::NotFound, ErrorCode::Internal),
        ] {
            let error = Error::from_status(&Status::new(code, "secret internals"));
            assert_eq!(error.code, expected);
            assert!(!error.message.contains("secret"));
        }
    }
}
