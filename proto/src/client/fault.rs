//! Faults of the transport: no answer of a service came, and the question is
//! whether the service may have seen the request.

use std::{error::Error, fmt, net::SocketAddr};

use tonic::Status;

type Cause = Box<dyn Error + Send + Sync>;

/// What a fault says of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No connection could be opened.
    Unreachable,
    /// The connection closed before the request went out on it.
    Unsent,
    /// The connection broke after the request may have been sent.
    Broken,
}

/// A call that got no answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    cause: Cause,
}

impl Fault {
    /// Of a call that the transport gave up with `cause`.
    pub(super) fn of(cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        Self {
            kind: kind(cause.as_ref()),
            cause,
        }
    }

    /// As the caller of `address` sees it.
    pub(super) fn into_status(self, address: SocketAddr) -> Status {
        Status::unavailable(format!("call {address}: {self}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        causes(self.cause.as_ref())
            .skip(1)
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn kind(error: &(dyn Error + 'static)) -> Kind {
    let known = causes(error).find_map(|cause| {
        if cause.is::<tonic::ConnectError>() {
            return Some(Kind::Unreachable);
        }
        let hyper = cause.downcast_ref::<hyper::Error>();
        if hyper.is_some_and(hyper::Error::is_canceled) {
            return Some(Kind::Unsent);
        }
        let h2 = cause.downcast_ref::<h2::Error>()?;
        refused(h2).then_some(Kind::Unsent)
    });
    known.unwrap_or(Kind::Broken)
}

/// Whether the peer says that it has not processed the request (RFC 9113, 8.7):
/// by REFUSED_STREAM, or by a GOAWAY whose last stream is an earlier one. A
/// request that is not behind that last stream is not failed by a GOAWAY.
fn refused(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}
