//! `/v2/catalog`.

use axum::{extract::State, http::HeaderMap, response::Response};

use crate::{error::Error, extract::Call, gateway::Shared};

/// Lists what can be ordered, out of memory.
pub(crate) async fn get(
    State(gateway): State<Shared>,
    call: Call,
    headers: HeaderMap,
) -> Result<Response, Error> {
    Ok(gateway.catalog()?.respond(&headers, call.version))
}
