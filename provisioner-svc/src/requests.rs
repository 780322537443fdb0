//! What each RPC does, one file each.

pub(crate) mod deprovision;
pub(crate) mod fetch;
pub(crate) mod hold;
pub(crate) mod poll;
pub(crate) mod provision;
pub(crate) mod update;
pub(crate) mod watch;

mod shown;
mod wait;

use broker_proto::{Error as ApiError, ErrorCode, json, v1};
use cluster::audit::Requester;
use plan::Loaded;
use serde_json::{Map, Value};

use crate::{place, state::begin::Aim};

/// How often a handler starts over after a rival's write.
const MAX_CONFLICTS: usize = 5;

/// The JSON object of an optional field; absent is empty.
fn object(field: Option<prost_types::Struct>) -> Map<String, Value> {
    field.map(json::from_struct).unwrap_or_default()
}

/// The namespace that the platform's context names: 400 unless it can be one.
fn named(platform_context: &Map<String, Value>) -> Result<Option<&str>, ApiError> {
    place::named(platform_context)
        .map_err(|refusal| ApiError::new(ErrorCode::InvalidArgument, refusal.to_string()))
}

/// Who asked, for the record.
fn requester(requester: Option<v1::Requester>) -> Requester {
    let told = requester.unwrap_or_default();
    Requester {
        platform: told.platform,
        login: told.login,
        peer: told.peer,
        user: told.user,
    }
}

/// What an operation aims at: a plan, by the revision `name`.
fn aim(loaded: &Loaded, name: String) -> Aim {
    let bundle = loaded.bundle();
    let deadline = bundle.deadline();
    let seconds = |span: u64| u32::try_from(span).unwrap_or(u32::MAX);
    Aim {
        revision: name,
        bundle: bundle.digest().to_string(),
        plan_id: bundle.plan_id().to_string(),
        plan_name: bundle.name().to_owned(),
        idle_seconds: seconds(deadline.idle().as_secs()),
        total_seconds: seconds(deadline.total.as_secs()),
    }
}

/// 400 with every rule that the parameters break.
fn invalid(violations: &[plan::schema::Violation]) -> ApiError {
    ApiError::new(
        ErrorCode::InvalidArgument,
        plan::schema::refusal(violations),
    )
}
