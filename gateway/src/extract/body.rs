//! A request's JSON body.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{fields::Fields, json};
use crate::{error::Error, gateway::Shared};

/// A body that is not complete by then is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Holds a body's share of what all bodies may take, until the request is answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct BodyPermit(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl BodyPermit {
    /// Takes so many bytes more.
    fn grow(&self, of: &Arc<Semaphore>, bytes: usize) -> Result<(), Error> {
        let bytes = u32::try_from(bytes).map_err(|_| Error::Overloaded)?;
        let more = Arc::clone(of)
            .try_acquire_many_owned(bytes)
            .map_err(|_| Error::Overloaded)?;
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// The body's object.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Fields);

impl FromRequest<Shared> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, gateway: &Shared) -> Result<Self, Error> {
        let limit = gateway.max_body;
        let (parts, body) = request.into_parts();
        check_type(&parts.headers)?;
        // Told before the client has sent it all.
        if declared_length(&parts.headers).is_some_and(|length| length > limit as u64) {
            return Err(Error::TooLarge { limit });
        }
        let permit = parts.extensions.get::<BodyPermit>().cloned();
        let read = read(body, limit, &gateway.body_bytes, permit.unwrap_or_default());
        let bytes = tokio::time::timeout(BODY_TIMEOUT, read)
            .await
            .map_err(|_| Error::SlowBody)??;
        json::parse_object(&bytes)
            .map(|object| Self(Fields::new(object)))
            .map_err(|fault| {
                Error::Invalid(format!("The request body must be a JSON object: {fault}."))
            })
    }
}

/// Reads a body of at most `limit` bytes, each of which is taken from `all`.
async fn read(
    mut body: axum::body::Body,
    limit: usize,
    all: &Arc<Semaphore>,
    permit: BodyPermit,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Error::Invalid("The request body could not be read to its end.".to_owned())
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(Error::TooLarge { limit });
        }
        permit.grow(all, data.len())?;
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

/// No Content-Type is as good as JSON (C-02); another one is 400, not 415 (C-03).
fn check_type(headers: &HeaderMap) -> Result<(), Error> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let text = value.to_str().unwrap_or("?");
    let essence = text.split(';').next().unwrap_or_default().trim();
    let subtype = essence
        .split_once('/')
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("application"))
        .map(|(_, subtype)| subtype.to_ascii_lowercase());
    let json = subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"));
    if essence.is_empty() || json {
        return Ok(());
    }
    Err(Error::Invalid(
        "The request body must be sent as Content-Type: application/json.".to_owned(),
    ))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C-02, C-03.
    #[test]
    fn json_and_no_content_type_are_taken() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            check_type(&headers).is_ok()
        };
        assert!(check_type(&HeaderMap::new()).is_ok());
        for text in [
            "",
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/merge-patch+json",
        ] {
            assert!(check(text), "{text}");
        }
        for text in ["text/plain", "text/json", "json", "application/yaml"] {
            assert!(!check(text), "{text}");
        }
    }
}
