//! What a handler gets of a request. Own extractors, since axum's answer
//! faults with 422, 415 and plain text, all of which mean something else to a
//! platform.

mod body;
mod call;
mod fields;
pub(crate) mod json;
mod path;
mod query;

pub(crate) use self::{
    body::{Body, BodyPermit},
    call::{Admitted, Call},
    fields::Fields,
    path::{BindingPath, InstancePath},
};
