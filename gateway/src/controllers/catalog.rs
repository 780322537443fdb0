//! `/v2/catalog`.

use axum::{
    extract::{Request, State},
    response::Response,
};

use crate::{error::Error, extract::Call, gateway::Shared};

/// Lists what can be ordered, out of memory.
pub(crate) async fn get(
    State(gateway): State<Shared>,
    call: Call,
    request: Request,
) -> Result<Response, Error> {
    let catalog = gateway.catalog()?;
    Ok(catalog.respond(request.headers(), call.version))
}
