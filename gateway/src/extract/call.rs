//! What every handler needs beside ids and body.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, request::Parts},
};
use broker_proto::v1::Requester;
use service::http::Peer;

use super::query::Query;
use crate::{auth::Login, error::Error, identity, version::ApiVersion};

/// What admission found out, as an extension of the request.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The login that was used.
    pub(crate) login: Arc<Login>,
    /// Where the connection came from.
    pub(crate) peer: Option<Peer>,
    /// The version that the platform speaks.
    pub(crate) version: ApiVersion,
}

/// Version, query, and who asks.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) version: ApiVersion,
    pub(crate) query: Query,
    login: Arc<Login>,
    peer: Option<Peer>,
    identity: Option<HeaderValue>,
}

impl Call {
    /// Who asks.
    pub(crate) fn requester(&self) -> Requester {
        Requester {
            platform: self.platform(),
            login: self.login.user.clone(),
            peer: self
                .peer
                .map_or_else(String::new, |peer| peer.0.to_string()),
            user: identity::user(self.identity.as_ref()),
        }
    }

    /// The platform that asks: what others made does not exist for it.
    pub(crate) fn platform(&self) -> String {
        self.login.platform.clone()
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
            login: Arc::clone(&admitted.login),
            peer: admitted.peer,
            identity: parts.headers.get(identity::HEADER).cloned(),
        })
    }
}
