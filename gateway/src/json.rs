//! The writer of every JSON body.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;

/// The media type of every body.
pub(crate) const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// An answer with a JSON body that no cache may keep: it may hold credentials.
pub(crate) fn response<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let Ok(bytes) = serde_json::to_vec(body) else {
        // Our bodies are structs and maps with string keys; these always encode.
        return Response::new(Body::from("{}"));
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
