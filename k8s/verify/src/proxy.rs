//! What stands between the services and what they call.

mod api;
mod tcp;

pub(crate) use api::ApiProxy;
pub(crate) use tcp::TcpProxy;
