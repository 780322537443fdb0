//! Waiting for an operation on behalf of a synchronous request. The work is
//! not the request's: it goes on whether or not anybody waits.

use broker_proto::{Error as ApiError, ErrorCode, v1::Outcome};
use cluster::operation::Ended;
use jiff::{SignedDuration, Timestamp};
use tokio::{sync::broadcast::error::RecvError, time::Instant};

use crate::{
    context::Context,
    decide::Mode,
    error::Error,
    resource::{Kind, Operation},
    state::Record,
};

/// So long after its start whoever asks is not the one who started it.
const YOUNG: SignedDuration = SignedDuration::from_secs(5);

/// Outcome and operation id for the answer to a request whose operation runs:
/// accepted where the plan's operations are asynchronous, else its end. A
/// client that can poll is not failed for what is slow: it polls on.
pub(super) async fn conclude(
    context: &Context,
    record: &Record,
    asynchronous: bool,
    mode: Mode,
) -> Result<(Outcome, String), Error> {
    let operation = record.operation();
    let accepted = (Outcome::Accepted, operation.id.clone());
    if asynchronous || (mode == Mode::AcceptsIncomplete && is_old(operation)) {
        return Ok(accepted);
    }
    match (end_of(context, &record.name(), operation).await, mode) {
        (Ok(()), _) => Ok((Outcome::Done, String::new())),
        (Err(Error::Refused(refusal)), Mode::AcceptsIncomplete)
            if refusal.code == ErrorCode::DeadlineExceeded =>
        {
            Ok(accepted)
        }
        (Err(error), _) => Err(error),
    }
}

/// A synchronous operation that an earlier request started and gave up on: the
/// client that can poll does that now.
fn is_old(operation: &Operation) -> bool {
    let age = Timestamp::now().duration_since(operation.started_at);
    age > YOUNG
}

/// How the operation ended; an error if it failed, or did not end within the
/// time that a synchronous request has.
async fn end_of(context: &Context, record: &str, operation: &Operation) -> Result<(), Error> {
    let until = Instant::now() + context.sync_deadline();
    let mut changes = context.cache.changes();
    loop {
        if let Some(seen) = context.seen(record)?
            && let Some(ended) = seen.state.operations.get(&operation.id)
        {
            return outcome(ended, operation.kind);
        }
        match tokio::time::timeout_at(until, changes.recv()).await {
            Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
            Ok(Err(RecvError::Closed)) | Err(_) => {
                return Err(Error::refusal(
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
    let mut error = ApiError::new(ErrorCode::OperationFailed, ended.description.clone());
    if kind != Kind::Create {
        error.instance_usable = ended.instance_usable;
        error.update_repeatable = ended.update_repeatable;
    }
    Err(error.into())
}
