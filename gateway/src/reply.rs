//! Successful answers, and the parts that several of them share.

use axum::{http::StatusCode, response::Response};
use broker_proto::{
    json::from_struct,
    v1::{InstanceMetadata, Outcome},
};
use serde_json::{Map, Value, json};

use crate::{error::Error, json, version::ApiVersion};

/// What kind of success a service reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Success {
    /// Done in this request.
    Done,
    /// Was already so.
    Unchanged,
    /// Under way.
    Accepted,
}

impl Success {
    /// Reads an outcome; a service that reports none breaks the contract.
    pub(crate) fn of(outcome: Outcome) -> Result<Self, Error> {
        match outcome {
            Outcome::Done => Ok(Self::Done),
            Outcome::Unchanged => Ok(Self::Unchanged),
            Outcome::Accepted => Ok(Self::Accepted),
            Outcome::Unspecified => {
                tracing::error!("a service answered without an outcome");
                Err(Error::Internal)
            }
        }
    }

    /// The status of an answer to PUT.
    pub(crate) fn of_create(self) -> StatusCode {
        match self {
            Self::Done => StatusCode::CREATED,
            Self::Unchanged => StatusCode::OK,
            Self::Accepted => StatusCode::ACCEPTED,
        }
    }

    /// The status of an answer to PATCH and DELETE.
    pub(crate) fn of_change(self) -> StatusCode {
        match self {
            Self::Done | Self::Unchanged => StatusCode::OK,
            Self::Accepted => StatusCode::ACCEPTED,
        }
    }
}

/// A body that is built key by key; what is absent is left out, since `null`
/// is legal in places but breaks clients with closed schemas.
#[derive(Debug, Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Adds a text unless it is empty.
    pub(crate) fn text(mut self, key: &str, text: String) -> Self {
        if !text.is_empty() {
            self.0.insert(key.to_owned(), Value::String(text));
        }
        self
    }

    /// Adds a value unless it is absent.
    pub(crate) fn value(mut self, key: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value);
        }
        self
    }

    /// Adds the operation where there is one to poll.
    pub(crate) fn operation(self, success: Success, operation: String) -> Self {
        match success {
            Success::Accepted => self.text("operation", operation),
            Success::Done | Success::Unchanged => self,
        }
    }

    /// The answer.
    pub(crate) fn reply(self, status: StatusCode) -> Response {
        json::response(status, &self.0)
    }
}

/// OSB's service instance metadata: labels since 2.16, attributes since 2.17.
/// Absent when empty, since platforms replace all labels by the ones received.
pub(crate) fn metadata(metadata: Option<InstanceMetadata>, version: ApiVersion) -> Option<Value> {
    let metadata = metadata?;
    let mut shown = Map::new();
    if version >= ApiVersion::V2_16 && !metadata.labels.is_empty() {
        shown.insert("labels".to_owned(), json!(metadata.labels));
    }
    let attributes = metadata.attributes.map(from_struct).unwrap_or_default();
    if version >= ApiVersion::V2_17 && !attributes.is_empty() {
        shown.insert("attributes".to_owned(), Value::Object(attributes));
    }
    (!shown.is_empty()).then_some(Value::Object(shown))
}
