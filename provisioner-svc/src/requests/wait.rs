//! Waiting for an operation on behalf of a synchronous request. The work is
//! not the request's: it goes on whether or not anybody waits.

use ::work::TimedOut;
use broker_proto::{
    Error as ApiError, ErrorCode,
    decide::{Completion, Mode},
    v1::Outcome,
};
use cluster::operation::Ended;
use tokio::{sync::watch, time::Instant};

use crate::{
    context::{Begun, Context},
    error::Error,
    resource::Kind,
    state::Record,
    work::Report,
};

/// The part of a request in the operation that it is answered with.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// It began the operation.
    Began(&'a Begun),
    /// It asks for what an earlier request began.
    Joined(&'a Record),
}

impl Part<'_> {
    /// The record with the operation.
    pub(super) fn record(&self) -> &Record {
        match self {
            Self::Began(begun) => &begun.record,
            Self::Joined(record) => record,
        }
    }
}

/// Outcome and operation id for the answer to a request whose operation runs:
/// accepted where the plan's operations are asynchronous, else its end. A
/// client that can poll does so for what it did not begin, and for what is
/// slow. One creation gives one 201: who only joined it gets 200.
pub(super) async fn conclude(
    context: &Context,
    part: Part<'_>,
    completion: Completion,
    mode: Mode,
) -> Result<(Outcome, String), Error> {
    let record = part.record();
    let operation = record.operation();
    let accepted = (Outcome::Accepted, operation.id.clone());
    let (reports, done) = match (&part, completion, mode) {
        (_, Completion::Asynchronous, _) | (Part::Joined(_), _, Mode::AcceptsIncomplete) => {
            return Ok(accepted);
        }
        (Part::Began(begun), ..) => (begun.reports.clone(), Outcome::Done),
        (Part::Joined(_), ..) => (
            context.pool.ensure(&record.name(), None),
            match operation.kind {
                Kind::Create => Outcome::Unchanged,
                Kind::Update | Kind::Delete => Outcome::Done,
            },
        ),
    };
    match (settled(context, record, reports).await, mode) {
        (Ok(ended), _) => outcome(&ended, operation.kind).map(|()| (done, String::new())),
        (Err(_), Mode::AcceptsIncomplete) => Ok(accepted),
        (Err(error), Mode::MustBeDone) => Err(error),
    }
}

/// How the operation ended, whichever replica worked on it; an error if it does
/// not end in time, or its worker panicked. It goes on all the same.
async fn settled(
    context: &Context,
    record: &Record,
    reports: watch::Receiver<Report>,
) -> Result<Ended, Error> {
    let operation = record.operation();
    let deadline = Instant::now() + context.sync_deadline();
    let name = record.name();
    let answer = context.pool.settled(&name, reports, deadline, |look| {
        let seen = Record::new(look.object?.clone()).ok()?;
        if let Some(ended) = seen.state.operations.get(&operation.id) {
            return Some(Ok(ended.clone()));
        }
        let panicked = look.report.panicked.as_ref() == Some(&operation.id);
        panicked.then(|| Err(ApiError::internal().into()))
    });
    answer.await.unwrap_or_else(|TimedOut| {
        Err(Error::refusal(
            ErrorCode::DeadlineExceeded,
            "The operation did not end in time; it goes on.",
        ))
    })
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
