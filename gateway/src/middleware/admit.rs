//! Admission: size of the headers, login, version, and the limit of
//! concurrent requests.

use axum::{extract::Request, http::HeaderMap};
use service::http::{Client, Peer};
use tokio::sync::SemaphorePermit;

use crate::{error::Error, extract::Admitted, gateway::Gateway, version::ApiVersion};

/// Most headers of a request. The parser has a far higher limit, and a poorer
/// error.
const MAX_HEADERS: usize = 100;
/// Bytes of their names and values.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Lets a request in, for as long as the permit is held.
pub(super) fn admit<'g>(
    gateway: &'g Gateway,
    request: &mut Request,
) -> Result<SemaphorePermit<'g>, Error> {
    let headers = request.headers();
    check_size(headers)?;
    let login = gateway
        .credentials
        .authenticate(headers)
        .ok_or(Error::Unauthorized)?;
    if let Some(client) = request.extensions().get::<Client>() {
        client.proved();
    }
    let version = ApiVersion::negotiate(headers)?;
    let permit = gateway
        .in_flight
        .try_acquire()
        .map_err(|_| Error::Overloaded)?;
    let peer = request.extensions().get::<Peer>().copied();
    let admitted = Admitted {
        login,
        peer,
        version,
    };
    request.extensions_mut().insert(admitted);
    Ok(permit)
}

fn check_size(headers: &HeaderMap) -> Result<(), Error> {
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
