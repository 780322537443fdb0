//! What each RPC does, one file each, and what they have in common.

pub(crate) mod bind;
pub(crate) mod read;
pub(crate) mod unbind;
pub(crate) mod wait;

mod answer;

use broker_proto::{json, v1};
use cluster::audit::Requester;
use plan::{Loaded, descriptor};
use serde_json::{Map, Value};

use crate::{
    decide::{self, Bindable},
    resource::Method,
};

/// How often a handler starts over after another's write; then the client is
/// told to try again.
const MAX_CONFLICTS: usize = 4;

/// The JSON object of an optional field; absent is empty.
fn object(field: Option<prost_types::Struct>) -> Map<String, Value> {
    field.map(json::from_struct).unwrap_or_default()
}

/// Who asked, for the record.
fn requester(told: Option<&v1::Requester>) -> Requester {
    let told = told.cloned().unwrap_or_default();
    Requester {
        platform: told.platform,
        login: told.login,
        peer: told.peer,
        user: told.user,
    }
}

/// The platform that asks.
fn platform(told: Option<&v1::Requester>) -> &str {
    told.map_or("", |told| &told.platform)
}

/// The plan as far as it decides.
fn plan_facts(plan: &Loaded) -> decide::Plan {
    let bundle = plan.bundle();
    let bindable = match bundle.method() {
        _ if !bundle.is_bindable() => Bindable::No,
        descriptor::Method::Database => Bindable::By(Method::Database),
        descriptor::Method::Resources => Bindable::UnknownMethod,
        descriptor::Method::None => Bindable::No,
    };
    decide::Plan {
        bindable,
        completion: bundle.binds_asynchronously().into(),
        rotatable: bundle.is_binding_rotatable(),
        requires_app: bundle.binding_requires_app(),
    }
}
