//! OSB reads: fetch a binding, poll an operation.

use broker_proto::{
    Error as ProtoError, ErrorCode,
    v1::{
        Binding, FetchBindingRequest, LastBindingOperationRequest, OperationState, OperationStatus,
    },
};
use cluster::names;

use super::answer;
use crate::{
    context::Context,
    decide::{self, Polled},
    error::Error,
    ledger::Record,
};

/// A login takes well below a second; a database that is away takes its time.
const RETRY_AFTER: u32 = 2;

/// The binding with its credentials.
pub(crate) async fn fetch(
    context: &Context,
    request: &FetchBindingRequest,
) -> Result<Binding, Error> {
    let name = names::binding_record(&request.instance_id, &request.binding_id);
    let record = context.store.read(&name).await?;
    let record = record.filter(|record| record.is_of(&request.platform));
    let record = decide::fetch(record.as_ref()).map_err(Error::Refused)?;
    answer::of_record(context, record).await
}

/// How an operation fares: from memory where that is sure, else from the API server.
pub(crate) async fn poll(
    context: &Context,
    request: &LastBindingOperationRequest,
) -> Result<OperationStatus, Error> {
    let name = names::binding_record(&request.instance_id, &request.binding_id);
    let cached = context
        .cache
        .get(&name)
        .and_then(|object| Record::read(object.as_ref().clone()).ok())
        .filter(|record| record.is_of(&request.platform))
        .filter(|record| decide::cache_can_answer(record, &request.operation));
    let record = match cached {
        Some(record) => Some(record),
        None => context.store.read(&name).await?,
    };
    let record = record.filter(|record| record.is_of(&request.platform));
    let record = record.ok_or_else(unknown)?;
    Ok(status(decide::poll(&record, &request.operation)))
}

fn status(polled: Polled) -> OperationStatus {
    let state = match polled.succeeded {
        None => OperationState::InProgress,
        Some(true) => OperationState::Succeeded,
        Some(false) => OperationState::Failed,
    };
    OperationStatus {
        operation: polled.operation,
        state: state.into(),
        description: polled.description,
        instance_usable: None,
        update_repeatable: None,
        retry_after_seconds: if polled.succeeded.is_none() {
            RETRY_AFTER
        } else {
            0
        },
    }
}

fn unknown() -> Error {
    Error::Refused(ProtoError::new(
        ErrorCode::NotFound,
        "There is no such binding.",
    ))
}
