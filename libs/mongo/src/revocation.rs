//! How the binder has a login revoked of a server that gives it no connection: a ConfigMap in the
//! instance's namespace, beside the server.
//!
//! Its data has a [`Request`] for each binding record that waits, under the record's name, written
//! and taken away by the binder. Its annotation [`ANSWERS`] has the [`Answers`], written by the
//! mongo-bootstrap of the primary, which keeps a connection. A request names the users that must go:
//! their names are random and of one attempt, and a user without the binding's mark, or of a newer
//! attempt, is left alone. So an old request does no harm, whenever it is read. An answer repeats the
//! id of its request: an older one proves nothing.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};
use serde::{Deserialize, Serialize};

use crate::marks::Found;

/// The ConfigMap's name, unless mongo-bootstrap is told another.
pub const OBJECT: &str = "mdb-revocations";
/// The annotation with the [`Answers`], as JSON.
pub const ANSWERS: &str = "mongodb-osb.io/revoked";

/// Users of one binding that must go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Random.
    pub id: String,
    /// The operation that asked, while it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Their names.
    pub users: Vec<String>,
    /// Only users of attempts before this one go.
    pub below: u32,
}

/// What was found once the users of a request were gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The request's.
    pub id: String,
    /// The users of the binding that are still there, with their attempts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left: BTreeMap<String, u32>,
    /// Users that were named and are there, and were not the binding's to drop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// Answers by the binding record's name.
pub type Answers = BTreeMap<String, Answer>;

impl Request {
    /// Whether another one asks for the same users to go.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.users == other.users && self.below == other.below
    }

    /// Which of the users that bear the binding's mark go.
    pub fn doomed(&self, found: &[Found]) -> Vec<String> {
        let goes =
            |user: &&Found| user.mark.attempt < self.below && self.users.contains(&user.name);
        let doomed = found.iter().filter(goes);
        doomed.map(|user| user.name.clone()).collect()
    }

    /// The answer, with what is found afterwards: the users that bear the binding's mark, and which
    /// of those that were named are there, whatever their mark.
    pub fn answer(&self, found: &[Found], named: Vec<String>) -> Answer {
        let left = found
            .iter()
            .map(|user| (user.name.clone(), user.mark.attempt));
        Answer {
            id: self.id.clone(),
            left: left.collect(),
            refused: named,
        }
    }
}

/// Asks which of these names are users, whatever their mark.
pub fn named(names: &[String]) -> Document {
    let users: Vec<Document> = names
        .iter()
        .map(|name| doc! { "user": name, "db": "admin" })
        .collect();
    doc! { "usersInfo": users }
}

/// The names in an answer to [`named`].
pub fn names(answer: &Document) -> Vec<String> {
    let users = answer
        .get_array("users")
        .map(Vec::as_slice)
        .unwrap_or_default();
    let users = users.iter().filter_map(Bson::as_document);
    users
        .filter_map(|user| user.get_str("user").ok().map(str::to_owned))
        .collect()
}

/// A command that only a primary that a majority follows can have confirmed. What was read before it
/// was not of a primary that has been replaced, and does not know.
pub fn confirm_primary(comment: &str) -> Document {
    doc! {
        "appendOplogNote": 1,
        "data": { "mongodb-osb": comment },
        "writeConcern": crate::users::write_concern(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marks::Mark;

    fn user(name: &str, attempt: u32) -> Found {
        Found {
            name: name.into(),
            mark: Mark {
                instance: "i".into(),
                binding: "b".into(),
                incarnation: "x".into(),
                attempt,
            },
        }
    }

    #[test]
    fn only_users_that_are_named_and_of_an_older_attempt_go() {
        let request = Request {
            id: "r".into(),
            operation: None,
            users: vec!["b-1".into(), "b-3".into(), "osb-admin".into()],
            below: 3,
        };
        let found = [user("b-1", 1), user("b-2", 2), user("b-3", 3)];
        assert_eq!(request.doomed(&found), ["b-1"]);
        let answer = request.answer(&found[1..], vec!["osb-admin".into()]);
        assert_eq!(answer.left.len(), 2);
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(
            text,
            r#"{"id":"r","left":{"b-2":2,"b-3":3},"refused":["osb-admin"]}"#
        );
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
    }
}
