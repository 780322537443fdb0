//! Every failure as the platform sees it: the one place where an error meets
//! an HTTP status and an OSB error body.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use broker_proto::ErrorCode;
use serde::Serialize;

use crate::{json, version};

/// Seconds after which a platform may ask again while the broker is unavailable.
const RETRY_AFTER: &str = "5";
/// A longer description is cut: parts of it may come from the request.
const MAX_DESCRIPTION: usize = 2000;

/// Why a request is not answered with success. `Display` is the description
/// for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No login, or a wrong one.
    #[error("A valid user name and password of this broker are required.")]
    Unauthorized,
    /// No version that we serve.
    #[error(transparent)]
    ApiVersion(#[from] version::Fault),
    /// The request breaks the specification; the text names the place.
    #[error("{0}")]
    Invalid(String),
    /// The body is beyond the limit.
    #[error("The request body is larger than {limit} bytes.")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The body does not arrive: nothing was begun, which is what 408 says.
    #[error("The request body did not arrive within 10 seconds.")]
    SlowBody,
    /// The headers are beyond the limits.
    #[error("The request has more than {count} headers, or more than {bytes} bytes of them.")]
    HeadTooLarge {
        /// How many.
        count: usize,
        /// Of names and values together.
        bytes: usize,
    },
    /// Not a path of OSB.
    #[error("The Open Service Broker API has no such path.")]
    UnknownRoute,
    /// A path of OSB, but not with this method.
    #[error("The Open Service Broker API has no such method on this path.")]
    UnknownMethod,
    /// The limit of concurrent requests is reached.
    #[error("The broker is busy; try again later.")]
    Overloaded,
    /// No catalog was received from catalog-svc yet.
    #[error("The broker has not read its catalog yet; try again later.")]
    NoCatalog,
    /// Not 408, which tells platforms that nothing was begun.
    #[error("The broker did not finish in time; the request may still take effect.")]
    TimedOut,
    /// A fault of the gateway; its cause is in the log.
    #[error("The broker met an internal error; its log has the cause.")]
    Internal,
    /// What a service answered.
    #[error("{0}")]
    Call(#[from] broker_proto::Error),
}

/// What was asked, where the same failure reads differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// PUT of an instance or binding.
    Create,
    /// PATCH of an instance.
    Update,
    /// DELETE of an instance.
    Deprovision,
    /// DELETE of a binding.
    Unbind,
    /// GET of an instance or binding.
    Fetch,
    /// GET of a last operation.
    Poll,
}

/// Status and error code of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row(StatusCode, &'static str);

impl Error {
    /// What a service answered, as `verb` may show it:
    /// - what is not there is 410 to a DELETE and 404 to a GET;
    /// - `instance_usable` belongs to failed updates and deprovisions,
    ///   `update_repeatable` to failed updates, both since 2.16.
    pub(crate) fn call(
        mut error: broker_proto::Error,
        verb: Verb,
        version: version::ApiVersion,
    ) -> Self {
        let shown = version >= version::ApiVersion::V2_16;
        let (usable, repeatable) = match verb {
            Verb::Update => (shown, shown),
            Verb::Deprovision => (shown, false),
            Verb::Create | Verb::Unbind | Verb::Fetch | Verb::Poll => (false, false),
        };
        error.instance_usable = error.instance_usable.filter(|_| usable);
        error.update_repeatable = error.update_repeatable.filter(|_| repeatable);
        error.code = match (verb, error.code) {
            (Verb::Deprovision | Verb::Unbind, ErrorCode::NotFound) => ErrorCode::Gone,
            (Verb::Fetch, ErrorCode::Gone) => ErrorCode::NotFound,
            (_, code) => code,
        };
        Self::Call(error)
    }

    fn row(&self) -> Row {
        match self {
            Self::Unauthorized => Row(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::ApiVersion(_) => Row(StatusCode::PRECONDITION_FAILED, "UnsupportedApiVersion"),
            Self::Invalid(_) => Row(StatusCode::BAD_REQUEST, "BadRequest"),
            Self::TooLarge { .. } => Row(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge"),
            Self::SlowBody => Row(StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
            Self::HeadTooLarge { .. } => Row(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "RequestTooLarge",
            ),
            Self::UnknownRoute => Row(StatusCode::NOT_FOUND, "UnknownPath"),
            Self::UnknownMethod => Row(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::Overloaded | Self::NoCatalog => {
                Row(StatusCode::SERVICE_UNAVAILABLE, "Unavailable")
            }
            Self::TimedOut => Row(StatusCode::GATEWAY_TIMEOUT, "DeadlineExceeded"),
            Self::Internal => Row(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            Self::Call(error) => row(error.code),
        }
    }
}

/// The table of design: what a service's [`ErrorCode`] is to a platform.
fn row(code: ErrorCode) -> Row {
    match code {
        ErrorCode::InvalidArgument => Row(StatusCode::BAD_REQUEST, "BadRequest"),
        ErrorCode::UnknownService => Row(StatusCode::BAD_REQUEST, "UnknownService"),
        ErrorCode::UnknownPlan => Row(StatusCode::BAD_REQUEST, "UnknownPlan"),
        ErrorCode::NotBindable => Row(StatusCode::BAD_REQUEST, "NotBindable"),
        ErrorCode::NotFound => Row(StatusCode::NOT_FOUND, "NotFound"),
        ErrorCode::Conflict => Row(StatusCode::CONFLICT, "Conflict"),
        ErrorCode::Gone => Row(StatusCode::GONE, "Gone"),
        // The four codes that the specification defines.
        ErrorCode::AsyncRequired => Row(StatusCode::UNPROCESSABLE_ENTITY, "AsyncRequired"),
        ErrorCode::ConcurrencyError => Row(StatusCode::UNPROCESSABLE_ENTITY, "ConcurrencyError"),
        ErrorCode::RequiresApp => Row(StatusCode::UNPROCESSABLE_ENTITY, "RequiresApp"),
        ErrorCode::MaintenanceInfoConflict => {
            Row(StatusCode::UNPROCESSABLE_ENTITY, "MaintenanceInfoConflict")
        }
        ErrorCode::UpdateNotSupported => {
            Row(StatusCode::UNPROCESSABLE_ENTITY, "UpdateNotSupported")
        }
        ErrorCode::QuotaExceeded => Row(StatusCode::UNPROCESSABLE_ENTITY, "QuotaExceeded"),
        ErrorCode::NotOrderable => Row(StatusCode::UNPROCESSABLE_ENTITY, "PlanNotOrderable"),
        ErrorCode::OperationFailed => Row(StatusCode::INTERNAL_SERVER_ERROR, "OperationFailed"),
        ErrorCode::Internal | ErrorCode::Unspecified => {
            Row(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
        ErrorCode::Unavailable => Row(StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
        ErrorCode::DeadlineExceeded => Row(StatusCode::GATEWAY_TIMEOUT, "DeadlineExceeded"),
    }
}

/// OSB's error object. `error` and `description` are never empty.
#[derive(Debug, Serialize)]
struct Body<'a> {
    error: &'static str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_usable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_repeatable: Option<bool>,
}

/// Rides along with an error's response, for its log line.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    /// OSB's error code.
    pub(crate) code: &'static str,
    /// What the user reads; holds no secret.
    pub(crate) description: Arc<str>,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let Row(status, code) = self.row();
        let mut description = self.to_string();
        if description.is_empty() {
            code.clone_into(&mut description);
        }
        truncate(&mut description);
        let (instance_usable, update_repeatable) = match &self {
            Self::Call(error) => (error.instance_usable, error.update_repeatable),
            Self::Unauthorized
            | Self::ApiVersion(_)
            | Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::SlowBody
            | Self::HeadTooLarge { .. }
            | Self::UnknownRoute
            | Self::UnknownMethod
            | Self::Overloaded
            | Self::NoCatalog
            | Self::TimedOut
            | Self::Internal => (None, None),
        };
        let body = Body {
            error: code,
            description: &description,
            instance_usable,
            update_repeatable,
        };
        let mut response = json::response(status, &body);
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(r#"Basic realm="mongodb-osb", charset="UTF-8""#),
            );
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response.extensions_mut().insert(Note {
            code,
            description: description.into(),
        });
        response
    }
}

/// The body for what the HTTP parser refuses: there is no request, and so no
/// [`Error`], by then.
pub(crate) fn unparsed(status: StatusCode) -> String {
    let (error, description) = match status {
        StatusCode::URI_TOO_LONG => ("RequestTooLarge", "The request's URI is too long."),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            ("RequestTooLarge", "The request's headers are too large.")
        }
        _ => ("BadRequest", "The request is no valid HTTP."),
    };
    serde_json::json!({"error": error, "description": description}).to_string()
}

fn truncate(text: &mut String) {
    if text.len() > MAX_DESCRIPTION {
        let mut end = MAX_DESCRIPTION;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::version::ApiVersion;

    async fn body(error: Error) -> (StatusCode, Value) {
        let response = error.into_response();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    /// E-01, E-03 to E-07, E-14.
    #[test]
    fn every_code_has_its_status_and_word() {
        let table = [
            (ErrorCode::InvalidArgument, 400, "BadRequest"),
            (ErrorCode::UnknownService, 400, "UnknownService"),
            (ErrorCode::UnknownPlan, 400, "UnknownPlan"),
            (ErrorCode::AsyncRequired, 422, "AsyncRequired"),
            (ErrorCode::ConcurrencyError, 422, "ConcurrencyError"),
            (ErrorCode::RequiresApp, 422, "RequiresApp"),
            (
                ErrorCode::MaintenanceInfoConflict,
                422,
                "MaintenanceInfoConflict",
            ),
            (ErrorCode::Conflict, 409, "Conflict"),
            (ErrorCode::NotFound, 404, "NotFound"),
            (ErrorCode::Gone, 410, "Gone"),
            (ErrorCode::UpdateNotSupported, 422, "UpdateNotSupported"),
            (ErrorCode::NotBindable, 400, "NotBindable"),
            (ErrorCode::QuotaExceeded, 422, "QuotaExceeded"),
            (ErrorCode::NotOrderable, 422, "PlanNotOrderable"),
            (ErrorCode::Unavailable, 503, "Unavailable"),
            (ErrorCode::DeadlineExceeded, 504, "DeadlineExceeded"),
            (ErrorCode::OperationFailed, 500, "OperationFailed"),
            (ErrorCode::Internal, 500, "InternalError"),
        ];
        let known = (1..).map_while(|number| ErrorCode::try_from(number).ok());
        assert_eq!(
            known.collect::<Vec<_>>(),
            table.iter().map(|row| row.0).collect::<Vec<_>>()
        );
        for (code, status, word) in table {
            let Row(actual, name) = row(code);
            assert_eq!((actual.as_u16(), name), (status, word), "{code:?}");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphabetic()));
        }
    }

    /// E-02, E-13.
    #[tokio::test]
    async fn a_body_always_has_a_word_and_a_description() {
        let (status, body) = body(broker_proto::Error::new(ErrorCode::Conflict, "").into()).await;
        assert_eq!(status, 409);
        assert_eq!(
            body,
            json!({"error": "Conflict", "description": "Conflict"})
        );
    }

    /// E-11, E-12, UNB-12, DEP-12 and trap 10.
    #[tokio::test]
    async fn usability_is_told_only_where_the_specification_allows_it() {
        let failure = broker_proto::Error {
            instance_usable: Some(false),
            update_repeatable: Some(true),
            ..broker_proto::Error::new(ErrorCode::OperationFailed, "x")
        };
        for (verb, version, usable, repeatable) in [
            (Verb::Update, ApiVersion::V2_17, true, true),
            (Verb::Update, ApiVersion::V2_15, false, false),
            (Verb::Deprovision, ApiVersion::V2_16, true, false),
            (Verb::Create, ApiVersion::V2_17, false, false),
            (Verb::Unbind, ApiVersion::V2_17, false, false),
            (Verb::Fetch, ApiVersion::V2_17, false, false),
            (Verb::Poll, ApiVersion::V2_17, false, false),
        ] {
            let (_, body) = body(Error::call(failure.clone(), verb, version)).await;
            assert_eq!(body.get("instance_usable").is_some(), usable, "{verb:?}");
            assert_eq!(
                body.get("update_repeatable").is_some(),
                repeatable,
                "{verb:?}"
            );
        }
    }

    /// GI-03, DEP-05, UNB-05.
    #[test]
    fn what_is_not_there_is_gone_to_a_delete_and_not_found_to_a_get() {
        for (verb, code, status) in [
            (Verb::Deprovision, ErrorCode::NotFound, 410),
            (Verb::Unbind, ErrorCode::NotFound, 410),
            (Verb::Unbind, ErrorCode::Gone, 410),
            (Verb::Fetch, ErrorCode::Gone, 404),
            (Verb::Poll, ErrorCode::Gone, 410),
            (Verb::Poll, ErrorCode::NotFound, 404),
            (Verb::Create, ErrorCode::NotFound, 404),
        ] {
            let error = broker_proto::Error::new(code, "x");
            let Row(actual, _) = Error::call(error, verb, ApiVersion::V2_17).row();
            assert_eq!(actual.as_u16(), status, "{verb:?} {code:?}");
        }
    }

    #[tokio::test]
    async fn a_long_description_is_cut_at_a_character() {
        let (_, body) = body(Error::Invalid("ü".repeat(5000))).await;
        let text = body["description"].as_str().unwrap();
        assert!(text.len() <= MAX_DESCRIPTION + '…'.len_utf8());
        assert!(text.ends_with("ü…"));
    }
}
