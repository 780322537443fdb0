//! Every route of the OSB endpoint.

use axum::{
    Router,
    routing::{get, put},
};

use crate::{
    controllers::{binding, catalog, instance},
    error::Error,
    gateway::Shared,
    middleware,
    paths::{BINDING, BINDING_OPERATION, CATALOG, INSTANCE, INSTANCE_OPERATION},
};

/// All routes, within the middleware.
pub(crate) fn router(gateway: Shared) -> Router {
    let routes = Router::new()
        .route(CATALOG, get(catalog::get))
        .route(
            INSTANCE,
            put(instance::provision::put)
                .patch(instance::update::patch)
                .delete(instance::deprovision::delete)
                .get(instance::fetch::get),
        )
        .route(INSTANCE_OPERATION, get(instance::last_operation::get))
        .route(
            BINDING,
            put(binding::bind::put)
                .delete(binding::unbind::delete)
                .get(binding::fetch::get),
        )
        .route(BINDING_OPERATION, get(binding::last_operation::get))
        .fallback(async || Error::UnknownRoute)
        .method_not_allowed_fallback(async || Error::UnknownMethod);
    middleware::around(routes, &gateway).with_state(gateway)
}
