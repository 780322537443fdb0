//! Waiting for an operation on behalf of a synchronous request. The work is
//! not the request's: it goes on whether or not anybody waits.

use broker_proto::{Error as Told, ErrorCode};
use cluster::operation::Ended;
use tokio::{sync::broadcast::error::RecvError, time::Instant};

use crate::{context::Context, error::Error, resource::Kind};

/// How the operation ended; an error if it failed, or did not end within the
/// time that a synchronous request has.
pub(super) async fn end_of(
    context: &Context,
    record: &str,
    operation: &str,
    kind: Kind,
) -> Result<(), Error> {
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
