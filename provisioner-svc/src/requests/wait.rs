//! Waiting for an operation on behalf of a synchronous request. The work is
//! not the request's: it goes on whether or not anybody waits.

use broker_proto::{Error as Told, ErrorCode};
use cluster::operation::Ended;
use tokio::{sync::broadcast::error::RecvError, time::Instant};

use crate::{context::Context, decide::Mode, error::Error, resource::Kind};

/// Whether the operation ended, with success. A client that can poll is not
/// failed for what is slow: it polls on.
pub(super) async fn has_ended(
    context: &Context,
    record: &str,
    operation: &str,
    kind: Kind,
    mode: Mode,
) -> Result<bool, Error> {
    match (end_of(context, record, operation, kind).await, mode) {
        (Ok(()), _) => Ok(true),
        (Err(Error::Told(told)), Mode::AcceptsIncomplete)
            if told.code == ErrorCode::DeadlineExceeded =>
        {
            Ok(false)
        }
        (Err(error), _) => Err(error),
    }
}

/// How the operation ended; an error if it failed, or did not end within the
/// time that a synchronous request has.
async fn end_of(context: &Context, record: &str, operation: &str, kind: Kind) -> Result<(), Error> {
    let until = Instant::now() + context.sync_deadline();
    let mut changes = context.cache.changes();
    loop {
        if let Some(seen) = context.seen(record)?
            && let Some(ended) = seen.state.operations.get(operation)
        {
            return outcome(ended, kind);
        }
        match tokio::time::timeout_at(until, changes.recv()).await {
            Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
            Ok(Err(RecvError::Closed)) | Err(_) => {
                return Err(Error::told(
                    ErrorCode::DeadlineExceeded,
                    "The operation did not end in time; it goes on.",
                ));
            }
        }
    }
}

fn outcome(ended: &Ended, kind: Kind) -> Result<(), Error> {
    if ended.succeeded {
        return Ok(());
    }
    let mut told = Told::new(ErrorCode::OperationFailed, ended.description.clone());
    if kind != Kind::Create {
        told.instance_usable = ended.instance_usable;
        told.update_repeatable = ended.update_repeatable;
    }
    Err(told.into())
}
