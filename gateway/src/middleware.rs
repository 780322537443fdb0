//! What every request passes: context, time limit, panics, echo, log and
//! metrics, and within them admission, in the decision order of the
//! specification: login, then version, then everything else. One layer, since
//! each costs every request an allocation.

mod admit;
mod observe;

use axum::{Router, middleware::from_fn_with_state};

use crate::gateway::Shared;

/// Puts the middleware around `routes`, fallbacks included.
pub(crate) fn around(routes: Router<Shared>, gateway: &Shared) -> Router<Shared> {
    routes.layer(from_fn_with_state(gateway.clone(), observe::observe))
}
