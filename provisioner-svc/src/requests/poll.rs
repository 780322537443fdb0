//! OSB last_operation. As a rule one look at memory: the cache answers where
//! it is sure, the API server where it is not.

use broker_proto::{
    Error as ApiError, ErrorCode,
    v1::{LastOperationRequest, OperationState, OperationStatus},
};
use cluster::{
    names,
    operation::{Ended, OperationId},
};

use crate::{context::Context, decide, error::Error, state::Record};

/// Seconds that a client should let pass between polls.
const RETRY_AFTER: u32 = 5;

/// Answers a poll. No operation named, or one that is none of ours: the newest.
pub(crate) async fn poll(
    context: &Context,
    request: &LastOperationRequest,
) -> Result<OperationStatus, Error> {
    let name = names::instance_record(&request.instance_id);
    let asked: Option<OperationId> = request.operation.parse().ok();
    let seen = context.shown(&name)?;
    // Whose it is changes by hand at most; what is not there for this one is asked for anew.
    if let Some(seen) = seen.filter(|seen| seen.is_of(&request.platform))
        && is_sure(&seen, asked.as_ref(), context.is_alone())
    {
        return status(&seen, &request.operation).map_err(Error::Refused);
    }
    let record = context.read(&name).await?;
    let record = record.filter(|record| record.is_of(&request.platform));
    let record = record.ok_or_else(decide::absent)?;
    status(&record, &request.operation).map_err(Error::Refused)
}

/// Whether the cache cannot be behind what the client has been told: it knows
/// the end of the operation, or no other replica could have told more.
fn is_sure(seen: &Record, asked: Option<&OperationId>, alone: bool) -> bool {
    let ended = asked.is_some_and(|asked| {
        let ended = seen.state.operations.get(&asked.to_string());
        ended.is_some()
    });
    ended || (alone && asked.is_none_or(|asked| seen.operation().seq >= asked.seq))
}

/// What a record says of an operation.
fn status(record: &Record, asked: &str) -> Result<OperationStatus, ApiError> {
    let newest = record.operation();
    if asked != newest.id
        && let Some(ended) = record.state.operations.get(asked)
    {
        return Ok(of_ended(ended));
    }
    match record.state.operations.get(&newest.id) {
        Some(ended) => Ok(of_ended(ended)),
        None if record.is_tombstone() => Err(ApiError::new(
            ErrorCode::Gone,
            "The service instance was deleted.",
        )),
        None => Ok(OperationStatus {
            operation: newest.id.clone(),
            state: OperationState::InProgress.into(),
            description: message(record),
            instance_usable: None,
            update_repeatable: None,
            retry_after_seconds: RETRY_AFTER,
        }),
    }
}

fn message(record: &Record) -> String {
    let status = record.resource.status.as_ref();
    let current = status.filter(|status| status.phase == record.phase().as_str());
    current
        .and_then(|status| status.message.clone())
        .unwrap_or_else(|| "accepted".to_owned())
}

fn of_ended(ended: &Ended) -> OperationStatus {
    let state = if ended.succeeded {
        OperationState::Succeeded
    } else {
        OperationState::Failed
    };
    OperationStatus {
        operation: ended.id.clone(),
        state: state.into(),
        description: ended.description.clone(),
        instance_usable: ended.instance_usable,
        update_repeatable: ended.update_repeatable,
        retry_after_seconds: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        resource::Kind,
        state::tests::{ended, record},
    };

    #[test]
    fn only_an_end_or_the_word_of_a_lone_replica_is_sure() {
        let asked: OperationId = "create-1-x".parse().unwrap();
        let later: OperationId = "update-2-y".parse().unwrap();
        let open = record(Kind::Create);
        assert!(
            !is_sure(&open, Some(&asked), false),
            "another replica may have ended it"
        );
        assert!(is_sure(&open, Some(&asked), true));
        assert!(
            !is_sure(&open, Some(&later), true),
            "another replica may have accepted it"
        );
        assert!(is_sure(&ended(open.clone(), true), Some(&asked), false));
        // Without an id the newest is asked for.
        assert!(is_sure(&open, None, true));
        assert!(!is_sure(&open, None, false));
    }

    #[test]
    fn each_operation_keeps_its_own_result() {
        let mut deleting = ended(record(Kind::Create), false);
        deleting.resource.spec.operation.id = "delete-2-y".into();
        deleting.resource.spec.operation.kind = Kind::Delete;
        let state = |asked: &str| status(&deleting, asked).unwrap().state();
        assert_eq!(state("create-1-x"), OperationState::Failed);
        assert_eq!(state("delete-2-y"), OperationState::InProgress);
        for foreign in ["", "provision"] {
            assert_eq!(
                state(foreign),
                OperationState::InProgress,
                "the newest for {foreign:?}"
            );
        }
    }
}
