//! The door: headers of a bearable size, login, version, and room for one
//! more request.

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};

use crate::{error::Error, extract::Admitted, gateway::Shared, version::ApiVersion};

/// Headers that a request may have. The parser underneath gives up far later,
/// and knows less of what to say.
const MAX_HEADERS: usize = 100;
/// Bytes of their names and values.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Lets a request in, or answers it.
pub(super) async fn admit(
    State(gateway): State<Shared>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let headers = request.headers();
    bearable(headers)?;
    let user = gateway
        .credentials
        .authenticate(headers)
        .ok_or(Error::Unauthorized)?;
    let version = ApiVersion::negotiate(headers)?;
    let _permit = gateway
        .in_flight
        .try_acquire()
        .map_err(|_| Error::Overloaded)?;
    request.extensions_mut().insert(Admitted { user, version });
    Ok(next.run(request).await)
}

fn bearable(headers: &HeaderMap) -> Result<(), Error> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Error::HeadTooLarge {
            count: MAX_HEADERS,
            bytes: MAX_HEADER_BYTES,
        });
    }
    Ok(())
}
