//! The door: login, version, and room for one more request.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::{error::Error, extract::Admitted, gateway::Shared, version::ApiVersion};

/// Lets a request in, or answers it.
pub(super) async fn admit(
    State(gateway): State<Shared>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let headers = request.headers();
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
