//! What can go wrong with the API server, sorted by what the caller does about it.

use std::{fmt, future::Future, time::Duration};

use kube::core::Status;

/// What stands in the way of a call that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The caller lacks a right (RBAC).
    Rights,
    /// A quota is used up.
    Quota,
    /// The namespace is being deleted and takes no new objects.
    Terminating,
    /// An admission policy, a webhook or Pod Security.
    Policy,
}

/// An answer "forbidden" of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    obstacle: Obstacle,
    text: String,
}

impl Denial {
    /// A denial with the API server's text.
    pub fn new(obstacle: Obstacle, text: impl Into<String>) -> Self {
        Self {
            obstacle,
            text: text.into(),
        }
    }

    /// What stands in the way.
    pub fn obstacle(&self) -> Obstacle {
        self.obstacle
    }

    fn of(status: &Status) -> Self {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let text = status.message.clone();
        let obstacle = if causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
        {
            Obstacle::Terminating
        } else if text.contains("exceeded quota") || text.contains("failed quota") {
            Obstacle::Quota
        } else if text.contains("User \"") && text.contains("\" cannot ")
            || text.contains("attempting to grant RBAC permissions")
        {
            Obstacle::Rights
        } else {
            Obstacle::Policy
        };
        Self::new(obstacle, text)
    }
}

/// The API server's text, for logs. It names accounts and rights, but no values
/// of the object.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("find the object")]
    NotFound,
    /// The name is taken.
    #[error("create an object whose name is taken")]
    AlreadyExists,
    /// The object changed since it was read, or has another uid.
    #[error("write over a newer object")]
    Conflict,
    /// Not allowed.
    #[error("act without permission: {0}")]
    Forbidden(Denial),
    /// The object breaks the API's rules. Fields and reasons only: the API
    /// server's own text repeats values, which may be secret.
    #[error("send an object that the API server refuses: {0}")]
    Invalid(String),
    /// The cluster does not serve this kind.
    #[error("use a kind that the cluster does not serve: {0}")]
    UnknownKind(String),
    /// The API server knows no such path: the kind's definition is gone, or not
    /// there yet. That says nothing of the object.
    #[error("call an API that is not served at the moment")]
    NotServed,
    /// A list outlived the snapshot that it was read from.
    #[error("go on with a list whose snapshot is gone")]
    Expired,
    /// No answer, or one that says to come back later.
    #[error("reach the API server")]
    Unavailable(#[source] Option<kube::Error>),
    /// An answer that is not of the kind that was asked for. No source: its
    /// text may repeat values.
    #[error("read an answer of the API server that does not have the form of its kind")]
    Undecodable,
    /// Anything else.
    #[error("call the API server")]
    Other(#[source] kube::Error),
}

impl Error {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotServed)
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        let status = match &error {
            kube::Error::Api(status) => status,
            kube::Error::HyperError(_)
            | kube::Error::Service(_)
            | kube::Error::ReadEvents(_)
            | kube::Error::HttpError(_) => return Self::Unavailable(Some(error)),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => return Self::Undecodable,
            _ => return Self::Other(error),
        };
        match (status.code, status.reason.as_str()) {
            (404, "NotFound") => Self::NotFound,
            // Not about the object: "404 page not found".
            (404, _) => Self::NotServed,
            (410, _) => Self::Expired,
            (409, "AlreadyExists") => Self::AlreadyExists,
            (409, _) => Self::Conflict,
            (403, _) => Self::Forbidden(Denial::of(status)),
            (400 | 413 | 422, _) => Self::Invalid(fields(status)),
            // That is how an apply tells of a field that the kind does not have.
            (500, _) if unknown_fields(&status.message).is_some() => Self::Invalid(fields(status)),
            // 401: the account is replaced, or its token is read anew in a moment.
            (401 | 408 | 429 | 500..=599, _) => Self::Unavailable(Some(error)),
            _ => Self::Other(error),
        }
    }
}

fn fields(status: &Status) -> String {
    let causes: Vec<String> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| format!("{} ({})", cause.field, cause.reason))
        .collect();
    if causes.is_empty() {
        unknown_fields(&status.message).unwrap_or_else(|| status.reason.clone())
    } else {
        causes.join(", ")
    }
}

/// The fields that the kind does not have, in the words of a strict decoding
/// or of an apply: paths, never values.
fn unknown_fields(message: &str) -> Option<String> {
    let decoded = message
        .split("unknown field \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let mut applied: Vec<&str> = message.split(": field not declared in schema").collect();
    applied.pop();
    let applied = applied
        .into_iter()
        .filter_map(|before| before.split_whitespace().next_back())
        .filter_map(|path| path.strip_prefix('.'));
    let paths: Vec<String> = decoded
        .chain(applied)
        .map(|path| format!("{path} (unknown field)"))
        .collect();
    (!paths.is_empty()).then(|| paths.join(", "))
}

/// Runs one call with [`crate::CALL_DEADLINE`].
pub async fn call<T>(future: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    call_within(crate::CALL_DEADLINE, future).await
}

/// Runs one call with a deadline of its own.
pub async fn call_within<T>(
    deadline: Duration,
    future: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, future).await {
        Ok(answer) => answer.map_err(Error::from),
        Err(_) => Err(Error::Unavailable(None)),
    }
}

/// Turns "no such object" into `None`.
pub fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn api(code: u16, reason: &str, causes: Vec<StatusCause>) -> Error {
        answer(
            code,
            reason,
            "spec.password: Invalid value: \"hunter2\"",
            causes,
        )
    }

    fn answer(code: u16, reason: &str, message: &str, causes: Vec<StatusCause>) -> Error {
        let status = Status {
            code,
            reason: reason.to_owned(),
            message: message.to_owned(),
            details: Some(StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes,
                retry_after_seconds: 0,
            }),
            ..Status::default()
        };
        Error::from(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_refused_object_names_fields_but_never_values() {
        let cause = StatusCause {
            reason: "FieldValueInvalid".into(),
            message: "Invalid value: \"hunter2\"".into(),
            field: "spec.password".into(),
        };
        let text = api(422, "Invalid", vec![cause]).to_string();
        assert!(
            text.ends_with("spec.password (FieldValueInvalid)"),
            "{text}"
        );
        assert!(!api(422, "Invalid", vec![]).to_string().contains("hunter2"));
        let strict = "StatefulSet in version \"v1\" cannot be handled as a StatefulSet: strict \
                      decoding error: unknown field \"spec.replica\", unknown field \"x\"";
        assert_eq!(
            unknown_fields(strict).unwrap(),
            "spec.replica (unknown field), x (unknown field)"
        );
        let typed = "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): errors:\n  \
                     .dta: field not declared in schema\n  .spec.x: field not declared in schema";
        assert_eq!(
            unknown_fields(typed).unwrap(),
            "dta (unknown field), spec.x (unknown field)"
        );
        assert_eq!(
            unknown_fields("etcdserver: request timed out: .again"),
            None
        );
    }

    #[test]
    fn a_denial_says_what_stands_in_the_way() {
        let denied = |message: &str, causes: &[&str]| {
            let causes = causes
                .iter()
                .map(|reason| StatusCause {
                    reason: (*reason).to_owned(),
                    message: String::new(),
                    field: String::new(),
                })
                .collect();
            match answer(403, "Forbidden", message, causes) {
                Error::Forbidden(denial) => denial.obstacle(),
                other => panic!("{other}"),
            }
        };
        let rights = "namespaces is forbidden: User \"system:serviceaccount:b:p\" cannot create \
                      resource \"namespaces\" in API group \"\" at the cluster scope";
        let escalation = "rolebindings \"x\" is forbidden: user \"p\" (groups=[]) is attempting to \
                          grant RBAC permissions not currently held";
        let quota =
            "configmaps \"a\" is forbidden: exceeded quota: q, requested: count/configmaps=1";
        let ending = "configmaps \"a\" is forbidden: unable to create new content in namespace n";
        let policy = "namespaces \"n\" is forbidden: ValidatingAdmissionPolicy 'p' denied request";
        assert_eq!(denied(rights, &[]), Obstacle::Rights);
        assert_eq!(denied(escalation, &[]), Obstacle::Rights);
        assert_eq!(denied(quota, &[]), Obstacle::Quota);
        assert_eq!(
            denied(ending, &["NamespaceTerminating"]),
            Obstacle::Terminating
        );
        assert_eq!(denied(policy, &[]), Obstacle::Policy);
    }

    #[test]
    fn conflicts_of_name_and_of_version_are_told_apart() {
        assert!(matches!(
            api(409, "AlreadyExists", vec![]),
            Error::AlreadyExists
        ));
        assert!(matches!(api(409, "Conflict", vec![]), Error::Conflict));
        assert!(api(503, "ServiceUnavailable", vec![]).is_transient());
        assert!(api(429, "TooManyRequests", vec![]).is_transient());
        assert!(api(401, "Unauthorized", vec![]).is_transient());
    }

    #[test]
    fn a_kind_that_is_not_served_says_nothing_of_its_objects() {
        assert!(matches!(api(404, "NotFound", vec![]), Error::NotFound));
        // A plain "404 page not found": its CustomResourceDefinition is gone.
        assert!(matches!(
            api(404, "Failed to parse error data", vec![]),
            Error::NotServed
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends_at_its_deadline() {
        let result = call(std::future::pending::<kube::Result<()>>()).await;
        assert!(result.unwrap_err().is_transient());
    }
}
