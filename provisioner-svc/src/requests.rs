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

use broker_proto::{Error as Told, ErrorCode, json, v1};
use plan::Loaded;
use serde_json::{Map, Value};

use crate::resource::Requester;

/// How often a handler starts over after a rival's write.
const ATTEMPTS: usize = 5;

/// The JSON object of an optional field; absent is empty.
fn object(field: Option<prost_types::Struct>) -> Map<String, Value> {
    field.map(json::from_struct).unwrap_or_default()
}

/// Who asked, for the record.
fn requester(requester: Option<v1::Requester>) -> Requester {
    let Some(requester) = requester else {
        return Requester::default();
    };
    let identity = object(requester.identity);
    Requester {
        user: requester.broker_user,
        platform: requester.platform,
        identity: if identity.is_empty() {
            String::new()
        } else {
            Value::Object(identity).to_string()
        },
    }
}

/// Seconds that an operation on an instance of this plan may take.
fn deadline(loaded: &Loaded) -> u32 {
    let idle = loaded.bundle().deadline().idle();
    u32::try_from(idle.as_secs()).unwrap_or(u32::MAX)
}

/// 400 with every rule that the parameters break.
fn invalid(violations: &[plan::schema::Violation]) -> Told {
    Told::new(
        ErrorCode::InvalidArgument,
        plan::schema::refusal(violations),
    )
}
