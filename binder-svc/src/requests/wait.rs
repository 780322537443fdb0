//! Waiting for the end of an operation on behalf of a request. The work is not
//! the request's: it goes on whether or not anybody waits.

use std::sync::Arc;

use cluster::operation::Ended;
use tokio::{sync::watch, time::Instant};
use work::Presence;

use crate::{context::Context, credentials::Issued, error::Error, ledger::Record, work::Report};

/// How an operation ended.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The record then.
    pub(crate) record: Arc<Record>,
    /// The outcome.
    pub(crate) ended: Ended,
    /// The credentials, if a job of this process made them.
    pub(crate) issued: Option<Arc<Issued>>,
    /// Why it was abandoned, if it was.
    pub(crate) refusal: Option<broker_proto::Error>,
}

/// Waits for the end of an operation, whichever replica works on it. What goes
/// wrong in this one is an error at once, though the work goes on; what went
/// wrong before this request is none: with the request it is tried again.
pub(crate) async fn settled(
    context: &Context,
    name: &str,
    operation: &str,
    reports: watch::Receiver<Report>,
    deadline: Instant,
) -> Result<Settled, Error> {
    let before = reports.borrow().trouble.clone();
    let answer = context
        .pool
        .settled(name, reports, deadline, |look| {
            let report = look.report;
            if let Some(record) = &report.record
                && let Some(settled) = ended(record, report, operation)
            {
                return Some(Ok(settled));
            }
            let trouble = report.trouble.as_ref().filter(|trouble| {
                let known = before.as_ref().is_some_and(|old| Arc::ptr_eq(old, trouble));
                !known && trouble.operation == operation
            });
            if let Some(trouble) = trouble {
                return Some(Err(Error::Refused(trouble.error.clone())));
            }
            if look.worker == Presence::Here {
                // Its report of the end has more than the record.
                return None;
            }
            let record = Arc::new(Record::read(look.object?.clone()).ok()?);
            ended(&record, &Report::default(), operation).map(Ok)
        })
        .await;
    answer.unwrap_or(Err(Error::TimedOut))
}

fn ended(record: &Arc<Record>, report: &Report, operation: &str) -> Option<Settled> {
    let ended = record.ledger.history.get(operation)?.clone();
    Some(Settled {
        record: Arc::clone(record),
        ended,
        issued: report.issued.clone(),
        refusal: report.refusal.clone(),
    })
}
