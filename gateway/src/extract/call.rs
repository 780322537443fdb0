//! What every handler needs beside ids and body.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, request::Parts},
};
use broker_proto::v1::Requester;

use super::query::Query;
use crate::{error::Error, identity, version::ApiVersion};

/// What admission found out, as an extension of the request.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The login that was used.
    pub(crate) user: Arc<str>,
    /// The version that the platform speaks.
    pub(crate) version: ApiVersion,
}

/// Version, query, and who asks.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    user: Arc<str>,
    identity: Option<HeaderValue>,
}

impl Call {
    /// Who asks, for audit.
    pub(crate) fn requester(&self) -> Requester {
        identity::requester(&self.user, self.identity.as_ref())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let Some(admitted) = parts.extensions.get::<Admitted>() else {
            tracing::error!("request reached a handler without admission");
            return Err(Error::Internal);
        };
        Ok(Self {
            version: admitted.version,
            query: Query::new(parts.uri.query()),
            user: Arc::clone(&admitted.user),
            identity: parts.headers.get(identity::HEADER).cloned(),
        })
    }
}
