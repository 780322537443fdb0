//! Operations on a record: their ids, and the bounded history of their results.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{audit::Requester, names};

/// How many results a record keeps at most.
pub const KEPT: usize = 20;

/// Longest text that a record keeps of one result, in bytes. With [`KEPT`] of
/// them the annotation that holds them stays far below what the API server
/// takes (256 KiB for all annotations): the write that ends an operation must
/// not be refused for its size.
pub const MAX_TEXT: usize = 1000;

/// The text cut to [`MAX_TEXT`], in one line: nothing in it grows when it is
/// written as JSON but quotes and backslashes.
pub fn bounded(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.len() <= MAX_TEXT {
        return line;
    }
    let mut end = MAX_TEXT - "…".len();
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &line[..end])
}

/// `<kind>-<seq>-<random>`: only RFC 3986 unreserved characters, since some
/// platforms send it back without encoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationId {
    /// The verb: `create`, `update`, `delete`, `bind` or `unbind`.
    pub kind: String,
    /// Counts the operations of one record, over all its incarnations.
    pub seq: u64,
    random: String,
}

impl OperationId {
    /// A new id.
    pub fn new(kind: &str, seq: u64) -> Self {
        Self {
            kind: kind.to_owned(),
            seq,
            random: names::random(5),
        }
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.kind, self.seq, self.random)
    }
}

/// Not an id of ours; a poll then answers for the newest operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("parse an operation id of the form <kind>-<seq>-<random>")]
pub struct ParseError;

impl FromStr for OperationId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut parts = text.split('-');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(seq), Some(random), None)
                if !kind.is_empty() && !random.is_empty() =>
            {
                Ok(Self {
                    kind: kind.to_owned(),
                    seq: seq.parse().map_err(|_| ParseError)?,
                    random: random.to_owned(),
                })
            }
            _ => Err(ParseError),
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The operation's id.
    pub id: String,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// For the user; empty if there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When.
    pub at: Timestamp,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Requester::is_nobody")]
    pub requested_by: Requester,
    /// OSB `instance_usable`, on a failed update or delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_usable: Option<bool>,
    /// OSB `update_repeatable`, on a failed update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_repeatable: Option<bool>,
}

impl Ended {
    /// A success.
    pub fn succeeded(id: &str, at: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            succeeded: true,
            description: String::new(),
            at,
            started_at: None,
            requested_by: Requester::default(),
            instance_usable: None,
            update_repeatable: None,
        }
    }

    /// A failure, with its reason for the user, [`bounded`].
    pub fn failed(id: &str, description: impl Into<String>, at: Timestamp) -> Self {
        Self {
            succeeded: false,
            description: bounded(&description.into()),
            ..Self::succeeded(id, at)
        }
    }

    /// With when it was accepted, and from whom.
    #[must_use]
    pub fn asked_for(mut self, at: Timestamp, by: &Requester) -> Self {
        self.started_at = Some(at);
        self.requested_by = by.clone();
        self
    }
}

/// The results of a record's operations, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(Vec<Ended>);

impl History {
    /// The result of an operation, if it ended and is still kept.
    pub fn get(&self, id: &str) -> Option<&Ended> {
        self.0.iter().rev().find(|ended| ended.id == id)
    }

    /// The newest result.
    pub fn newest(&self) -> Option<&Ended> {
        self.0.last()
    }

    /// Adds a result; the first one of an operation stands. The last [`KEPT`] stay.
    pub fn add(&mut self, ended: Ended) {
        if self.get(&ended.id).is_some() {
            return;
        }
        self.0.push(ended);
        let excess = self.0.len().saturating_sub(KEPT);
        self.0.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn ids_survive_their_text_and_foreign_words_are_not_ids() {
        let id = OperationId::new("create", 7);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "provision", "a-b-c", "create-1", "create-1-x-y", "-1-x"] {
            assert_eq!(text.parse::<OperationId>(), Err(ParseError), "{text}");
        }
    }

    #[test]
    fn the_first_result_of_an_operation_stands() {
        let mut history = History::default();
        history.add(Ended::failed("a", "no", at(0)));
        history.add(Ended::succeeded("a", at(1)));
        assert!(!history.get("a").unwrap().succeeded);
    }

    #[test]
    fn a_reason_is_bounded_whatever_it_holds() {
        for text in [
            "x".repeat(100_000),
            "ü\n".repeat(50_000),
            "\u{1}\"".repeat(9000),
        ] {
            let kept = bounded(&text);
            assert!(kept.len() <= MAX_TEXT && kept.ends_with('…'), "{kept}");
            assert!(!kept.contains(char::is_control));
            let mut history = History::default();
            for number in 0..KEPT {
                history.add(Ended::failed(&number.to_string(), &*text, at(0)));
            }
            let written = serde_json::to_string(&history).unwrap();
            assert!(written.len() < 64 * 1024, "{}", written.len());
        }
        assert_eq!(bounded("short"), "short");
    }

    #[test]
    fn the_last_results_stay() {
        let mut history = History::default();
        for number in 0..30 {
            history.add(Ended::succeeded(&number.to_string(), at(number)));
        }
        assert_eq!((history.0.len(), history.get("9")), (KEPT, None));
        assert_eq!(history.newest().unwrap().id, "29");
    }
}
