//! What is asked and answered. The answer to a question is that of the method of the same name,
//! as JSON.

use std::borrow::Cow;

use jiff::Timestamp;
use plan::{Variables, catalog::Candidate, descriptor::ClaimRule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Plans that a process keeps; the one that came first goes first.
pub(crate) const KEPT: usize = 8;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question<'a> {
    /// Check a plan.
    Check(Cow<'a, Candidate>),
    /// Ask a plan.
    Ask {
        digest: Cow<'a, str>,
        /// The bundle, unless it was sent before.
        content: Option<Cow<'a, str>>,
        variables: Cow<'a, Variables>,
        query: Query<'a>,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Query<'a> {
    File(Cow<'a, str>),
    Outputs(Cow<'a, [Value]>),
    /// Pairs of the live object and the applied one.
    Readiness(Cow<'a, [(Value, Value)]>, Timestamp),
    Membership {
        rule: Cow<'a, ClaimRule>,
        report: Cow<'a, Value>,
        ordinals: Vec<u32>,
    },
    Generate,
    Display,
    Database,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer<T> {
    Is {
        value: T,
        /// The process has used much of its memory: it should be asked no more.
        worn: bool,
    },
    /// More than can be handed on.
    TooLarge,
    /// The question makes no sense to the process: a fault of the broker's own.
    NotUnderstood,
}
