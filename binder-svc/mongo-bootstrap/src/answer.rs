//! mongod's answers, read into data.

use mongodb::bson::{Bson, Document, oid::ObjectId};

/// An answer without a field that mongod's manual promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mongod's answer has no {0:?} of the expected type")]
pub struct ShapeError(pub &'static str);

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The process that answered: a new one after each start.
    pub process: Option<ObjectId>,
    /// Name of the set that it is in.
    pub set: Option<String>,
    /// Its own name there.
    pub me: Option<String>,
    /// The members that can be elected.
    pub hosts: Vec<String>,
    /// The members of priority 0.
    pub passives: Vec<String>,
    /// The primary it knows.
    pub primary: Option<String>,
    /// Its role.
    pub role: Role,
}

/// The role of a mongod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows, and has all data.
    Secondary,
    /// Neither.
    Other,
}

impl Hello {
    /// Reads the answer; what is missing is absent.
    pub fn read(answer: &Document) -> Self {
        let text = |key| answer.get_str(key).ok().map(str::to_owned);
        let list = |key| {
            let items = answer.get_array(key).map_or(&[][..], Vec::as_slice);
            items
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        let flag = |key| answer.get_bool(key).unwrap_or(false);
        let version = answer.get_document("topologyVersion").ok();
        Self {
            process: version.and_then(|version| version.get_object_id("processId").ok()),
            set: text("setName"),
            me: text("me"),
            hosts: list("hosts"),
            passives: list("passives"),
            primary: text("primary"),
            role: match (flag("isWritablePrimary"), flag("secondary")) {
                (true, _) => Role::Primary,
                (false, true) => Role::Secondary,
                (false, false) => Role::Other,
            },
        }
    }
}

/// A whole number, whatever type mongod gave it.
pub(crate) fn number(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(clippy::cast_possible_truncation, reason = "mongod's counts are small")]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}
