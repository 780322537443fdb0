//! Polls: OSB's last operation out of a service's operation status.

use axum::{
    http::{StatusCode, header},
    response::Response,
};
use broker_proto::{
    ErrorCode,
    v1::{OperationState, OperationStatus},
};
use serde_json::Value;

use crate::{args::PollTerminal, error::Error, reply::Object, version::ApiVersion};

/// What an operation does, as its id (`<kind>-<seq>-<random>`) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Update,
    Delete,
    /// Any other: the flags of the two above do not belong to it.
    Other,
}

impl Kind {
    fn of(operation: &str) -> Self {
        match operation.split_once('-').map(|(kind, _)| kind) {
            Some("update") => Self::Update,
            Some("delete" | "unbind") => Self::Delete,
            Some(_) | None => Self::Other,
        }
    }
}

/// Whose operation is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// An instance's; may tell whether the instance is usable.
    Instance,
    /// A binding's; never does.
    Binding,
}

/// The answer to a poll.
pub(crate) fn reply(
    status: OperationStatus,
    of: Of,
    version: ApiVersion,
    terminal: PollTerminal,
) -> Result<Response, Error> {
    let kind = Kind::of(&status.operation);
    let state = match status.state() {
        OperationState::InProgress => "in progress",
        OperationState::Succeeded if kind == Kind::Delete && terminal == PollTerminal::Gone => {
            let gone = broker_proto::Error::new(ErrorCode::Gone, "Deleted.");
            return Err(gone.into());
        }
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::Unspecified => {
            tracing::error!("a service answered a poll without a state");
            return Err(Error::Internal);
        }
    };
    let flags = of == Of::Instance
        && status.state() == OperationState::Failed
        && version >= ApiVersion::V2_16;
    let usable = flags && matches!(kind, Kind::Update | Kind::Delete);
    let repeatable = flags && kind == Kind::Update;
    let in_progress = status.state() == OperationState::InProgress;
    let mut response = Object::default()
        .text("state", state.to_owned())
        .text("description", status.description)
        .value(
            "instance_usable",
            status.instance_usable.filter(|_| usable).map(Value::Bool),
        )
        .value(
            "update_repeatable",
            status
                .update_repeatable
                .filter(|_| repeatable)
                .map(Value::Bool),
        )
        .reply(StatusCode::OK);
    if in_progress && status.retry_after_seconds > 0 {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, status.retry_after_seconds.into());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    fn failed(operation: &str) -> OperationStatus {
        OperationStatus {
            operation: operation.into(),
            state: OperationState::Failed.into(),
            description: "why".into(),
            instance_usable: Some(false),
            update_repeatable: Some(true),
            retry_after_seconds: 9,
        }
    }

    async fn body(status: OperationStatus, of: Of, version: ApiVersion) -> Value {
        let response = reply(status, of, version, PollTerminal::Succeeded).unwrap();
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// LOI-08, LOI-09, LOB-10, LOI-12.
    #[tokio::test]
    async fn usability_is_shown_for_the_kinds_and_versions_that_may_have_it() {
        let (new, old) = (ApiVersion::V2_16, ApiVersion::V2_15);
        let plain = json!({"state": "failed", "description": "why"});
        let usable = json!({"state": "failed", "description": "why", "instance_usable": false});
        let both = json!({"state": "failed", "description": "why", "instance_usable": false,
            "update_repeatable": true});
        for (operation, of, version, expected) in [
            ("update-2-x", Of::Instance, new, &both),
            ("update-2-x", Of::Instance, old, &plain),
            ("delete-3-x", Of::Instance, new, &usable),
            ("create-1-x", Of::Instance, new, &plain),
            ("unbind-2-x", Of::Binding, new, &plain),
            ("", Of::Instance, new, &plain),
        ] {
            assert_eq!(&body(failed(operation), of, version).await, expected);
        }
    }

    /// LOI-04 and trap 4.
    #[test]
    fn a_finished_delete_is_succeeded_or_gone_as_configured() {
        for (operation, gone) in [
            ("delete-3-x", true),
            ("unbind-2-x", true),
            ("update-2-x", false),
            ("create-1-x", false),
        ] {
            let status = OperationStatus {
                state: OperationState::Succeeded.into(),
                ..failed(operation)
            };
            let ask = |terminal| {
                reply(status.clone(), Of::Instance, ApiVersion::V2_17, terminal).is_err()
            };
            assert_eq!(ask(PollTerminal::Gone), gone, "{operation}");
            assert!(!ask(PollTerminal::Succeeded));
        }
    }

    #[test]
    fn a_poll_without_a_state_is_our_fault() {
        let status = OperationStatus::default();
        let answer = reply(
            status,
            Of::Instance,
            ApiVersion::V2_17,
            PollTerminal::Succeeded,
        );
        assert!(matches!(answer, Err(Error::Internal)));
    }
}
