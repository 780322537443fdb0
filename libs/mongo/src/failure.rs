//! What an error of mongod or of the driver means for the sender of the command.

use mongodb::error::{Error, ErrorKind};

/// The user lacks a right, or nobody is logged in and a login is needed.
const UNAUTHORIZED: i32 = 13;
/// No such user, or another password.
const AUTHENTICATION_FAILED: i32 = 18;
/// Elections, shutdowns and time limits: HostUnreachable, HostNotFound, MaxTimeMSExpired,
/// WriteConcernFailed, NetworkTimeout, ShutdownInProgress, PrimarySteppedDown, ExceededTimeLimit,
/// SocketException, NotWritablePrimary, InterruptedAtShutdown, InterruptedDueToReplStateChange,
/// NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary.
const TRANSIENT: [i32; 14] = [
    6, 7, 50, 64, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436,
];

/// Why a command failed, by what is to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer in time, or a refusal that passes with an election or a restart: try again.
    #[error("mongod does not answer")]
    Unavailable(#[source] Option<Error>),
    /// The command needs a login, or rights that this one lacks.
    #[error("mongod refuses the command without a login that may send it")]
    Unauthorized(#[source] Error),
    /// The user does not exist, or has another password.
    #[error("mongod refuses the login")]
    LoginRefused(#[source] Error),
    /// The command is refused, however often it is sent.
    #[error("mongod refuses the command")]
    Refused(#[source] Error),
}

impl Failure {
    /// The server's number of the error, if it refused the command.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Refused(error) | Self::Unauthorized(error) | Self::LoginRefused(error) => {
                code(error)
            }
            Self::Unavailable(error) => error.as_ref().and_then(code),
        }
    }

    /// The server's text and name of the error, if it refused the command; the driver's else.
    pub fn reason(&self) -> String {
        let error = match self {
            Self::Unavailable(None) => return self.to_string(),
            Self::Refused(error)
            | Self::Unauthorized(error)
            | Self::LoginRefused(error)
            | Self::Unavailable(Some(error)) => error,
        };
        match error.kind.as_ref() {
            ErrorKind::Command(refusal) => format!("{} ({})", refusal.message, refusal.code_name),
            _ => error.to_string(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Authentication { .. } => Self::LoginRefused(error),
            ErrorKind::Command(refusal) => match refusal.code {
                UNAUTHORIZED => Self::Unauthorized(error),
                AUTHENTICATION_FAILED => Self::LoginRefused(error),
                code if TRANSIENT.contains(&code) => Self::Unavailable(Some(error)),
                _ => Self::Refused(error),
            },
            ErrorKind::InvalidArgument { .. } => Self::Refused(error),
            // Sockets, server selection, DNS, pools: what passes with the outage.
            _ => Self::Unavailable(Some(error)),
        }
    }
}

fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(refusal) => Some(refusal.code),
        _ => None,
    }
}
