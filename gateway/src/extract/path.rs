//! Ids out of the path. axum decodes each segment once, after it has matched
//! the route, so `%2F` is part of an id (U-02).

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};

use super::json::RESERVED;
use crate::{error::Error, text::is_invisible};

/// Longer ids than any platform makes; bounded, since ids are stored and logged.
const MAX_ID: usize = 2048;

/// `instance_id` of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstancePath(pub(crate) String);

/// `instance_id` and `binding_id` of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BindingPath {
    pub(crate) instance_id: String,
    pub(crate) binding_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for InstancePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let params = params(parts, state).await?;
        id(&params, "instance_id").map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for BindingPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let params = params(parts, state).await?;
        Ok(Self {
            instance_id: id(&params, "instance_id")?,
            binding_id: id(&params, "binding_id")?,
        })
    }
}

async fn params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Error> {
    RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Error::Invalid("The path must be percent-encoded UTF-8.".to_owned()))
}

fn id(params: &RawPathParams, name: &str) -> Result<String, Error> {
    let value = params
        .iter()
        .find_map(|(key, value)| (key == name).then_some(value))
        .unwrap_or_default();
    if value.is_empty() || value.len() > MAX_ID {
        return Err(Error::Invalid(format!(
            "The {name} in the path must have 1 to {MAX_ID} bytes."
        )));
    }
    if value.contains(RESERVED) {
        return Err(Error::Invalid(format!(
            "The {name} in the path holds U+E000 or U+E001, characters for private use that the \
             broker uses itself."
        )));
    }
    if value.contains(is_invisible) {
        return Err(Error::Invalid(format!(
            "The {name} in the path holds a control character or one that is not shown, such as a \
             line separator or a change of direction."
        )));
    }
    Ok(value.to_owned())
}
