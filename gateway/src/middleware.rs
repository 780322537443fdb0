//! What every request passes, outermost first. The order is the decision
//! order of the specification: login, then version, then everything else.

mod admit;
mod observe;

use axum::{Router, middleware::from_fn_with_state};

use crate::gateway::Shared;

/// Puts the middleware around `routes`, fallbacks included.
pub(crate) fn around(routes: Router<Shared>, gateway: &Shared) -> Router<Shared> {
    routes
        // Innermost: login, version, room.
        .layer(from_fn_with_state(gateway.clone(), admit::admit))
        // Outermost: context, time limit, panics, echo, log, metrics.
        .layer(from_fn_with_state(gateway.clone(), observe::observe))
}
